"""What the stages of SEED's training share: pictures, parameters that stay as they are, and where a stage starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model, to_pure_dict
from mio_tokenizers.image.io import check_picture
from mio_tokenizers.image.seed.contrastive import KIND as STAGE_1
from mio_tokenizers.image.seed.preprocess import resize
from mio_tokenizers.image.seed.published import import_trunk, is_folder, read_arrays, read_folder, tower_arrays
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.weights_file import flat_arrays, read_kind, read_weights

TRUNK = "trunk."
TRUNK_NAMES = ("visual_encoder.", "ln_vision.", "query_tokens", "Qformer.")  # published


@dataclass(frozen=True)
class CropConfig:
    """Random resized crops and mirrored pictures, as SEED was trained. `min_area` 1 and `flip` 0: as they are."""

    min_area: float = 0.5
    max_ratio: float = 4 / 3  # of width to height, and of height to width
    flip: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.min_area <= 1, f"crop.min_area is {self.min_area}; it must be in (0, 1]")
        require(self.max_ratio >= 1, f"crop.max_ratio is {self.max_ratio}; it must be 1 or more")
        require(0 <= self.flip <= 1, f"crop.flip is {self.flip}; it must be in [0, 1]")

    @property
    def off(self) -> bool:
        return self.min_area == 1 and self.flip == 0


def crop(pictures: jax.Array, key: jax.Array, config: CropConfig) -> jax.Array:
    """float32 [b, size, size, 3] in [0, 1] -> crops of at least `min_area`, stretched to the same size (bicubic)."""
    if config.off:
        return pictures
    b, size = pictures.shape[:2]
    a, r, t, f = jax.random.split(key, 4)
    area = jax.random.uniform(a, (b,), minval=config.min_area, maxval=1.0)
    widest = math.log(config.max_ratio)
    ratio = jnp.exp(jax.random.uniform(r, (b,), minval=-widest, maxval=widest))
    shares = jnp.minimum(jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)], axis=1), 1.0)  # height, width
    corners = jax.random.uniform(t, (b, 2)) * (1 - shares) * size

    def one(picture: jax.Array, share: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.image.scale_and_translate(picture, picture.shape, (0, 1), 1 / share, -corner / share, "cubic")

    cut = jnp.clip(jax.vmap(one)(pictures, shares, corners), 0, 1)
    mirrored = jax.random.bernoulli(f, float(config.flip), (b, 1, 1, 1))
    return jnp.where(mirrored, cut[:, :, ::-1], cut)


def squares(array: np.ndarray, settings: SeedSettings, name: str) -> np.ndarray:
    """uint8 pictures [n, h, w, 3] as the tokenizer sees them, [n, size, size, 3]. Raises MioError if they are none."""
    if array.dtype != np.uint8 or array.ndim != 4 or not len(array):
        raise MioError(f"media {name} are {array.dtype} {list(array.shape)}; SEED learns from pictures [n, h, w, 3]")
    return np.stack([resize(check_picture(picture), settings.img_size, settings.resample) for picture in array])


def rows(key: jax.Array, batch: int, counts: Sequence[int], weights: Sequence[float]) -> jax.Array:
    """Which pictures of several sets, laid end to end, make a batch: int32 [batch].

    `counts`: pictures of each set; `weights`: share of each in a batch, empty: by their sizes.
    """
    if not weights:
        return jax.random.randint(key, (batch,), 0, sum(counts))
    source_key, index_key = jax.random.split(key)
    shares = jnp.log(jnp.asarray(weights, jnp.float32))
    source = jax.random.categorical(source_key, shares, shape=(batch,))
    count = jnp.asarray(counts, jnp.int32)
    start = jnp.cumsum(count) - count
    return start[source] + jax.random.randint(index_key, (batch,), 0, count[source])


def check_weights(name: str, weights: Sequence[float], media: Sequence[str]) -> None:
    """Raises MioError unless there are none, or one positive weight for each of the media."""
    require(
        not weights or (len(weights) == len(media) and min(weights) > 0),
        f"tokenizer config {name!r}: weights are {tuple(weights)}; it takes one positive number for each of "
        f"{len(media)} media, or none",
    )


class Parts:
    """A model whose parameters are divided into trained and kept ones, each by flat name."""

    def __init__(self, build: Any) -> None:
        self.build = build
        self.graphdef, self.abstract = split_model(build)
        shapes = flat_arrays(to_pure_dict(self.abstract))
        self.names = list(shapes)
        self.shapes = {name: tuple(leaf.shape) for name, leaf in shapes.items()}
        self.structure = jax.tree.structure(to_pure_dict(self.abstract))

    def first(self, seed: int, start: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """New parameters, those of `start` in their places."""
        # The hardware generator: XLA compiles threefry, unrolled once for every parameter, longer than the step.
        made = jax.jit(functools.partial(init_params, self.build))(jax.random.key(seed, impl="rbg"))
        return flat_arrays(made) | {name: jnp.asarray(array, jnp.float32) for name, array in start.items()}

    def model(self, *groups: Mapping[str, jax.Array]) -> Any:
        """The model around all groups together."""
        arrays = {name: array for group in groups for name, array in group.items()}
        return apply(self.graphdef, jax.tree.unflatten(self.structure, [arrays[name] for name in self.names]))


def divide(arrays: Mapping[str, Any], frozen: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trained, kept): kept are the arrays under a frozen name. Raises MioError on a name that freezes nothing."""
    kept: dict[str, Any] = {}
    for prefix in frozen:
        under = {name: array for name, array in arrays.items() if name == prefix or name.startswith(f"{prefix}.")}
        if not under:
            parts = sorted({".".join(name.split(".")[:2]) for name in arrays})
            raise MioError(f"frozen names {prefix!r}, which is no part of the model; there are {', '.join(parts)}")
        kept |= under
    trained = {name: array for name, array in arrays.items() if name not in kept}
    if not trained:
        raise MioError("everything is frozen; leave something to train")
    return trained, kept


def trunk_from(start: str, settings: SeedSettings, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Vision tower and Q-Former that a stage starts from, by our flat names; none where `start` is empty.

    `start`: a file of stage 1; or a folder of published weights; or files with the published names, comma between them
    (EVA's tower and BLIP-2's first stage, say). Raises MioError listing what does not fit.
    """
    if not start:
        return {}
    wanted = {name: shape for name, shape in shapes.items() if name.startswith(TRUNK)}
    for part in start.split(","):
        if not Path(part).exists():
            raise MioError(f"start: there is nothing at {part}")
    path = Path(start)
    if path.suffix == ".safetensors" and path.is_file() and read_kind(path) == STAGE_1:
        arrays = {name: a for name, a in read_weights(path, STAGE_1)[0].items() if name.startswith(TRUNK)}
        odd = sorted(n for n in arrays.keys() | wanted.keys() if n not in arrays or arrays[n].shape != wanted.get(n))
        if odd:
            raise MioError(f"start: {start} is of other sizes than settings: {len(odd)} arrays differ, e.g. {odd[0]}")
        return arrays
    trunk: dict[str, np.ndarray] = {}
    for part in start.split(","):
        published = read_folder(Path(part))[0] if is_folder(Path(part)) else read_arrays(Path(part))
        if "cls_token" in published:  # EVA's own file
            published = tower_arrays(published, settings)
        trunk |= {name: array for name, array in published.items() if name.startswith(TRUNK_NAMES)}
    return import_trunk(trunk, settings, wanted, f"start: {start}")
