"""Which sets of data a config adds to a recipe's own, and which of their examples it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from mio_jax.config_checks import require


@dataclass(frozen=True)
class AddedSet:
    """A set of the user's own in a mixture of the recipe's, or in a new one: one class and one line.

    docs/tutorial_add_a_dataset.md shows it.

    `source` names its reader: "module:Class" or "folder/file.py:Class". `kinds` are kinds of task that the recipe has.
    `rate` counts beside the mixture's own, whose published ones are per cent.
    """

    name: str
    source: str
    mixture: str
    kinds: tuple[str, ...]
    rate: float = 1.0

    def __post_init__(self) -> None:
        where = f"data.added {self.name!r}"
        require(self.name.isidentifier(), f"{where}: a set's name is letters, digits and underscores")
        module, _, cls = self.source.rpartition(":")
        require(
            bool(module and cls), f"{where}: its source is {self.source!r}; it must be module:Class or FILE.py:Class"
        )
        require(bool(self.mixture), f"{where} has no mixture")
        require(bool(self.kinds), f"{where} has no kinds of task; one that shows its examples as they are is enough")
        require(self.rate > 0, f"{where}: its rate is {self.rate}; it must be positive")


@dataclass(frozen=True)
class FilterConfig:
    """Which examples of some sets are prepared: those that pass all that is set here; see `mio_jax.data.filters`."""

    sets: tuple[str, ...] = ("*",)  # globs of their names
    max_aspect: float = 0.0  # longer side of a picture over its shorter one; 0: any
    min_side: int = 0  # pixels
    max_seconds: float = 0.0  # of a sound; 0: any
    language: str = ""  # of the text, such as "en"; empty: any
    score: str = ""  # name of a column of yours; empty: none
    min_score: float = 0.0

    def __post_init__(self) -> None:
        require(bool(self.sets), "a filter of data.filters names no sets")
        require(
            self.max_aspect == 0 or self.max_aspect >= 1,
            f"data.filters: max_aspect is {self.max_aspect}; it must be 0 (any), or at least 1",
        )
        for name in ("min_side", "max_seconds"):
            require(getattr(self, name) >= 0, f"data.filters: {name} is {getattr(self, name)}; it must be 0 or more")
        require(
            bool(self.score) or not self.min_score,
            f"data.filters: min_score is {self.min_score}, but no score is named",
        )
