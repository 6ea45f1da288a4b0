"""Published weights in and out.

mio weights import WEIGHTS --config C     makes a run of them, which `mio eval`, `mio generate` and `start_from` take
mio weights export --run R --out FOLDER   writes a run under the published names, for other programs
mio weights grow BASE --out FOLDER --added TABLE
                                          a LLaMA-shaped checkpoint with new rows for the tokens of a table

Names that are missing, unexpected or misshapen are all listed, and nothing is written. What a file may hold beyond the
model, such as the front ends of modalities that the config leaves out, is named with --ignore 'input_embedders.audio*'.
"""

from __future__ import annotations

import argparse

from mio_jax.config_loading import add_config_arguments, config_from_args

SUMMARY = "import published weights as a run, or export a run under their names"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    taken = commands.add_parser("import", help="make a run of published weights")
    taken.add_argument("weights", metavar="WEIGHTS", help="a safetensors file or folder, an npz file, a T5X folder")
    taken.add_argument("--ignore", metavar="GLOB", nargs="+", default=[], help="names in it that the model lacks")
    add_config_arguments(taken)
    given = commands.add_parser("export", help="write a run's newest parameters under the published names")
    given.add_argument("--run", required=True, metavar="RUN", help="the run's folder")
    given.add_argument("--out", required=True, metavar="FOLDER", help="where the files go")
    given.add_argument("--stage", metavar="NAME", help="which stage's (default: the last one trained)")
    given.add_argument("--names", default="", help="which names, where a recipe has several: pytorch or t5x")
    _add_grow(commands.add_parser("grow", help="new rows for the tokens of a table (docs/mio_data.md)"))


def _add_grow(grown: argparse.ArgumentParser) -> None:
    grown.add_argument("weights", metavar="BASE", help="a Hugging Face folder of LLaMA's shape: Yi-6B, LLaMA-2-7B, ...")
    grown.add_argument("--out", required=True, metavar="FOLDER", help="where the grown checkpoint goes")
    table = grown.add_mutually_exclusive_group(required=True)
    table.add_argument("--added", metavar="TABLE", help="added_tokens.json, or the folder of a checkpoint that has one")
    table.add_argument("--space", metavar="NAME", help="mio, anygpt, mmgpt, seed_llama_8b or seed_llama_14b")
    grown.add_argument(
        "--order", nargs=2, metavar="KIND", help="of --space mio: which codes come first, image speech say"
    )
    grown.add_argument("--init", default="normal", help="how rows begin: normal, mean or mean_noise (default: normal)")
    grown.add_argument("--std", type=float, default=0.02, help="of normal and of the noise (default: 0.02)")
    grown.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    if args.action == "import":
        config = config_from_args(args)
        from mio_jax.train.weights import import_run

        count = import_run(args.weights, config, ignore=args.ignore)
        print(f"{config.run_dir}: {count:,} parameters of {args.weights}")
        print(
            f"go on with: mio generate --run {config.run_dir}, or train from it: --config.start_from={config.run_dir}"
        )
        return 0
    if args.action == "grow":
        from mio_jax.recipes.mio.growth import NewRows, grow_checkpoint, table_for

        table = table_for(args.weights, args.added or "", args.space or "", tuple(args.order or ()))
        count = grow_checkpoint(args.weights, args.out, table, NewRows(args.init, args.std, args.seed))
        print(f"{args.out}: {args.weights} with {count:,} new rows ({args.init}) for {len(table):,} added tokens")
        return 0
    from mio_jax.train.weights import export_run

    for path in export_run(args.run, args.out, stage=args.stage, names=args.names):
        print(f"wrote {path}")
    return 0
