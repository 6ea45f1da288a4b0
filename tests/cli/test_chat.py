"""`mio chat` on a run with an untrained model: turns in, words and media out, and one line for bad input."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.content import segments_of
from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.generate.chat import Chat, ChatSettings, chat_format_of
from mio_jax.generate.engine import Engine
from mio_jax.generate.opening import engine_of
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Segment
from mio_jax.train.run import Run, load_run
from mio_tokenizers.audio.io import read_audio
from mio_tokenizers.base import Audio
from tests.cli.conftest import LENGTH

DRAWN = SamplingConfig(top_p=0.9)  # as the command itself, so that both use the same compiled programs


@pytest.fixture(scope="module")
def run(run_dir: str) -> Run:
    return load_run(run_dir)


@pytest.fixture(scope="module")
def engine(run: Run) -> Engine:
    engine = engine_of(run)
    assert isinstance(engine, Engine)
    return engine


def make_chat(run: Run, engine: Engine, mode: str = "", system: str = "", **settings: object) -> Chat:
    usual = {"sampling": DRAWN, "max_new_tokens": 12, **settings}
    return Chat(run, engine, chat_format_of(run, mode, system), ChatSettings(**usual))  # type: ignore[arg-type]


def text(words: str) -> list[Segment]:
    return [Segment("text", words)]


def talk(monkeypatch: pytest.MonkeyPatch, words: list[str], lines: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return main(["chat", *words])


def test_answers_are_those_to_the_whole_conversation(run: Run, engine: Engine) -> None:
    chat = make_chat(run, engine)
    for turn, words in enumerate(["Who are you?", "And now?"]):
        before = chat.ids()
        said = np.concatenate(list(chat.ask(text(words), seed=turn)))
        whole = chat.ids()
        prompt = whole[: len(whole) - 1 - len(said) + (said[-1] in chat.stop_ids)]
        assert prompt[: len(before)].tolist() == before.tolist()
        fresh = chat.engine.generate(
            [prompt],
            DRAWN,
            max_new_tokens=12,
            stop_ids=chat.stop_ids,
            seeds=[turn],
            grammar=run.recipe.grammar(run.space),
        )[0]
        assert said.tolist() == fresh.tolist()
        # Of what was said before, only the answer's end is run: its newest id, or the mark that closes it.
        new = len(prompt) - len(before)
        assert chat.session.prefilled <= (len(prompt) if turn == 0 else new + 2)


def test_the_conversation_is_written_in_the_template(run: Run, engine: Engine) -> None:
    """As the recipe writes chats that it trains: system turn, then turns that are closed, with a line between them."""
    chat = make_chat(run, engine, "custom", "Be short.")
    chat.add(text("a"), text("b"))
    said = np.concatenate(list(chat.ask(text("c"), seed=3))).tolist()
    start = "<|im_start|>"
    written = (
        [Segment("text", f"{start}system\nBe short.<|im_end|>\n")]
        + [Segment("text", s) for s in (f"{start}user\n", "a", f"<|im_end|>\n{start}assistant\n", "b<|im_end|>", "\n")]
        + [Segment("text", s) for s in (f"{start}user\n", "c", f"<|im_end|>\n{start}assistant\n")]
    )
    prompt = run.recipe.encode_prompt(written, run.tokenizers, run.space).tolist()
    ended = [] if said[-1] in chat.stop_ids else [run.space.special("<|im_end|>")]
    assert chat.ids().tolist() == prompt + said + ended


def test_an_answer_that_is_stopped_leaves_no_open_span(run: Run, engine: Engine) -> None:
    chat = make_chat(run, engine, max_new_tokens=80)
    pieces = chat.ask(text("Draw"), begins="image")
    assert next(pieces)[0] == run.space.special("<image>")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert chat.cut
    assert run.space.special("<image>") not in chat.ids()[-30:]
    again = np.concatenate(list(chat.ask(text("Draw"), begins="image")))
    assert run.space.special("</image>") in again


def test_a_full_context_is_refused_or_slides(run: Run, engine: Engine) -> None:
    line = "word " * 20
    refusing, sliding = make_chat(run, engine), make_chat(run, engine, window=True)
    kept = 0
    while len(refusing.ids()) + 40 < LENGTH:
        list(refusing.ask(text(line)))
        kept += 1
    with pytest.raises(MioError, match=r"the context is full: .* begin anew \(/reset\)"):
        refusing.ask(text(line * 3))
    assert len(refusing.exchanges) == kept > 1
    refusing.reset()
    list(refusing.ask(text(line)))
    for _ in range(kept + 2):
        list(sliding.ask(text(line)))
    assert sliding.forgotten >= 2
    assert len(sliding.ids()) <= LENGTH


def test_a_sound_is_shown_with_so_many_layers(run: Run) -> None:
    sound = ("audio", Audio(np.sin(np.arange(8000) / 9).astype(np.float32), 16000))
    data = dataclasses.replace(run.config.data, heard_layers=1)
    shown = run._replace(config=run.config.replace(data=data))
    (whole,), (first,) = segments_of([sound], run), segments_of([sound], shown)
    assert len(whole.value) > 1
    np.testing.assert_array_equal(first.value, whole.value[:1])


def test_a_conversation_through_a_pipe(
    run_dir: str,
    media: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard = tmp_path / "heard.raw"
    player = f"sh -c 'cat >> {heard}'"
    lines = f"/image {media['in.png']}\nwhat is this?\n/ask image\nred heart\n/reset\n/seed 4\n/ask sound\na flute\n"
    words = ["--run", run_dir, "--max-new-tokens", "70", "--out", str(tmp_path / "out"), "--play", player]
    assert talk(monkeypatch, words, lines) == 0
    captured = capsys.readouterr()
    assert f"[{tmp_path / 'out' / '001_0.png'}]" in captured.out
    assert Image.open(tmp_path / "out" / "001_0.png").size == (64, 64)
    assert "real-time factor" in captured.err
    wav = next((tmp_path / "out").glob("002_*.wav"))
    sound = read_audio(wav)
    assert f"[{wav}]" in captured.out
    played = np.concatenate([read_audio(p).samples for p in sorted((tmp_path / "out").glob("*.wav"))])
    assert len(heard.read_bytes()) == 2 * len(played)
    assert len(sound.samples) > 0


def test_history_and_voice(
    run_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "talk.json"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": [{"text": "Hello!"}]}]
    history.write_text(json.dumps([*turns, {"role": "user", "content": "Speak"}]))
    words = ["--run", run_dir, "--mode", "voice", "--history", str(history), "--max-seconds", "0.1"]
    assert talk(monkeypatch, [*words, "--max-new-tokens", "40", "--out", str(tmp_path)], "") == 0
    assert f"[{tmp_path / '000_0.wav'}]" in capsys.readouterr().out
    assert len(read_audio(tmp_path / "000_0.wav").samples) <= 1600


TURN = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("words", "lines", "message"),
    [
        (["--mode", "loud"], "", "unknown chat mode 'loud'; there are: std, voice, custom"),
        (["--mode", "custom"], "", "needs a system prompt"),
        (["--mode", "std", "--system", "x"], "", "has a system prompt of its own"),
        (["--seed", "-1"], "", "--seed is -1"),
        (["--play", "no-such-player-here"], "/ask sound\nx\n", "cannot start the player 'no-such-player-here'"),
        (["--play", "false"], "/ask sound\nx\n", "the player 'false' ended with status 1"),
        ([], "/image nowhere.png\n", "no picture nowhere.png"),
        ([], "/dance\n", "there is no /dance"),
        ([], "/seed seven\n", "/seed takes a whole number"),
        ([], "/ask dance\nx\n", "there are: image, sound"),
        ([], "end <|im_end|> here\n", "a turn's text holds '<|im_end|>'"),
        ([], "word " * 400 + "\n", "the context is full: "),
        (["--history", "nowhere.json"], "", "cannot read nowhere.json"),
        (["--history", {"role": "user"}], "", "a conversation is a list of turns"),
        (["--history", [TURN, TURN]], "", "turn 1 is of the user; the assistant comes here"),
        (["--history", [{"role": "assistant", "content": "x"}]], "", "turn 0 is of the assistant; the user comes here"),
        (["--history", [{"role": "robot", "content": "x"}]], "", "turn 0 has the role 'robot'"),
        (["--history", [{"role": "user"}]], "", "turn 0 must have a 'role' and a 'content', not ['role']"),
        (["--history", [{"role": "user", "content": 3}]], "", "turn 0: content must be text or a list of parts"),
        (["--history", [{"role": "user", "content": [{"smell": "x"}]}]], "", "turn 0: a part of the content must be"),
        (["--history", [{"role": "user", "content": [{"image": "no.png"}]}]], "", "no.png"),
    ],
)
def test_bad_input(
    words: list,
    lines: str,
    message: str,
    run_dir: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words and not isinstance(words[-1], str):
        (tmp_path / "talk.json").write_text(json.dumps(words[-1]))
        words = [words[0], str(tmp_path / "talk.json")]
    words = ["--run", run_dir, "--max-new-tokens", "40", "--out", str(tmp_path), *words]
    assert talk(monkeypatch, words, lines) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert message in error[0]


def test_examples_of_the_page_run(run: Run, engine: Engine, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
    talking, batching = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(talking.replace("runs/quickstart", run_dir), {})
    assert capsys.readouterr().out.startswith("[")
    prompts = [run.recipe.encode_prompt(text(words), run.tokenizers, run.space) for words in ("a", "b")]
    exec(
        batching,
        {"engine": engine, "stops": (run.space.eos,), "run": run, "prompts": prompts, "SamplingConfig": SamplingConfig},
    )
    assert len(capsys.readouterr().out.split("[")) == 3
