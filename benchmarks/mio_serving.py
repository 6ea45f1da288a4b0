"""What a trained MIO run gives a talker: requests that share rows, a cache kept between turns, speech heard early.

    .venv/bin/python -m benchmarks.mio_serving --run runs/quickstart [--rows 8] [--requests 32] [--rounds 3]
    .venv/bin/python -m benchmarks.mio_serving --codec FILE.safetensors [--rounds 3]

Measurements, most of them alternating with what they replace; medians of the rounds, compilation not counted:

* Requests of mixed lengths, continuously batched, beside static batches of as many rows, which run until their longest
  answer is done. Tokens per second count the tokens that were asked for. Both sides draw the same ids.
* The first token of a conversation's last turn, with the keys and values of the turns before it kept, beside running
  the whole conversation anew.
* One spoken answer: seconds to the first sound, and seconds of work for a second of sound (the real-time factor).
* With --codec, a SpeechTokenizer: the same of a tiny MIO that was never trained, with the codes decoded while they come
  beside decoding the whole sound at its end. What it says means nothing, and takes as long.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from benchmarks.output import RESULTS, hardware, run, write_result
from mio_jax.config import RunConfig
from mio_jax.config_loading import load_config_file
from mio_jax.errors import MioError
from mio_jax.generate.batched import BatchedEngine, Request
from mio_jax.generate.engine import Engine
from mio_jax.generate.opening import engine_of
from mio_jax.generate.reading import Reader
from mio_jax.generate.rendering import Renderer
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.session import Session
from mio_jax.nn.base import init_params, split_model
from mio_jax.train.run import Run, assemble, load_run
from mio_tokenizers.audio import SpeechTokenizer

DRAWN = SamplingConfig(top_p=0.9)
TURN = 24  # tokens of a turn
CONFIG = Path(__file__).parents[1] / "configs" / "mio" / "speech_tiny.py"  # of the model that is never trained
CONTEXT = 1600  # tokens: half of them are 4 seconds of 4 layers at 50 frames a second


def requests_of(engine: Engine, count: int, seed: int = 0) -> list[Request]:
    """Prompts of text ids and answers of mixed lengths, most of them short: a quarter of the context at most, each."""
    rng = np.random.default_rng(seed)
    text, most = engine.space.block("text"), engine.max_length // 4
    lengths = np.clip(rng.geometric(4 / most, size=(count, 2)), 4, most)
    return [
        Request(rng.integers(text.start + 8, text.stop, prompt).astype(np.int32), DRAWN, int(new), i, grammar=False)
        for i, (prompt, new) in enumerate(lengths)
    ]


def static(engine: Engine, requests: list[Request], rows: int) -> dict[int, np.ndarray]:
    """Answers of batches of `rows`, each cut to what was asked for."""
    answers = {}
    for at in range(0, len(requests), rows):
        some = requests[at : at + rows]
        longest = max(request.max_new_tokens for request in some)
        new = engine.generate([r.prompt for r in some], DRAWN, max_new_tokens=longest, seeds=[r.seed for r in some])
        answers.update({at + i: ids[: r.max_new_tokens] for i, (r, ids) in enumerate(zip(some, new, strict=True))})
    return answers


def alternate(rounds: int, **sides: Callable[[], Any]) -> dict[str, float]:
    """Median seconds of each side; a first turn, in which programs are compiled, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in sorted(sides, reverse=bool(turn % 2)):
            began = time.perf_counter()
            sides[name]()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def batching(engine: Engine, count: int, rows: int, rounds: int) -> dict[str, Any]:
    requests = requests_of(engine, count)
    batched = BatchedEngine(engine, rows)
    kept: dict[str, dict[int, np.ndarray]] = {}

    def shared() -> None:
        kept["continuous"] = dict(batched.run(requests))

    def apart() -> None:
        kept["static"] = static(engine, requests, rows)

    seconds = alternate(rounds, continuous=shared, static=apart)
    same = [np.array_equal(kept["continuous"][i], kept["static"][i]) for i in range(count)]
    if same.count(True) < 0.9 * count:  # rounding may part two answers at a near tie
        raise MioError(f"continuous and static batches differ in {same.count(False)} of {count} answers")
    tokens = sum(request.max_new_tokens for request in requests)
    return {
        "requests": count,
        "rows": rows,
        "tokens": tokens,
        "answers_alike": same.count(True),
        "tokens_per_second": {name: round(tokens / s, 1) for name, s in seconds.items()},
        "ratio": round(seconds["static"] / seconds["continuous"], 2),
    }


def turns(engine: Engine, rounds: int) -> dict[str, Any]:
    """The first token after a conversation that fills three quarters of the context."""
    text = engine.space.block("text")
    talk = np.random.default_rng(1).integers(text.start + 8, text.stop, engine.max_length * 3 // 4).astype(np.int32)
    session = Session(engine)

    def ask(session: Session, prompt: np.ndarray) -> None:
        list(session.stream(prompt, DRAWN, max_new_tokens=1))

    seconds: dict[str, list[float]] = {"kept": [], "anew": []}
    for turn in range(rounds + 1):
        ask(session, talk[:-TURN])  # the conversation before the turn; not timed
        for name, asked in (("kept", session), ("anew", Session(engine))):
            began = time.perf_counter()
            ask(asked, talk)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "conversation_tokens": len(talk),
        "turn_tokens": TURN,
        "seconds_to_first_token": {name: round(s, 4) for name, s in medians.items()},
        "ratio": round(medians["anew"] / medians["kept"], 2),
    }


def speech(run: Run, engine: Engine, rounds: int, decoding: Any = None) -> dict[str, Any]:
    """A sound as long as half the context allows, from nothing but the start token and the opening tag.

    `decoding`: what decodes the media in the place of the run's tokenizers.
    """
    space, codec = run.space, run.tokenizers.audio
    span = space.span("audio")
    frames = max(1, engine.max_length // 2 // space.block(span.block).layers)
    grammar = run.recipe.grammar(space).replace(frames=frames, after="stop")
    prompt = np.asarray([space.bos, span.open], np.int32)
    session, times = Session(engine), []

    def speak(session: Session) -> Renderer:
        reader, renderer = Reader(space, run.tokenizers.text.decode), Renderer(decoding or run.tokenizers)
        list(renderer.render(reader.read([span.open])))
        pieces = session.stream(
            prompt, DRAWN, max_new_tokens=engine.max_length // 2 + 2, stop_ids=(space.eos,), grammar=grammar
        )
        for piece in pieces:
            list(renderer.render(reader.read(piece)))
        list(renderer.render(reader.finish()))
        return renderer

    for turn in range(rounds + 1):
        renderer = speak(session)
        if turn:
            times.append(renderer.times)
    middle = sorted(times, key=lambda t: t.ended)[len(times) // 2]
    return {
        "frames": frames,
        "layers": space.block(span.block).layers,
        "sound_seconds": round(middle.sound_seconds, 2),
        "seconds_to_first_sound": round(middle.first_sound or 0.0, 3),
        "seconds_in_all": round(middle.ended, 3),
        "real_time_factor": round(middle.real_time_factor, 3),
        "codec": codec.fingerprint,
    }


@dataclass(frozen=True)
class AtItsEnd:
    """A codec behind whose `decode` nothing is seen, so that a sound is decoded when all of its codes are there."""

    codec: Any

    @property
    def rate(self) -> int:
        return int(self.codec.rate)

    def decode(self, codes: np.ndarray) -> Any:
        return self.codec.decode(codes)


def untrained(codec: str) -> Run:
    """A tiny MIO of drawn parameters that speaks through the codec in this file."""
    config = load_config_file(CONFIG, cls=RunConfig)
    config = dataclasses.replace(
        config,
        tokenizers=dataclasses.replace(config.tokenizers, audio=codec),
        data=dataclasses.replace(config.data, length=CONTEXT),
    )
    parts = assemble(config)
    graphdef, _ = split_model(parts.build)
    params = jax.jit(functools.partial(init_params, parts.build))(jax.random.key(0))
    return Run(config, graphdef, params, parts.recipe, parts.tokenizers, parts.space)


def streaming(codec: str, rounds: int) -> dict[str, Any]:
    """`speech` of an untrained model, as its codes come and at its end, in turns."""
    run = untrained(codec)
    engine = engine_of(run)
    if not isinstance(engine, Engine) or not isinstance(run.tokenizers.audio, SpeechTokenizer):
        raise MioError(f"{codec} is no SpeechTokenizer; only the sound of those is decoded while it comes")
    found: dict[str, list[dict[str, Any]]] = {"as_codes_come": [], "at_its_end": []}
    for _ in range(rounds):
        found["as_codes_come"].append(speech(run, engine, 1))
        found["at_its_end"].append(speech(run, engine, 1, SimpleNamespace(audio=AtItsEnd(run.tokenizers.audio))))
    names = ("seconds_to_first_sound", "seconds_in_all", "real_time_factor")
    one = found["as_codes_come"][0]
    return {
        **{name: one[name] for name in ("frames", "layers", "sound_seconds", "codec")},
        "context": engine.max_length,
        **{
            side: {name: round(statistics.median(item[name] for item in items), 3) for name in names}
            for side, items in found.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", help="a trained run of the recipe mio")
    parser.add_argument("--codec", help="a file with a SpeechTokenizer: first sound while codes come")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "mio_serving.json")
    args = parser.parse_args()
    if not args.run and not args.codec:
        raise MioError("name a trained run with --run, a SpeechTokenizer with --codec, or both")
    result: dict[str, Any] = {"hardware": hardware()}
    if args.run:
        loaded = load_run(args.run)
        engine = engine_of(loaded)
        if not isinstance(engine, Engine):
            raise MioError(f"{args.run} is no run of a decoder-only model")
        result |= {
            "batching": batching(engine, args.requests, args.rows, args.rounds),
            "turns": turns(engine, args.rounds),
            "speech": speech(loaded, engine, args.rounds),
            "run": {"recipe": loaded.config.recipe, "preset": loaded.config.model.preset, "context": engine.max_length},
        }
    if args.codec:
        result["streaming"] = streaming(args.codec, args.rounds)
    for name in ("batching", "turns", "speech", "streaming"):
        if name in result:
            print(name, result[name])
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
