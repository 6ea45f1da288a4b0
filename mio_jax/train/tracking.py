"""Weights & Biases, where the config asks for it (`log.wandb`): the rows of metrics.jsonl as one W&B run.

The W&B run is resumed with the run directory: its id is kept in `wandb.json`. Rows that a killed process had logged
beyond its last checkpoint are computed again with the same values; W&B keeps the first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from mio_jax.config import RunConfig
from mio_jax.config_loading import to_dict
from mio_jax.errors import MioError


class Tracker(Protocol):
    """Where rows go beside metrics.jsonl."""

    def log(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class WandbTracker:
    """One W&B run for one run directory.

    Raises:
      MioError: wandb is not installed, or refuses to start.
    """

    def __init__(self, config: RunConfig) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise MioError(
                "log.wandb is on and wandb is not installed; install the extra: pip install 'mio_jax[wandb]', or leave "
                "log.wandb off"
            ) from error
        folder = Path(config.run_dir)
        path = folder / "wandb.json"
        known = json.loads(path.read_text(encoding="utf-8"))["id"] if path.is_file() else None
        try:
            self._run = wandb.init(
                project=config.log.wandb_project or config.name,
                name=folder.name,
                id=known,
                resume="allow",
                dir=str(folder),
                config=to_dict(config),
            )
        except Exception as error:
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise MioError(f"W&B could not start: {line}; WANDB_MODE=offline logs without a network") from error
        if known is None:
            new = path.with_suffix(".tmp")
            new.write_text(json.dumps({"id": self._run.id}) + "\n", encoding="utf-8")
            os.replace(new, path)

    def log(self, row: dict[str, Any]) -> None:
        """Logs the numbers of a row of metrics.jsonl under its global step; None is left out."""
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k != "global_step"}
        self._run.log(numbers, step=row["global_step"])

    def close(self) -> None:
        self._run.finish()
