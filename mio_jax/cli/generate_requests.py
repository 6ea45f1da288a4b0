"""`mio generate --requests FILE.jsonl`: many requests share the rows of one engine; answers are written as they end."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mio_jax.cli.content import arrange, place, read_media, segments_of
from mio_jax.errors import MioError

if TYPE_CHECKING:
    from mio_jax.generate.batched import Request
    from mio_jax.train.run import Run

SAMPLING = {
    "temperature": (int, float),
    "top_k": int,
    "top_p": (int, float),
    "repetition_penalty": (int, float),
    "greedy": bool,
}
FIELDS: dict[str, Any] = {
    "id": str,
    "prompt": str,
    "image": list,
    "audio": list,
    "ask": str,
    "expect": str,
    "seed": int,
    "max_new_tokens": int,
    "grammar": bool,
    **SAMPLING,
}
_NAME = re.compile(r"[\w.-]+")


class Line(NamedTuple):
    """A line of the file: where it stands, its name and what it says."""

    where: str
    name: str
    fields: Mapping[str, Any]


def read_lines(path: str) -> Iterator[Line]:
    """Requests of a file. Raises MioError naming the line that is none, or that has another's name."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MioError(f"cannot read {path}: {error}") from error
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise MioError(f"{where} is no JSON: {error}") from error
        check_fields(fields, where)
        name = fields.get("id", f"{len(names):03d}")
        if not _NAME.fullmatch(name) or name in names:
            raise MioError(f"{where}: the id {name!r} is taken, or no file name of letters, digits, '.', '_' and '-'")
        names.add(name)
        yield Line(where, name, fields)
    if not names:
        raise MioError(f"{path} holds no requests")


def check_fields(fields: Any, where: str) -> None:
    """Raises MioError on what is not a request: unknown names, values of another type, no prompt."""
    if not isinstance(fields, dict):
        raise MioError(f"{where}: a request is a JSON object, not {type(fields).__name__}")
    for name, value in fields.items():
        if name not in FIELDS:
            raise MioError(f"{where}: a request has no {name!r}; it has: {', '.join(FIELDS)}")
        kind = FIELDS[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise MioError(f"{where}: {name} is {value!r}, of another type than it should be")
        if kind is list and not all(isinstance(item, str) for item in value):
            raise MioError(f"{where}: {name} must be a list of file names")
    if not any(fields.get(name) for name in ("prompt", "image", "audio")):
        raise MioError(f"{where}: nothing to answer: give a prompt, an image or audio")


def request_of(line: Line, args: argparse.Namespace, run: Run, style: str, folder: Path) -> Request:
    """A line as the engine takes it; what it leaves out is as on the command line. Raises MioError naming the line."""
    from mio_jax.cli.generate import USUAL_TOKENS, sampling_of
    from mio_jax.generate.batched import Request

    fields = line.fields
    try:
        media = read_media(*([str(folder / file) for file in fields.get(kind, ())] for kind in ("image", "audio")))
        content, loose = place(fields.get("prompt", ""), media)
        begins = fields.get("expect", args.expect)
        if wording := fields.get("ask", args.ask):
            asked, usual = run.recipe.ask(wording, segments_of([*content, *loose], run))
            begins = begins or usual
        else:
            asked = segments_of(arrange(content, loose, style), run)
        own = {name: fields[name] for name in SAMPLING if name in fields}
        return Request(
            run.recipe.encode_prompt(
                run.recipe.prompt(asked, style), run.tokenizers, run.space, system=run.config.data.system_prompt
            ),
            dataclasses.replace(sampling_of(args, run.recipe, begins), **own),
            max_new_tokens=fields.get("max_new_tokens", args.max_new_tokens or USUAL_TOKENS),
            seed=fields.get("seed", args.seed),
            begins=begins,
            grammar=fields.get("grammar", not args.no_grammar),
        )
    except MioError as error:
        raise MioError(f"{line.where}: {error}") from error


def run_requests(args: argparse.Namespace, run: Run, engine: Any, style: str) -> None:
    """Answers all requests of `args.requests`; prints what was written, and how fast it went."""
    from mio_jax.cli.generate import write_response
    from mio_jax.generate.batched import BatchedEngine
    from mio_jax.generate.engine import Engine

    if not isinstance(engine, Engine):
        raise MioError(f"recipe {run.config.recipe!r} encodes its inputs first; its requests cannot share rows")
    lines = list(read_lines(args.requests))
    requests = [request_of(line, args, run, style, Path(args.requests).parent) for line in lines]
    stops = (run.space.eos, *(run.space.special(s) for s in run.recipe.stop_strings(style)))
    batched = BatchedEngine(engine, args.rows, stop_ids=stops, grammar=run.recipe.grammar(run.space))
    tickets: dict[int, int] = {}
    for i, (line, request) in enumerate(zip(lines, requests, strict=True)):
        try:
            tickets[batched.submit(request)] = i
        except MioError as error:
            raise MioError(f"{line.where}: {error}") from error
    out, began, count = Path(args.out), time.perf_counter(), 0
    out.mkdir(parents=True, exist_ok=True)
    answers: dict[int, list[np.ndarray]] = {ticket: [] for ticket in tickets}
    while not batched.idle:
        for ticket, ids, done in batched.step():
            answers[ticket].append(ids)
            if done:
                whole, i = np.concatenate(answers.pop(ticket)), tickets[ticket]
                count += len(whole)
                answer = run.recipe.parse(whole, run.tokenizers, run.space)
                request = requests[i]
                write_response(
                    out, lines[i].name, request.seed, request.prompt, whole, answer, run.tokenizers, args.animate
                )
    seconds = time.perf_counter() - began
    print(f"{len(lines)} requests, {count} tokens in {seconds:.2f} s, {batched.steps} steps of {batched.rows} rows")
