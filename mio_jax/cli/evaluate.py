"""Score a trained run on held-out data: for each direction a value, the same model's value with its conditioning
shuffled across examples, and the standard error of the difference. Writes results.json and samples/ into the run.

  mio eval --run runs/quickstart
  mio eval --run runs/quickstart --directions "text->image,image->mask" --examples 100 --force

With --suite the examples are a benchmark's, or your own, in a folder of yours; scores go to RUN/suites/NAME/.

  mio eval --suite list
  mio eval --run runs/x --suite grit --data /data/GRIT --tasks refexp,vqa --examples 500
  mio eval --run runs/x --suite mio --data /data/mio --clip weights/clip --recogniser "whisper-cli -nt -f {file}"
  mio eval --run runs/x --suite folder --data my_examples
"""

from __future__ import annotations

import argparse
import dataclasses

from mio_jax.cli import evaluate_suite
from mio_jax.errors import MioError

SUMMARY = "score a run on held-out data, direction by direction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", help="run directory")
    parser.add_argument("--directions", default="", metavar="A,B", help="only these, e.g. 'text->image,image->text'")
    parser.add_argument("--examples", type=int, metavar="N", help="held-out examples a direction (default: the run's)")
    parser.add_argument("--force", action="store_true", help="also what is finished for this model and these settings")
    evaluate_suite.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.suite:
        return evaluate_suite.run(args)
    if not args.run:
        raise MioError("which run is to be scored? give --run DIR")
    for name in ("data", "tasks", "subset", "extractor", "clip", "recogniser", "stage"):
        if getattr(args, name):
            raise MioError(f"--{name} is for suites: name one with --suite (`mio eval --suite list` prints them)")
    from mio_jax.evaluate.harness import describe, evaluate
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run_dir import load_config

    config = load_config(args.run)
    if args.examples is not None:
        if args.examples < 2:
            raise MioError(f"--examples is {args.examples}; it must be at least 2")
        config = config.replace(eval=dataclasses.replace(config.eval, examples=args.examples))
    names = [name.strip() for name in args.directions.split(",") if name.strip()]
    use_compilation_cache()
    results = evaluate(config, directions=names, force=args.force)
    width = max(map(len, results["directions"]))
    print()
    for name, entry in results["directions"].items():
        print(f"{name:<{width}}  {describe(entry)}")
    print(f"\nwritten to {args.run}/results.json; draw the report: mio report --run {args.run}")
    return 0
