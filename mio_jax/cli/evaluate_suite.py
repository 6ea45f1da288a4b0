"""`mio eval --suite NAME`: a benchmark, or a folder of your own, over a trained run."""

from __future__ import annotations

import argparse
from pathlib import Path

from mio_jax.errors import MioError

LIST = "list"
LANGUAGE = "lm_harness"  # tasks of a library, which has their data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("suites (--suite list prints them, with the folders and metrics they take)")
    group.add_argument(
        "--suite", default="", metavar="NAME", help="mio, grit, coco, refcoco, vqav2, audiocaps, folder, lm_harness"
    )
    group.add_argument("--data", metavar="FOLDER", help="where the suite's files lie, laid out as it is published")
    group.add_argument("--tasks", default="", metavar="A,B", help="only these parts of the suite")
    group.add_argument("--subset", default="", metavar="NAME", help="of a suite that has several: ablation, test, ...")
    group.add_argument("--rows", type=int, default=16, metavar="N", help="answers decoded at once (default 16)")
    group.add_argument("--stage", metavar="NAME", help="use this stage's weights (default: the last stage's)")
    group.add_argument(
        "--extractor",
        action="append",
        default=[],
        metavar="NAME=MODULE:FUNCTION",
        help="a network of yours for a metric that needs one: fid, inception, clip, clip_image, fad, audio_classes",
    )
    group.add_argument("--clip", default="", metavar="FOLDER", help="CLIP's weights, of Hugging Face, for CLIP-I")
    group.add_argument(
        "--recogniser",
        default="",
        metavar="COMMAND|MODULE:FUNCTION",
        help="writes down what is said in made speech: a command with {file} in it, or a function of yours",
    )


def run(args: argparse.Namespace) -> int:
    if args.suite == LIST:
        print(listing(), end="")
        return 0
    if not args.run:
        raise MioError("which run is to be scored? give --run DIR (`mio eval --suite list` needs none)")
    if not args.data and args.suite != LANGUAGE:
        raise MioError(f"suite {args.suite!r} reads a folder of yours: give --data FOLDER (`mio eval --suite list`)")
    for flag, value, least in (("--examples", args.examples, 1), ("--rows", args.rows, 1)):
        if value is not None and value < least:
            raise MioError(f"{flag} is {value}; it must be at least {least}")
    if args.directions:
        raise MioError("--directions are of the run's own data; a suite's parts are --tasks")

    names = tuple(name.strip() for name in args.tasks.split(",") if name.strip())
    if args.suite == LANGUAGE:
        return _language(args, names)

    from mio_jax.evaluate.suite_run import beside_published, evaluate_suite, load_clip, load_extractors, load_recogniser
    from mio_jax.evaluate.suites import Data, suite_named
    from mio_jax.train.compilation import use_compilation_cache

    suite_named(args.suite)
    networks = load_extractors(args.extractor)
    if args.clip and "clip_image" in networks:
        raise MioError("--clip and --extractor clip_image name two networks for CLIP-I; give one of them")
    networks |= load_clip(args.clip) | load_recogniser(args.recogniser)
    data = Data(Path(args.data), args.subset, names, networks)
    use_compilation_cache()
    results = evaluate_suite(
        args.run, args.suite, data, examples=args.examples, rows=args.rows, force=args.force, stage=args.stage
    )
    for name, value in results["overall"].items():
        lacks = f" (missing, counted as 0: {', '.join(results['missing'])})" if results["missing"] else ""
        print(f"{name}: {value:.4f}{lacks}")
    for number, line in enumerate(beside_published(results)):
        print(f"{'' if number else chr(10)}{line}")
    print(f"\nwritten to {args.run}/suites/{args.suite}/results.json, with predictions/ beside it")
    return 0


def _language(args: argparse.Namespace, names: tuple[str, ...]) -> int:
    from mio_jax.evaluate.lm_harness import evaluate_language
    from mio_jax.train.compilation import use_compilation_cache

    use_compilation_cache()
    results = evaluate_language(
        args.run, names, folder=args.data or "", examples=args.examples, rows=args.rows, stage=args.stage
    )
    for task, scores in results["tasks"].items():
        for name, value in scores.items():
            if isinstance(value, float) and "_stderr" not in name:
                error = scores.get(name.replace(",", "_stderr,", 1))
                spread = f" +- {error:.4f}" if isinstance(error, float) else ""
                print(f"{task}: {name.removesuffix(',none')} {value:.4f}{spread}")
    print(f"\nwritten to {args.run}/suites/{LANGUAGE}/results.json")
    return 0


def listing() -> str:
    """What `--suite list` prints."""
    from mio_jax.evaluate.distances import EXTRACTORS
    from mio_jax.evaluate.functions import FUNCTIONS
    from mio_jax.evaluate.suites import suites

    lines = []
    for suite in suites().values():
        lines += [f"{suite.name}: {suite.about}", f"  tasks: {', '.join(suite.tasks)}", "  --data"]
        lines += [f"    {line}" for line in suite.layout.splitlines()]
        lines.append("")
    lines += [f"{LANGUAGE}: tasks of lm-evaluation-harness (pip install -e '.[lm]'), over text alone"]
    lines += [
        "  tasks: name some; `lm-eval ls tasks` lists them",
        "  --data: a folder of task files of yours; optional",
        "",
    ]
    lines.append("metrics:")
    width = max(map(len, FUNCTIONS))
    for name, function in FUNCTIONS.items():
        needs = f"; needs {function.needs}" if function.needs else ""
        lines.append(f"  {name:<{width}}  {function.about}{needs}")
    lines += ["", "extractors, functions with weights of yours (--extractor NAME=MODULE:FUNCTION):"]
    lines += [f"  {name}: {takes}; published scores take {usual}" for name, (takes, usual) in EXTRACTORS.items()]
    return "\n".join([*lines, ""])
