// Reads values off the loss chart under the pointer, and hides and shows curves. The page is complete without it.
(() => {
  const chart = document.getElementById("loss-chart");
  if (!chart) return;
  const data = JSON.parse(document.getElementById("loss-data").textContent);
  const cursor = document.getElementById("loss-cursor");
  const stepOut = document.getElementById("loss-step");
  const keys = [...document.querySelectorAll(".key")];
  const { left, right, first, last } = Object.fromEntries(Object.entries(chart.dataset).map(([k, v]) => [k, +v]));
  const width = chart.viewBox.baseVal.width;

  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1; else high = middle;
    }
    return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
  };
  const read = (event) => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const share = Math.min(1, Math.max(0, (x - left) / (width - left - right)));
    const step = Math.max(first + 1, Math.round(first + share * (last - first)));
    const at = left + (step - first) / (last - first) * (width - left - right);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    stepOut.textContent = `step ${step}`;
    keys.forEach((key, i) => {
      const { steps, values } = data[i];
      key.querySelector("output").textContent = values[nearest(steps, step)].toFixed(2);
    });
  };
  const clear = () => {
    cursor.setAttribute("x1", -9);
    cursor.setAttribute("x2", -9);
    stepOut.textContent = "";
    keys.forEach((key) => { key.querySelector("output").textContent = ""; });
  };
  chart.addEventListener("pointermove", read);
  chart.addEventListener("pointerleave", clear);
  keys.forEach((key) => key.addEventListener("click", () => {
    const show = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", show);
    chart.querySelectorAll(`polyline[data-series="${key.dataset.series}"]`).forEach((p) => p.classList.toggle("off", !show));
  }));
})();
