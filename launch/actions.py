"""What a launcher would do, as data: files to write and commands to run. `--dry-run` prints it instead of doing it."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mio_jax.errors import MioError

TRAIN = (".venv/bin/mio", "train")  # in the repository's folder, on whatever machine
STOPPED, PEER_LOST = 143, 75  # exit statuses after which the same command goes on: SIGTERM, another process has ended


@dataclass(frozen=True)
class Actions:
    """Files are written first, then the commands run one after the other until one fails."""

    commands: list[list[str]]
    files: dict[Path, str] = field(default_factory=dict)

    def carry_out(self, *, dry_run: bool) -> int:
        """Returns the status of the last command run.

        Raises:
          MioError: a program is not installed, or a file cannot be written.
        """
        for path, text in self.files.items():
            if dry_run:
                print(f"# would write {path}:\n{text}")
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise MioError(f"cannot write {path}: {error.strerror}") from error
            print(f"wrote {path}", flush=True)
        for command in self.commands:
            print(f"{'# would run' if dry_run else '$'} {shlex.join(command)}", flush=True)
            if dry_run:
                continue
            try:
                status = subprocess.run(command, check=False).returncode
            except FileNotFoundError:
                raise MioError(f"{command[0]} is not on the PATH; --dry-run needs no program") from None
            if status:
                return status
        return 0


class Parser(argparse.ArgumentParser):
    """Takes `--dry-run`, and behind `--` the words for `mio train`; a usage error is one line."""

    def __init__(self, doc: str) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        self.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")

    def error(self, message: str) -> NoReturn:
        raise MioError(f"{message} (see --help)")

    def parse(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The launcher's own arguments, and what stands behind `--`."""
        words = list(argv)
        cut = words.index("--") if "--" in words else len(words)
        return self.parse_args(words[:cut]), words[cut + 1 :]


def need_config(train: Sequence[str]) -> None:
    """Raises MioError unless the words for `mio train` say what to train."""
    if not any(word.split("=")[0] in ("--config", "--gin_file", "--run") for word in train):
        raise MioError("say what to train behind --, e.g. -- --config configs/quickstart.py")


def entry(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a launcher: expected errors are one line and status 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except MioError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
