"""Drawings of the report as inline SVG: loss curves over the stages, scores beside their controls, sound outlines.

Colours are CSS variables of the page, so that the drawings follow its light and dark themes.
"""

from __future__ import annotations

import bisect
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mio_jax.web.results import Score, Stage, number

WIDTH, HEIGHT = 960, 340
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 30, 34
MOST_POINTS = 900  # a longer run is drawn by means of stretches
SMOOTH = 0.05  # share of a stage that one smoothed point looks over, to either side


@dataclass(frozen=True)
class Series:
    """One curve: `values[i]` belongs to step `steps[i]`."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def loss_series(stages: Sequence[Stage]) -> list[Series]:
    """Loss of each modality over the whole run, and of all tokens together."""
    rows = [row for stage in stages for row in stage.rows]
    keys = [k for k in ("loss/text", "loss/image", "loss/audio") if any(k in r for r in rows)]
    keys += sorted({k for r in rows for k in r if k.startswith("loss/")} - set(keys))
    series = []
    for key in [*keys, "loss"]:
        points = [(int(r["global_step"]), float(r[key])) for r in rows if _known(r.get(key))]
        if points:
            series.append(Series(key.removeprefix("loss/") if "/" in key else "all tokens", *zip(*points, strict=True)))
    return series


def _known(value: object) -> bool:
    """A step without tokens of a modality has no loss for it."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def thin(series: Series, most: int = MOST_POINTS) -> Series:
    """At most `most` points, each the mean of the stretch it stands for."""
    size = math.ceil(len(series.steps) / most)
    if size <= 1:
        return series
    parts = [slice(i, i + size) for i in range(0, len(series.steps), size)]
    return Series(
        series.name,
        tuple(series.steps[p][-1] for p in parts),
        tuple(sum(series.values[p]) / len(series.values[p]) for p in parts),
    )


def smooth(values: Sequence[float], share: float = SMOOTH) -> list[float]:
    """Mean over a window to either side; even-sided near the beginning, where a curve is steep and would be bent."""
    reach, means = round(share * len(values)), []
    for i in range(len(values)):
        part = values[max(0, i - reach) : i + min(reach, i) + 1]
        means.append(sum(part) / len(part))
    return means


def smooth_stages(series: Series, ends: Sequence[int]) -> list[tuple[list[int], list[float]]]:
    """(steps, smoothed values) of each stage by itself: what changes at its beginning stays visible."""
    parts, begin = [], 0
    for end in ends:
        stop = bisect.bisect_right(series.steps, end, begin)
        if stop > begin:
            parts.append((list(series.steps[begin:stop]), smooth(series.values[begin:stop])))
        begin = stop
    return parts


def ticks(top: float, about: int = 5) -> list[float]:
    """Round numbers from 0 to just under `top`."""
    raw = top / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw)
    return [i * step for i in range(int(top / step) + 1)]


def loss_chart(stages: Sequence[Stage]) -> str:
    """Loss curves with the stages as bands. Hovering reads values (report.js); the data are in the page for it."""
    series = [thin(s) for s in loss_series(stages)]
    bands = [(s.name, int(s.rows[0]["global_step"]), int(s.rows[-1]["global_step"])) for s in stages if s.rows]
    first, ends = bands[0][1] - 1, [band[2] for band in bands]
    last = max(ends[-1], first + 1)
    # The very first steps may lie far above the rest; the axis is that of the 99th percentile.
    every = sorted(v for s in series for v in s.values)
    top = 1.06 * every[min(len(every) - 1, int(0.99 * len(every)))] or 1.0

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - min(1.0, value / top) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" id="loss-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="loss-t loss-d" '
        f'data-left="{LEFT}" data-right="{RIGHT}" data-first="{first}" data-last="{last}">',
        '<title id="loss-t">Training loss by modality</title>',
        f'<desc id="loss-d">{html.escape(_spoken(series, stages))}</desc>',
    ]
    for i, (name, start, end) in enumerate(bands):
        left, right = x(start - 1), x(end)
        parts.append(
            f'<rect class="band{i % 2}" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/>'
            f'<text class="stage" x="{(left + right) / 2:.1f}" y="{TOP - 10}">{html.escape(name)}</text>'
        )
    for value in ticks(top):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for step in [first, *ends]:
        parts.append(
            f'<text class="tick" x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step}</text>'
        )
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">optimizer step</text>')
    for i, s in enumerate(series):
        curves = [("raw", list(s.steps), list(s.values)), *(("line", *part) for part in smooth_stages(s, ends))]
        for kind, steps, values in curves:
            points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(steps, values, strict=True))
            parts.append(f'<polyline class="{kind} s{_slot(s, i)}" data-series="{i}" points="{points}"/>')
    parts.append(f'<line id="loss-cursor" class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="-9" x2="-9"/></svg>')
    legend = "".join(
        f'<button type="button" class="key s{_slot(s, i)}" data-series="{i}" aria-pressed="true">'
        f'<span class="dot"></span>{html.escape(s.name)} <output></output></button>'
        for i, s in enumerate(series)
    )
    data = []  # numbers only: safe inside a script element
    for s in series:
        joined = smooth_stages(s, ends)
        data.append({"steps": [n for a, _ in joined for n in a], "values": [round(v, 4) for _, b in joined for v in b]})
    return (
        f'<div class="legend">{legend}<output id="loss-step"></output></div>{"".join(parts)}'
        f'<script type="application/json" id="loss-data">{json.dumps(data, separators=(",", ":"))}</script>'
    )


def _slot(series: Series, index: int) -> str:
    """Colour slot: the three modalities always look the same."""
    fixed = {"text": "0", "image": "1", "audio": "2", "all tokens": "all"}
    return fixed.get(series.name, str(3 + index % 3))


def _spoken(series: Sequence[Series], stages: Sequence[Stage]) -> str:
    ends = "; ".join(f"{s.name} from {number(s.values[0])} to {number(s.values[-1])}" for s in series)
    return f"{len(stages)} stages: {', '.join(s.name for s in stages)}. Loss: {ends}."


def score_bar(score: Score) -> str:
    """The score (dot, with two standard errors of the difference) beside its control (ring) on one axis."""
    width, height, pad = 160, 22, 8
    low = min(0.0, score.value - 2 * score.stderr, score.control)
    high = max(score.value + 2 * score.stderr, score.control, score.ceiling or 0.0)
    high = 1.0 if low >= 0 and high <= 1 else high * 1.05 or 1.0

    def x(value: float) -> float:
        return pad + (value - low) / (high - low) * (width - 2 * pad)

    mid, kind = height / 2, "good" if score.passed else "bad"
    ceiling = ""
    if score.ceiling is not None:
        at = x(score.ceiling)
        ceiling = f'<line class="ceiling" x1="{at:.1f}" x2="{at:.1f}" y1="{mid - 7}" y2="{mid + 7}"/>'
    return (
        f'<svg class="bar {kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<line class="axis" x1="{pad}" x2="{width - pad}" y1="{mid}" y2="{mid}"/>'
        f'<line class="gain" x1="{x(score.control):.1f}" x2="{x(score.value):.1f}" y1="{mid}" y2="{mid}"/>'
        f'<line class="error" x1="{x(score.value - 2 * score.stderr):.1f}" '
        f'x2="{x(score.value + 2 * score.stderr):.1f}" y1="{mid}" y2="{mid}"/>'
        f'<circle class="control" cx="{x(score.control):.1f}" cy="{mid}" r="4.5"/>'
        f'<circle class="value" cx="{x(score.value):.1f}" cy="{mid}" r="5.5"/>{ceiling}</svg>'
    )


def outline(peaks: Sequence[float]) -> str:
    """A sound's loudness over time as bars."""
    width, height = 3 * len(peaks), 36
    bars = "".join(
        f'<rect x="{3 * i}" width="2" y="{(height - h) / 2:.1f}" height="{h:.1f}" rx="1"/>'
        for i, p in enumerate(peaks)
        for h in [max(1.5, p * height)]
    )
    return f'<svg class="outline" viewBox="0 0 {width} {height}" aria-hidden="true">{bars}</svg>'
