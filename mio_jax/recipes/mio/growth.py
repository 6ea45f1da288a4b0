"""New rows for a LLaMA-shaped checkpoint: its vocabulary grown by a table of added tokens (specification, section 3.2).

Embedding and head get a row for every id behind those that they have; everything else is copied tensor by tensor, so
that a checkpoint of any size passes through the memory of its largest tensor. Old rows stay as they are to the bit, and
so do the logits of old ids.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.recipes.mio.checkpoint import HEAD, TABLE
from mio_jax.recipes.mio.relatives import RELATIVES, space_of
from mio_jax.recipes.mio.tokens import (
    ADDED_TOKENS_FILE,
    mio_token_space,
    published_token_space,
    read_added_tokens,
)
from mio_jax.recipes.weights import LAYOUTS, Planned, Stored, open_weights, write_weights

INITS = ("normal", "mean", "mean_noise")
CHUNK = 4096  # rows that are summed at a time
COPIED = (".json", ".txt", ".model", ".jinja", ".md")  # what else stands beside weights


@dataclass(frozen=True)
class NewRows:
    """How rows begin that nothing is known of.

    normal: N(0, std); what MIO did is not published, and 0.02 is Yi's initializer_range. mean: the mean of the old
    rows, so that no new token is likelier than the average one. mean_noise: that and N(0, std).
    """

    init: str = "normal"
    std: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise MioError(f"new rows: init is {self.init!r}; it must be one of {', '.join(INITS)}")
        if self.std < 0:
            raise MioError(f"new rows: std is {self.std}; it must be 0 or more")

    def draw(self, old: Stored, count: int, number: int) -> np.ndarray:
        """float32 [count, dim]; `number` tells tables of one checkpoint apart."""
        rng = np.random.default_rng([self.seed, number])
        dim = old.shape[1]
        noise = rng.standard_normal((count, dim), np.float32) * np.float32(self.std)
        if self.init == "normal":
            return noise
        rows = np.repeat(_mean(old)[None], count, axis=0)
        return rows if self.init == "mean" else rows + noise


def _mean(table: Stored) -> np.ndarray:
    rows = table.read()
    total = np.zeros(rows.shape[1], np.float64)
    for start in range(0, len(rows), CHUNK):
        total += rows[start : start + CHUNK].astype(np.float32).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)


def added_table(space: TokenSpace) -> dict[str, int]:
    """Token -> id of all that a token space adds to its text vocabulary.

    Raises MioError on an id that has no string, which no table can name.
    """
    stop = space.block("text").stop
    table = {token: i for token, i in space.specials if i >= stop}
    for block in space.blocks:
        if block.token_format:
            table |= {block.token_format.format(n): block.start + n for n in range(block.size)}
    if len(table) != space.vocab_size - stop:
        raise MioError(
            f"token space {space.name!r} has {space.vocab_size - stop - len(table)} added ids without a name"
        )
    return table


def table_for(source: str | os.PathLike[str], added: str, space: str, order: tuple[str, ...]) -> dict[str, int]:
    """The table to grow a checkpoint by: that in `added`, a file or a checkpoint's folder, or of a `space` by its name.

    Raises MioError on an unknown space, on an order for another one than MIO's or none for that, and where the space's
    text vocabulary is not the checkpoint's.
    """
    if added:
        if order:
            raise MioError("the order of the blocks is what the table says; --order belongs to --space mio")
        return read_added_tokens(added)
    rows = open_weights(source)
    have = rows[TABLE].shape[0] if TABLE in rows else 0
    if space == "mio":
        if not order:
            raise MioError("--space mio needs --order: which codes come first, 'image speech' or 'speech image'")
        return added_table(mio_token_space(have, order=order) if have else published_token_space(order))
    if space not in RELATIVES:
        raise MioError(f"--space is {space!r}; there are: mio, {', '.join(RELATIVES)}")
    if order:
        raise MioError(f"the order of {space}'s tokens is its own; --order belongs to --space mio")
    relative = RELATIVES[space]
    if have != relative.text_vocab:
        raise MioError(f"{source} has {have} rows; {space}'s tokens follow a text vocabulary of {relative.text_vocab}")
    return added_table(space_of(relative))


def write_added_tokens(space: TokenSpace, folder: str | os.PathLike[str]) -> None:
    """Writes what a token space adds as the list that `tokens.read_added_tokens` reads."""
    text = json.dumps(added_table(space), ensure_ascii=False, indent=1)
    (Path(folder) / ADDED_TOKENS_FILE).write_text(text, encoding="utf-8")


def new_ids(table: Mapping[str, int], rows: int) -> int:
    """How many ids of a table lie behind `rows`.

    Raises MioError where two tokens share an id, ids behind the rows are no run, or there are none.
    """
    by_id: dict[int, str] = {}
    for token, i in table.items():
        if i < 0 or by_id.setdefault(i, token) != token:
            raise MioError(f"the added-token table has {token!r} at id {i}, which {by_id.get(i, 'no token')!r} has")
    beyond = sorted(i for i in by_id if i >= rows)
    if not beyond:
        raise MioError(
            f"the added-token table has no id behind the {rows} rows that the checkpoint has: nothing to add"
        )
    if beyond != list(range(rows, rows + len(beyond))):
        hole = next(i for i, found in enumerate(beyond, rows) if i != found)
        raise MioError(
            f"the added-token table leaves id {hole} unnamed: the checkpoint has rows 0..{rows - 1}, the table goes on "
            f"to {beyond[-1]}"
        )
    return len(beyond)


def grow_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    table: Mapping[str, int],
    rows: NewRows | None = None,
    *,
    max_shard_bytes: int = 4 << 30,
) -> int:
    """Writes the checkpoint in `source` to the new folder `out` with a row for every id of `table` -> how many are new.

    Args:
      source: a folder as Hugging Face has it: config.json and safetensors, single or in shards with their index.
      table: token -> id. Ids that have a row already keep it.
      rows: how the new ones begin.

    Raises:
      MioError: no such checkpoint, one that is not LLaMA's, or a table that does not continue it (see `new_ids`).
    """
    source, out = Path(source), Path(out)
    config = _read_config(source / "config.json")
    tensors = open_weights(source)
    if TABLE not in tensors:
        raise MioError(f"{source} has no {TABLE}: only checkpoints with LLaMA's names can be grown")
    have = tensors[TABLE].shape[0]
    if config.get("vocab_size") != have:
        raise MioError(f"{source}: config.json says vocab_size {config.get('vocab_size')}, {TABLE} has {have} rows")
    tied = bool(config.get("tie_word_embeddings", False))
    if HEAD not in tensors and not tied:
        raise MioError(f"{source} has no {HEAD}, and its config.json does not tie it to {TABLE}")
    count = new_ids(table, have)
    if out.exists() and any(out.iterdir()):
        raise MioError(f"{out} is there already; write the grown checkpoint to a new folder")
    rows = rows or NewRows()
    grown = {TABLE: 0, HEAD: 0 if tied else 1}  # tied tables stay equal

    def plan() -> Iterator[Planned]:
        for name, tensor in tensors.items():
            shape = (tensor.shape[0] + count, *tensor.shape[1:]) if name in grown else tensor.shape
            yield Planned(name, shape, tensor.read().dtype)

    def values() -> Iterator[np.ndarray]:
        for name, tensor in tensors.items():
            value = tensor.read()
            if name in grown:
                value = np.concatenate([value, rows.draw(tensor, count, grown[name]).astype(value.dtype)])
            yield value

    out.mkdir(parents=True, exist_ok=True)
    write_weights(out, list(plan()), values(), max_shard_bytes)
    _copy_others(source, out)
    (out / "config.json").write_text(json.dumps({**config, "vocab_size": have + count}, indent=1))
    known = json.loads((out / ADDED_TOKENS_FILE).read_text()) if (out / ADDED_TOKENS_FILE).is_file() else {}
    (out / ADDED_TOKENS_FILE).write_text(json.dumps({**known, **table}, ensure_ascii=False, indent=1), encoding="utf-8")
    return count


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MioError(f"cannot read the model's config {file}: {error.strerror}") from error
    except ValueError as error:
        raise MioError(f"{file} is not JSON") from error
    if not isinstance(config, dict):
        raise MioError(f"{file} is not the config of a model")
    return config


def _copy_others(source: Path, out: Path) -> None:
    weights = {name for layout in LAYOUTS for name in layout}
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in COPIED and path.name not in weights:
            shutil.copyfile(path, out / path.name)
