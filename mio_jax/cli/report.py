"""Draw the report of a run: one HTML file with its scores, loss curves and held-out examples, that opens by itself.

mio report --run runs/quickstart
"""

from __future__ import annotations

import argparse

SUMMARY = "draw a run's report: one HTML file that opens by itself"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="a run directory")


def run(args: argparse.Namespace) -> int:
    from mio_jax.web.report import write_report

    print(write_report(args.run).resolve())
    return 0
