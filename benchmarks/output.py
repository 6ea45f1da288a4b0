"""What every benchmark says at its end: on what machine it ran, its result as JSON, errors in one line."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mio_jax.errors import MioError

RESULTS = Path(__file__).resolve().parent / "results"


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def hardware() -> dict[str, Any]:
    """The CPU, the cores that this process may use, and how busy the machine is now."""
    return {"cpu": cpu_model(), "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}


def write_result(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")


def run(main: Callable[[], int]) -> NoReturn:
    """Ends the process with the status of `main`, or with 2 and one line where it cannot be done."""
    try:
        raise SystemExit(main())
    except MioError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
