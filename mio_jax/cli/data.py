"""Makes token records from raw media, lists what can be trained on, and shows examples of it.

mio data prepare --config configs/quickstart.py [--sets openmoji instruments] [--limit 100] [--force] [--runner beam]
mio data list [--all]                                   # tasks and mixtures with counts; published sets you lack too
mio data show mio_openmoji_text_to_image --n 3 --out shown/ [--style chat]   # text printed, media written as files
mio data verify                                         # checksums of every prepared set
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.config import STYLES, RunConfig
from mio_jax.config_loading import add_config_arguments, config_from_args, config_words
from mio_jax.errors import MioError

SUMMARY = "prepare token records; list and show tasks and mixtures"
ACTIONS = ("prepare", "list", "show", "verify")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?", help="show: a task or mixture")
    add_config_arguments(parser, default="configs/quickstart.py")
    parser.add_argument("--sets", nargs="+", default=[], metavar="SET", help="prepare, verify: only these")
    parser.add_argument("--limit", type=int, metavar="N", help="prepare: at most N examples of every split")
    parser.add_argument("--force", action="store_true", help="prepare: make finished sets again")
    parser.add_argument("--runner", choices=("local", "beam"), default="local", help="prepare: where the work runs")
    parser.add_argument("--beam", nargs="+", default=[], metavar="OPTION", help="prepare: Beam's own, as KEY=VALUE")
    parser.add_argument("--all", action="store_true", help="list: published sets that are not prepared here too")
    parser.add_argument("--n", type=int, default=3, help="show: how many examples")
    parser.add_argument("--out", metavar="DIR", default="shown", help="show: folder for pictures and sounds")
    parser.add_argument("--style", choices=STYLES, default="base", help="show: pre-training documents or chats")
    parser.add_argument("--split", default="train", help="show: which split")
    parser.add_argument("--seed", type=int, default=0, help="show: which examples")


def run(args: argparse.Namespace) -> int:
    config = config_from_args(args)
    if args.action == "show" and not args.name:
        raise MioError("mio data show needs the name of a task or mixture; `mio data list` prints them")
    if args.action != "show" and args.name:
        raise MioError(f"mio data {args.action} takes no name; did you mean --sets {args.name}?")
    actions: dict[str, Callable[[argparse.Namespace, RunConfig], int]] = {
        "prepare": _prepare,
        "list": _list,
        "show": _show,
        "verify": _verify,
    }
    return actions[args.action](args, config)


def progress_report() -> Callable[[str, int, int], None]:
    """A report for `prepare` that shows the progress of every set with its rate and the time left."""
    from mio_jax.train.progress import Progress

    @functools.cache
    def bar(record_set: str, total: int, begun_at: int) -> Progress:
        return Progress(total, record_set, done=begun_at, unit="examples")

    begun: dict[str, int] = {}

    def report(record_set: str, done: int, total: int) -> None:
        if record_set not in begun:
            begun[record_set] = done  # what an interrupted run had finished does not count into the rate
            return
        bar(record_set, total, begun[record_set]).update(done)

    return report


def _prepare(args: argparse.Namespace, config: RunConfig) -> int:
    from mio_jax.data.prepare import SET_ASIDE, prepare, run_here
    from mio_jax.data.records import read_manifest
    from mio_jax.protocols import load_recipe
    from mio_tokenizers import load_set

    runner = run_here
    if args.runner == "beam":
        from mio_jax.data.prepare_beam import beam_runner

        runner = beam_runner([f"--{option.lstrip('-')}" for option in args.beam])
    elif args.beam:
        raise MioError("--beam options have a meaning only with --runner beam")
    if args.limit is not None and args.limit < 1:
        raise MioError(f"--limit is {args.limit}; it must be at least 1")
    tokenizers = load_set(config.tokenizers)
    outcome = prepare(
        config,
        tokenizers,
        space=load_recipe(config.recipe).token_space(tokenizers),
        sets=args.sets,
        limit=args.limit,
        force=args.force,
        runner=runner,
        report=progress_report(),
    )
    for record_set, what in outcome.items():
        folder = Path(config.data.records_dir) / record_set
        print(f"{what} {folder}")
        aside = sum(read_manifest(config.data.records_dir, record_set).get("set_aside", {}).values())
        if aside:
            print(f"  {aside} bad examples set aside; the reasons are in {folder / SET_ASIDE}")
    return 0


def _verify(args: argparse.Namespace, config: RunConfig) -> int:
    from mio_jax.data.records import RecordReader, read_manifest
    from mio_jax.data.sources import sets_at_hand

    for record_set in args.sets or sets_at_hand(config.data):
        manifest = read_manifest(config.data.records_dir, record_set)
        for split in manifest["counts"]:
            RecordReader(config.data.records_dir, record_set, split).verify()
        print(f"{record_set}: whole, {sum(manifest['counts'].values())} records")
    return 0


def _list(args: argparse.Namespace, config: RunConfig) -> int:
    from mio_jax.data import registry
    from mio_jax.data.records import read_manifest
    from mio_jax.protocols import load_recipe

    load_recipe(config.recipe).register_tasks(config.data.records_dir, config.data.added)
    tasks, mixtures = registry.names()
    prepared: dict[str, dict[str, int] | None] = {}
    rows = [("task", "in -> out", "records", "train", "test", "what it teaches")]
    hidden: set[str] = set()
    for name in tasks:
        task = registry.lookup(name)[0][0]
        if task.record_set not in prepared:
            folder = Path(config.data.records_dir) / task.record_set
            prepared[task.record_set] = (
                read_manifest(config.data.records_dir, task.record_set)["counts"] if folder.is_dir() else None
            )
        counts = prepared[task.record_set]
        if task.title and counts is None and not args.all:
            hidden.add(task.record_set)
            continue
        missing = "unreadable" if task.unreadable else "-"
        train, test = (str(counts.get(split, "-")) if counts else missing for split in ("train", "test"))
        way = f"{'+'.join(task.inputs)} -> {'+'.join(task.outputs)}"
        rows.append((name, way, task.record_set, train, test, task.description))
    _print_table(rows)
    print()
    _print_table([("mixture", "shares of its examples"), *((m, _shares(m, prepared, args.all)) for m in mixtures)])
    if hidden:
        print(f"\n{len(hidden)} published sets are not prepared here; with their tasks and rates: mio data list --all")
    if None in [counts for name, counts in prepared.items() if name not in hidden]:
        print(f"\n- : not prepared in {config.data.records_dir}; make them: mio data prepare {config_words(args)}")
    return 0


def _shares(mixture: str, prepared: dict[str, dict[str, int] | None], whole: bool) -> str:
    """The tasks of a mixture; of one over published sets only what is prepared of it, unless all is wanted."""
    from mio_jax.data import registry

    entries = registry.lookup(mixture)
    sets = {task.record_set for task, _ in entries}
    if whole or not any(task.title for task, _ in entries):
        places = 2 if whole else 0
        return ", ".join(f"{task.name} {rate:.{places}%}" for task, rate in entries)
    there = [(task, rate) for task, rate in entries if prepared.get(task.record_set)]
    readable = {task.record_set for task, _ in entries if not task.unreadable}
    return (
        f"{len(sets)} sets, {len(readable)} of them readable, {len({t.record_set for t, _ in there})} prepared, which "
        f"make up {sum(rate for _, rate in there):.2%}"
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]).rstrip())


def _show(args: argparse.Namespace, config: RunConfig) -> int:
    from mio_jax.data import registry
    from mio_jax.data.availability import usable
    from mio_jax.data.records import RecordReader, check_manifest
    from mio_jax.protocols import load_recipe
    from mio_tokenizers import load_set

    recipe, tokenizers = load_recipe(config.recipe), load_set(config.tokenizers)
    recipe.register_tasks(config.data.records_dir, config.data.added)
    space = recipe.token_space(tokenizers)
    rows = recipe.rows(config)
    entries, _ = usable(args.name, registry.lookup(args.name), config.data)
    rng = np.random.default_rng(args.seed)
    out = Path(args.out)
    for number in range(args.n):
        task = entries[int(rng.choice(len(entries), p=[rate for _, rate in entries]))][0]
        reader = RecordReader(config.data.records_dir, task.record_set, args.split)
        check_manifest(reader.manifest, tokenizers.fingerprints, config.data.records_dir)
        record = _pick(task, reader, rng)
        segments = task.formatter(record, rng, args.style)
        example = recipe.encode(segments, tokenizers, space, supervise="responses" if args.style == "chat" else "all")
        sizes = " x ".join(map(str, rows.sizes(example)))
        weights = getattr(example, "loss_weights", None)  # of single sequences; elsewhere targets are learned whole
        learned = "; those marked * carry loss" if weights is None else f", {int((weights > 0).sum())} with loss (*)"
        print(f"[{number}] {task.name}, {record['id']}: {sizes} tokens{learned}")
        for place, segment in enumerate(segments):
            shown = repr(segment.value)
            if segment.kind not in ("text", "whole_text"):
                if segment.kind.startswith("whole_"):
                    kind = "pixels" if segment.kind == "whole_image" else "sound"
                    segment = segment._replace(kind=kind, value=segment.value.seen)
                written = []
                for piece, (kind, value) in enumerate(_media(segment.kind, segment.value)):
                    ending = ".png" if kind in ("image", "pixels") else ".wav"
                    path = out / f"{task.name}-{number:02d}-{place}{f'-{piece}' if piece else ''}{ending}"
                    write_media(path, kind, value, tokenizers)
                    written.append(str(path))
                shown = " ".join(written)
            mark = "*" if segment.supervised or args.style == "base" else " "
            print(f"  {mark} {segment.kind:5s} {shown}")
    return 0


def _media(kind: str, value: Any) -> list[tuple[str, Any]]:
    """The pictures and sounds of a segment: those of a history one by one, what is hidden in white."""
    if kind == "hidden":
        return [("pixels", np.repeat(np.where(value, np.uint8(255), np.uint8(0))[..., None], 3, axis=-1))]
    if kind.endswith("_history"):
        return [(kind.removesuffix("_history"), one) for one in value]
    return [(kind, value)]


def _pick(task: Any, reader: Any, rng: np.random.Generator) -> Any:
    for _ in range(1000):
        record = reader[int(rng.integers(len(reader)))]
        if task.where is None or task.where(record):
            return record
    raise MioError(f"task {task.name!r}: none of 1000 records of {task.record_set!r} is one that it can use")


def write_media(path: Path, kind: str, value: Any, tokenizers: Any) -> None:
    """Writes a picture ("pixels", or "image" codes) as PNG, a sound ("sound", or "audio" codes) as WAV."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("image", "pixels"):
            from PIL import Image

            Image.fromarray(tokenizers.image.decode(value) if kind == "image" else value).save(path)
            return
        from mio_tokenizers.audio.io import write_wav

        write_wav(path, tokenizers.audio.decode(value) if kind == "audio" else value)
    except OSError as error:
        raise MioError(f"cannot write {path}: {error.strerror or error}") from error
