"""The report of a run: one HTML file that opens alone, with its pictures, sounds and curves inside."""

from __future__ import annotations

import html
import math
import os
import statistics
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from mio_jax.web.charts import loss_chart, outline, score_bar
from mio_jax.web.media import data_url, wav_peaks
from mio_jax.web.results import PASS_SIGMAS, PHASES, Item, RunFiles, Sample, Score, duration, number, read_run, slug

esc = html.escape


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Draws `<run_dir>/report.html` from what is in the run directory; what is not there yet is said to be missing.

    Raises:
      MioError: no run directory, or a damaged file in it.
    """
    run = read_run(Path(run_dir))
    path = run.folder / "report.html"
    new = path.with_suffix(".html.tmp")
    new.write_text(page(run), encoding="utf-8")
    os.replace(new, path)
    return path


def page(run: RunFiles) -> str:
    """The whole page. It makes no request: the policy in its head forbids the browser any."""
    name = run.config.name
    files = resources.files("mio_jax.web")
    style, script = (files.joinpath(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    body = "".join([header(run), scores(run), curves(run), examples(run), commands(run)])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{esc(name)}: report</title>
<style>{style}</style>
</head>
<body>
<main>{body}<footer>Written by mio_jax from {esc(run.folder.name)}/. The page holds everything it shows.</footer></main>
<script>{script}</script>
</body>
</html>
"""


# ------------------------------------------------------------------------------------------------- head


def header(run: RunFiles) -> str:
    config = run.config
    steps = sum(len(s.rows) for s in run.stages)
    passed = sum(s.passed for s in run.scores)
    if not run.scores:
        verdict = "Not evaluated yet."
    elif passed == len(run.scores):
        verdict = f"All {passed} directions beat their shuffled control by at least {PASS_SIGMAS:g} standard errors."
    else:
        verdict = (
            f"{passed} of {len(run.scores)} directions beat their shuffled control by {PASS_SIGMAS:g} standard errors."
        )
    model = ", ".join(
        f"{k} {v}" for k, v in vars(config.model).items() if v is not None and k in ("dim", "depth", "heads", "mlp_dim")
    )
    facts = {
        "recipe": config.recipe,
        "model": config.model.preset + (f" ({model})" if model else ""),
        "tokens a row": str(config.data.length),
        "stages": ", ".join(s.name for s in config.stages),
        "optimizer steps": f"{steps} of {sum(s.steps for s in config.stages)}",
        "seed": str(config.seed),
        "image tokenizer": config.tokenizers.image,
        "audio tokenizer": config.tokenizers.audio,
    }
    listed = "".join(f"<div><dt>{esc(k)}</dt><dd>{esc(v)}</dd></div>" for k, v in facts.items())
    links = {"scores": "Scores", "training": "Training", "examples": "Examples", "next": "Go on"}
    nav = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in links.items())
    return (
        f'<h1>{esc(config.name)}</h1><p class="lead">One model, any modality to any other. {verdict}</p>'
        f'<nav aria-label="Sections">{nav}</nav>'
        f'<div class="box"><dl class="facts">{listed}</dl>{times(run.wall_s)}</div>'
    )


def times(wall_s: dict[str, float]) -> str:
    """A bar of where the time went."""
    spent = [(i, name, wall_s[name]) for i, name in enumerate(PHASES) if wall_s.get(name, 0) >= 0.5]
    if not spent:
        return ""
    total = sum(seconds for _, _, seconds in spent)
    bars = "".join(f'<span class="t{i}" style="flex:{seconds:.1f}"></span>' for i, _, seconds in spent)
    keys = "".join(
        f'<span><span class="swatch t{i}"></span>{esc(name)} {duration(seconds)}</span>' for i, name, seconds in spent
    )
    return (
        f'<div class="time" aria-hidden="true">{bars}</div>'
        f'<div class="time-key"><span>wall time <b>{duration(total)}</b></span>{keys}</div>'
    )


# ------------------------------------------------------------------------------------------------- scores


def scores(run: RunFiles) -> str:
    head = '<h2 id="scores">Scores on held-out data</h2>'
    if not run.scores:
        return f"{head}<p>None yet: <code>mio eval --run {esc(str(run.folder))}</code></p>"
    rows = "".join(score_row(s) + "".join(detail_row(d) for d in s.details) for s in run.scores)
    return f"""{head}
<p class="soft">Each direction is scored on examples that were never trained on, and again with its conditioning taken
from another example (the control). A direction has learned something when it beats its control by at least
{PASS_SIGMAS:g} standard errors of the difference. In the drawing the dot is the score, with twice that error around it;
the ring is the control, and a tick what the references themselves score after their way through the tokenizers.
Small rows are parts of the score above them.</p>
<div class="box scroll"><table>
<thead><tr><th>direction</th><th class="l">metric</th><th>score</th><th>control</th><th class="l"></th>
<th>difference</th><th>sigmas</th><th>n</th><th></th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


def score_row(score: Score) -> str:
    kind, mark = ("good", "✓ pass") if score.passed else ("bad", "✗ no")
    target = f'<a href="#d-{slug(score.direction)}">{esc(arrow(score.direction))}</a>'
    note = f'<div class="about">{esc(score.note)}</div>' if score.note else ""
    return (
        f'<tr class="{kind}"><th scope="row">{target}</th><td class="l metric">{metric_name(score)}{note}</td>'
        f"<td><b>{number(score.value)}</b></td>{numbers(score)}"
        f'<td>{score.n}</td><td class="mark l">{mark}</td></tr>'
    )


def detail_row(part: Score) -> str:
    """A part of the score above it; it is no test of its own, so it has no mark."""
    return (
        f'<tr class="part"><th scope="row"></th><td class="l metric">{metric_name(part)}</td>'
        f"<td>{number(part.value)}</td>{numbers(part)}<td>{part.n}</td><td></td></tr>"
    )


def numbers(score: Score) -> str:
    return (
        f"<td>{number(score.control)}</td><td>{score_bar(score)}</td>"
        f"<td>{score.difference:+.3f} ± {number(score.stderr)}</td><td>{sigmas(score)}</td>"
    )


def sigmas(score: Score) -> str:
    return f"{score.sigmas:.1f}" if math.isfinite(score.sigmas) else number(score.sigmas)


def metric_name(score: Score) -> str:
    return esc(score.metric.replace("_", " "))


def arrow(direction: str) -> str:
    return direction.replace("->", " → ").replace("+", " + ").replace(":", ": ")


# ------------------------------------------------------------------------------------------------- training


def curves(run: RunFiles) -> str:
    head = '<h2 id="training">Training</h2>'
    stages = [s for s in run.stages if s.rows]
    if not stages:
        return f"{head}<p>No step has been taken yet.</p>"
    modalities = [m for m in ("text", "image", "audio") if any(f"loss/{m}" in s.rows[-1] for s in stages)]
    rows = []
    for stage in stages:
        cells = "".join(f"<td>{end_of(stage.rows, key)}</td>" for key in ("loss", *(f"loss/{m}" for m in modalities)))
        rate = statistics.median(r["tokens_per_s"] for r in stage.rows)
        fill = statistics.fmean(r["packing_fill"] for r in stage.rows)
        rows.append(
            f'<tr><th scope="row">{esc(stage.name)}</th><td>{len(stage.rows)}</td>{cells}'
            f"<td>{rate:,.0f}</td><td>{fill:.1%}</td></tr>"
        )
    heads = "".join(f"<th>{m} loss</th>" for m in modalities)
    return f"""{head}
<p class="soft">Mean cross-entropy of a token in nats, by modality; each stage starts from the one before.
Thin lines are single steps, thick ones a running mean. Point at the chart to read values; a button hides its curve.</p>
<div class="box">{loss_chart(stages)}</div>
<div class="box scroll"><table>
<thead><tr><th>stage</th><th>steps</th><th>loss at its end</th>{heads}
<th>tokens/s</th><th>packing fill</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>"""


def end_of(rows: Sequence[dict[str, float]], key: str, share: float = 0.1) -> str:
    """Mean of the last tenth of a stage."""
    values = [r[key] for r in rows[-max(1, int(share * len(rows))) :] if isinstance(r.get(key), (int, float))]
    return number(statistics.fmean(values)) if values else "–"


# ------------------------------------------------------------------------------------------------- examples


def examples(run: RunFiles) -> str:
    head = '<h2 id="examples">Held-out examples</h2>'
    if not run.samples:
        return f"{head}<p>None yet.</p>"
    parts = [
        f'{head}<p class="soft">What the model was given, what it made of it, and what the held-out set has there. '
        "They are drawn by the run's seed, not picked.</p>"
    ]
    for score in run.scores:
        cards = "".join(card(sample) for sample in run.samples.get(score.direction, ()))
        if not cards:
            continue
        kind = "good" if score.passed else "bad"
        anchor, value = f"d-{slug(score.direction)}", f'<span class="mark {kind}">{number(score.value)}</span>'
        parts.append(
            f'<section aria-labelledby="{anchor}"><h3 id="{anchor}">{esc(arrow(score.direction))} <span class="soft">'
            f"{metric_name(score)} {value} against {number(score.control)} shuffled</span></h3>"
            f'<div class="cards">{cards}</div></section>'
        )
    return "".join(parts)


def card(sample: Sample) -> str:
    note = f'<div class="note">{esc(sample.note)}</div>' if sample.note else ""

    def side(label: str, kind: str, parts: Sequence[Item]) -> str:
        return f'<div class="{kind}"><p class="label">{label}</p>{items(parts, label)}</div>'

    pair = side("generated", "side out", sample.outputs) + side("reference", "side", sample.reference)
    return (
        f'<article class="card">{side("given", "given", sample.inputs)}<div class="pair">{pair}</div>{note}</article>'
    )


def items(parts: Sequence[Item], role: str) -> str:
    if not parts:
        return '<p class="nothing">nothing</p>'
    words = " ".join(" ".join(p.text for p in parts if p.kind == "text").split())[:120]
    return "".join(item(p, role, words) for p in parts)


def item(part: Item, role: str, words: str) -> str:
    if part.kind == "text":
        return f'<p class="item">{esc(part.text.strip())}</p>' if part.text.strip() else ""
    assert part.file is not None
    what = esc(f"{role} {'picture' if part.kind == 'image' else 'sound'}{f' beside: {words}' if words else ''}")
    if part.kind == "image":
        return f'<div class="item"><img class="picture" src="{data_url(part.file)}" alt="{what}"></div>'
    peaks, seconds = wav_peaks(part.file)
    return (
        f'<div class="item sound">{outline(peaks)}<audio controls preload="none" src="{data_url(part.file)}" '
        f'aria-label="{what}, {seconds:.1f} seconds"></audio></div>'
    )


# ------------------------------------------------------------------------------------------------- what next


def commands(run: RunFiles) -> str:
    where = esc(str(run.folder))
    return f"""<h2 id="next">Go on</h2>
<p class="soft">From the folder of the repository.</p>
<pre><code># ask for something, by words or by files
.venv/bin/mio generate --run {where} --ask image --prompt "red heart" --out out/
.venv/bin/mio generate --run {where} --ask caption --image out/000_0.png

# what it was trained on
.venv/bin/mio data list

# another run: longer, larger, or from another seed; then its scores and its report
.venv/bin/mio train --config configs/quickstart.py --config.run_dir=runs/mine --config.model.depth=8
.venv/bin/mio eval --run runs/mine
.venv/bin/mio report --run runs/mine

# all the curves
tensorboard --logdir {where}/stages</code></pre>"""
