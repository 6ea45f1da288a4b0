"""Several runs beside one another: a page with their loss curves and a table of what they reached."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mio_jax.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, loss_series, smooth, thin, ticks
from mio_jax.web.results import RunFiles, number

LAST_ROWS = 50  # whose mean is a run's loss
HUES = 137.5  # degrees between neighbouring colours: the golden angle keeps any number of them apart

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --faint: #8884; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #161618; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
td, th { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid var(--faint); }
td:first-child, th:first-child { text-align: left; } .best { font-weight: 700; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; } .grid { stroke: var(--faint); }
.line { fill: none; stroke-width: 2; } .dot { display: inline-block; width: .8em; height: .8em; border-radius: 50%; }
"""


@dataclass(frozen=True)
class Entry:
    """One run of a comparison: its name, what was set for it, and its files; None if it has not begun."""

    name: str
    settings: dict[str, str]
    files: RunFiles | None
    state: str  # "finished", "failed", ...

    def figures(self) -> dict[str, float]:
        """Losses (means over the last rows of the last stage) and scores, by name."""
        if self.files is None:
            return {}
        found: dict[str, float] = {}
        rows = self.files.stages[-1].rows[-LAST_ROWS:] if self.files.stages else ()
        for key in sorted({k for row in rows for k in row if k == "loss" or k.startswith("loss/")}):
            values = [float(row[key]) for row in rows if row.get(key) is not None]
            if values:
                found[key] = sum(values) / len(values)
        return found | {score.direction: score.value for score in self.files.scores}


def columns(entries: Sequence[Entry]) -> list[str]:
    """Names of the figures that any run has: losses first."""
    names = {name for entry in entries for name in entry.figures()}
    return sorted(names, key=lambda n: (not n.startswith("loss"), n))


def best(entries: Sequence[Entry], column: str) -> float | None:
    """The lowest loss or the highest score of a column."""
    values = [entry.figures()[column] for entry in entries if column in entry.figures()]
    if not values:
        return None
    return min(values) if column.startswith("loss") else max(values)


def text_table(entries: Sequence[Entry]) -> str:
    """The table as plain text; the best of each column is marked with `*`."""
    names = columns(entries)
    rows = [["run", "state", *names]]
    for entry in entries:
        figures = entry.figures()
        cells = [
            _cell(figures.get(n)) + ("*" if n in figures and figures[n] == best(entries, n) else " ") for n in names
        ]
        rows.append([entry.name, entry.state, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else number(value)


def page(title: str, entries: Sequence[Entry]) -> str:
    """The whole page as HTML that needs no other file."""
    settings = list(dict.fromkeys(key for entry in entries for key in entry.settings))
    names = columns(entries)
    head = "".join(f"<th>{html.escape(t)}</th>" for t in ("run", "state", *settings, *names))
    body = []
    for index, entry in enumerate(entries):
        figures = entry.figures()
        cells = [
            f'<td><span class="dot" style="background:{colour(index)}"></span> {html.escape(entry.name)}</td>',
            f"<td>{html.escape(entry.state)}</td>",
            *(f"<td>{html.escape(entry.settings.get(key, ''))}</td>" for key in settings),
        ]
        for name in names:
            mark = ' class="best"' if name in figures and figures[name] == best(entries, name) else ""
            cells.append(f"<td{mark}>{_cell(figures.get(name))}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>{chart(entries)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p>Losses are means over the last {LAST_ROWS} rows, in nats a token; scores are those of results.json. "
        "The best of each column is bold.</p></html>\n"
    )


def colour(index: int) -> str:
    """The colour of the run at this place in the table."""
    return f"hsl({index * HUES % 360:.0f} 65% 50%)"


def figure(title: str, entries: Sequence[Entry]) -> str:
    """An SVG file: loss of the last stage of every run, with the runs' names in their colours. "" if none has begun."""
    drawn = chart(entries, last_stage=True)
    names = "".join(
        f'<text x="{WIDTH - RIGHT - 8}" y="{TOP + 18 * index}" text-anchor="end" style="fill:{colour(index)}">'
        f"{html.escape(entry.name)}</text>"
        for index, entry in enumerate(entries)
        if entry.files is not None
    )
    style = (
        "svg{background:#fff} text{font:12px system-ui,sans-serif} .grid{stroke:#8884} .line{fill:none;stroke-width:2}"
    )
    head = f'<text x="{LEFT}" y="18" style="font-weight:700">{html.escape(title)}</text>{names}'
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    return drawn.replace("<svg ", opening, 1).replace("</title>", f"</title><style>{style}</style>{head}", 1)


def chart(entries: Sequence[Entry], last_stage: bool = False) -> str:
    """Smoothed loss over all tokens against the run's step, one line a run; nothing if no run has begun."""
    curves: list[tuple[int, str, Series]] = []
    for index, entry in enumerate(entries):
        stages = entry.files.stages if entry.files else ()
        series = loss_series(stages[-1:] if last_stage else stages)
        curves.extend((index, entry.name, thin(s)) for s in series if s.name == "all tokens")
    if not curves:
        return ""
    first = min(min(s.steps) for _, _, s in curves) - 1 if last_stage else 0
    last = max(max(s.steps) for _, _, s in curves) - first
    every = sorted(v for _, _, s in curves for v in s.values)
    top = 1.06 * every[min(len(every) - 1, math.floor(0.99 * len(every)))] or 1.0

    def x(step: float) -> float:
        return LEFT + (step - first) / last * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - min(1.0, value / top) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>Training loss of every run</title>']
    for value in ticks(top):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for step in ticks(last):
        parts.append(f'<text x="{x(first + step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:g}</text>')
    for index, name, s in curves:
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(s.steps, smooth(s.values), strict=True))
        parts.append(
            f'<polyline class="line" stroke="{colour(index)}" points="{points}">'
            f"<title>{html.escape(name)}</title></polyline>"
        )
    return "".join(parts) + "</svg>"
