"""What a metric may use: the run's parts, training records for its probes, and the raw held-out media."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.protocols import Direction, Generated, Recipe, Segment

if TYPE_CHECKING:
    from mio_jax.data.records import Record
    from mio_jax.data.sources import Place
    from mio_tokenizers import Audio

PROBE_RECORDS = 1200  # training examples that a probe is fitted on


@dataclass(frozen=True)
class Context:
    """One evaluation of one run."""

    config: RunConfig
    recipe: Recipe
    tokenizers: Any
    space: TokenSpace

    def encode(self, segments: Sequence[Segment]) -> Any:
        """A prompt, as the recipe's engine is asked with it."""
        system = self.config.data.system_prompt
        return self.recipe.encode_prompt(list(segments), self.tokenizers, self.space, system=system)

    def encode_answer(self, segments: Sequence[Segment]) -> np.ndarray:
        """int32 ids of what is to follow a prompt."""
        return self.recipe.encode_answer(list(segments), self.tokenizers, self.space)

    def stop_ids(self, direction: Direction) -> tuple[int, ...]:
        """The end of the sequence, and the special strings that the direction's `stop` option names."""
        return (self.space.eos, *(self.space.special(s) for s in direction.options.get("stop", ())))

    def answer(self, tokens: np.ndarray) -> Generated:
        return self.recipe.parse(tokens, self.tokenizers, self.space)

    # ------------------------------------------------------------------------------------------------------- data

    def held_out(self, direction: Direction, n: int) -> list[Record]:
        """`n` test records; `examples_factor` times as many, or all there are, where the direction asks for them."""
        from mio_jax.data.loader import held_out

        more = n * int(direction.options.get("examples_factor", 1))
        return held_out(direction.task, self.config.data.records_dir, more, self.config.seed, at_least=n)

    def train_records(self, direction: Direction, n: int = PROBE_RECORDS) -> list[Record]:
        """At most `n` training records that the direction's task can use, the same ones every time."""
        from mio_jax.data.records import RecordReader
        from mio_jax.data.registry import lookup

        task = lookup(direction.task)[0][0]
        reader = RecordReader(self.config.data.records_dir, task.record_set, "train")
        records: list[Record] = []
        for index in np.random.default_rng(self.config.seed).permutation(len(reader)):
            if len(records) == n:
                break
            record = reader[index]
            if task.where is None or task.where(record):
                records.append(record)
        return records

    def raw(self, direction: Direction) -> dict[str, dict[str, Any]]:
        """The direction's held-out examples before tokenization, by id: the true pictures, masks and sounds."""
        from mio_jax.data.registry import lookup
        from mio_jax.data.sources import place_of

        return _raw_examples(place_of(lookup(direction.task)[0][0].record_set, self.config.data))

    def raw_of(self, direction: Direction, records: Sequence[Record], name: str) -> list[Any]:
        """One medium of each record, as it was. Raises MioError if the source does not have these examples any more."""
        raw = self.raw(direction)
        missing = next((r["id"] for r in records if r["id"] not in raw), None)
        if missing is not None:
            raise MioError(
                f"record {missing!r} of {self.config.data.records_dir} is not in its source any more; prepare the"
                " records again: mio data prepare --force"
            )
        return [raw[record["id"]][name] for record in records]

    # ---------------------------------------------------------------------------------------------------- decoding

    def pictures(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [n, height, width, 3]."""
        return np.asarray(self.tokenizers.image.decode_batch(np.stack(list(codes))))

    def sounds(self, codes: Sequence[np.ndarray]) -> list[Audio]:
        return list(self.tokenizers.audio.decode_batch(list(codes)))


@functools.lru_cache(maxsize=2)
def _raw_examples(place: Place) -> dict[str, dict[str, Any]]:
    from mio_jax.data.sources import open_place
    from mio_jax.data.sources.places import readable_examples

    return {example["id"]: example for example in readable_examples(open_place(place), "test")}


def media(answer: Generated, kind: str) -> list[np.ndarray]:
    """The codes of all spans of a kind in an answer."""
    return [segment.value for segment in answer.segments if segment.kind == kind]


def text(answer: Generated) -> str:
    """The text of an answer, spaces where media stood."""
    return " ".join(str(s.value).strip() for s in answer.segments if s.kind == "text").strip()
