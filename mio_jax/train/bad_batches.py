"""The batches of bad updates, kept while these follow one another, and saved for inspection when they end the run."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from mio_jax.errors import MioError


class BadBatches:
    """Host copies of the batches of the latest bad updates in a row.

    `save` writes one `step_00000012.npz` for each into `<directory>/bad_batches` (with several processes each writes
    its own rows, under its number), with the arrays that the step was given.
    """

    def __init__(self, directory: Path) -> None:
        """`directory`: the stage's folder."""
        self._directory = directory / "bad_batches"
        self._held: list[tuple[int, dict[str, np.ndarray]]] = []

    def note(self, step: int, batch: dict[str, np.ndarray], in_a_row: int) -> None:
        """Holds on to the batch of a bad update, the number `in_a_row` of them; 0, a good one, lets go of all."""
        if in_a_row <= 1:
            self._held.clear()
        if in_a_row:
            self._held.append((step, batch))

    def save(self) -> Path:
        """Writes what is held and returns the folder. Raises MioError if it cannot be written."""
        process = f".process_{jax.process_index()}" if jax.process_count() > 1 else ""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for step, batch in self._held:
                np.savez(self._directory / f"step_{step:08d}{process}.npz", **batch)  # type: ignore[arg-type]
        except OSError as error:
            steps = ", ".join(str(step) for step, _ in self._held)
            raise MioError(
                f"the updates of steps {steps} were bad, and their batches could not be saved in {self._directory}: "
                f"{error.strerror}"
            ) from error
        return self._directory
