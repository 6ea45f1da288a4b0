"""The report: complete, self-contained, well-formed, and honest about what is missing or damaged."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mio_jax.cli import main as cli
from mio_jax.errors import MioError
from mio_jax.web import charts, media, results
from mio_jax.web.report import write_report
from tests.web.made_run import SCORES, make_run, tone

VOID = {"meta", "img", "br", "link", "input", "line", "rect", "circle", "polyline"}


class Checker(HTMLParser):
    """Collects elements and fails on tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def read(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert checker.open == []
    return checker


def test_report_holds_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    page = read(write_report(make_run(tmp_path / "run")))
    text = " ".join("".join(page.words).split())
    for attribute in ("src", "href", "action", "srcset", "poster", "data"):
        for tag, attrs in page.found:
            value = attrs.get(attribute, "")
            assert not value or value.startswith(("data:", "#")), f"<{tag} {attribute}={value[:60]}>"
    source = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", source)
    assert [t for t, _ in page.found].count("audio") == 2 * 2  # two examples, generated and reference
    assert [t for t, _ in page.found].count("img") == sum(
        2 * ((a := d.split("->"))[0].startswith("image") + 2 * a[1].startswith(("image", "mask"))) for d in SCORES
    )
    assert all(attrs.get("alt") for tag, attrs in page.found if tag == "img")
    for said in ("22 min 28 s", "made <up>", "mio_tiny (depth 3)", "text → image: shapes", "mio generate --run"):
        assert said in text
    assert "5 of 6 directions" in text
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for t, a in page.found if t == "a")


def test_scores_are_those_of_results_json(tmp_path: Path) -> None:
    run = results.read_run(make_run(tmp_path / "run"))
    by_name = {s.direction: s for s in run.scores}
    assert by_name["text->image"].sigmas == pytest.approx(10.0)
    assert by_name["text->image"].passed
    assert not by_name["image+question->text"].passed
    assert by_name["text->image:shapes"].sigmas == float("inf")  # no spread at all, and a difference
    assert results.Score("d", "m", 0.5, 0.5, 0.0, 9).sigmas == 0
    assert results.Score("d", "m", 0.4, 0.5, 0.0, 9).sigmas == -float("inf")
    lines = results.score_lines(run.scores)
    assert len(lines) == 1 + len(SCORES)
    assert "NOT 3 sigmas" in lines[4]
    assert "image+question->text" in lines[4]


def test_text_from_data_is_never_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run / "samples" / results.slug("image->text") / "samples.json"
    entries = json.loads(path.read_text())
    entries[0]["outputs"] = [{"kind": "text", "text": "<script>alert(1)</script>"}]
    entries[0]["note"] = '"><img src=x onerror=alert(1)>'
    path.write_text(json.dumps(entries))
    page = read(write_report(run))
    assert [t for t, _ in page.found].count("script") == 2  # the page's own
    assert not any("onerror" in attrs for _, attrs in page.found)


def test_a_run_in_training_has_a_report_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluated=False)
    metrics = run / "stages" / "01_sft" / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-40])  # a line being written
    text = "".join(read(write_report(run)).words)
    assert "Not evaluated yet" in text
    assert "79 of 80" in text


def test_damage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--run", str(tmp_path / "none")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
    run = make_run(tmp_path / "run")
    (run / "samples" / results.slug("text->image") / "0_out.png").unlink()
    with pytest.raises(MioError, match=r"names 0_out\.png, which is not there"):
        write_report(run)
    run = make_run(tmp_path / "run2")
    (run / "results.json").write_text('{"directions": {"text->image": {"value": 1}}}')
    with pytest.raises(MioError, match=r"results\.json is damaged"):
        write_report(run)
    (run / "results.json").write_text('{"directions": ')
    with pytest.raises(MioError, match=r"results\.json is damaged"):
        write_report(run)
    run = make_run(tmp_path / "run3")
    metrics = run / "stages" / "00_alignment" / "metrics.jsonl"
    metrics.write_text("{oops\n" + metrics.read_text())
    with pytest.raises(MioError, match="line 1 is damaged"):
        write_report(run)
    (tmp_path / "no.wav").write_bytes(b"RIFFxxxx")
    with pytest.raises(MioError, match="is no WAV file"):
        media.wav_peaks(tmp_path / "no.wav")
    with pytest.raises(MioError, match="no picture or sound"):
        media.data_url(tmp_path / "x.exe")


def test_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", steps=3, examples=1)
    assert cli.main(["report", "--run", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str((run / "report.html").resolve())


def test_wav_outline(tmp_path: Path) -> None:
    tone(tmp_path / "t.wav", 440, seconds=0.5)
    peaks, seconds = media.wav_peaks(tmp_path / "t.wav", bars=10)
    assert seconds == pytest.approx(0.5)
    assert len(peaks) == 10
    assert peaks == sorted(peaks, reverse=True)  # it dies away
    assert 0.5 < peaks[0] <= 20000 / 32768


def test_curves_are_thinned_and_smoothed_without_moving_them() -> None:
    series = charts.Series("text", tuple(range(1, 5001)), tuple(float(i) for i in range(1, 5001)))
    thin = charts.thin(series)
    assert len(thin.steps) <= charts.MOST_POINTS
    assert thin.steps[-1] == 5000
    assert sum(thin.values) / len(thin.values) == pytest.approx(2500.5, rel=1e-3)
    assert charts.smooth([3.0] * 50) == [3.0] * 50
    assert charts.smooth([5.0, 1.0, 3.0])[0] == 5.0  # the first value is itself
    jump = charts.Series("text", tuple(range(1, 201)), (1.0,) * 100 + (5.0,) * 100)
    parts = charts.smooth_stages(jump, [100, 200])
    assert [set(values) for _, values in parts] == [{1.0}, {5.0}]  # a stage's beginning is not blurred


def test_gaps_in_a_modality_are_left_out() -> None:
    rows = tuple(
        {"global_step": i, "loss": 1.0, "loss/audio": None if i % 2 else 2.0, "loss/text": float("nan")}
        for i in range(1, 9)
    )
    series = {s.name: s for s in charts.loss_series([results.Stage("a", rows)])}
    assert series["audio"].steps == (2, 4, 6, 8)
    assert set(series) == {"audio", "all tokens"}


@pytest.mark.parametrize(
    ("top", "said"), [(7.3, [0, 2, 4, 6]), (0.9, [0, 0.2, 0.4, 0.6, 0.8]), (100, [0, 20, 40, 60, 80, 100])]
)
def test_ticks_are_round(top: float, said: list[float]) -> None:
    assert charts.ticks(top) == pytest.approx(said)


def test_numbers_for_people() -> None:
    assert [results.number(v) for v in (0.1234, 12.34, 123456.0, float("inf"))] == ["0.123", "12.3", "1.23e+05", "∞"]
    assert [results.duration(s) for s in (4.6, 61, 3700)] == ["5 s", "1 min 01 s", "1 h 01 min"]
    assert results.slug("image+question->text:x") == "image_question_to_text_x"
