"""Perceptual distances from published weights: LPIPS of pictures (Zhang et al. 2018), VGGish features of spectrograms.

Both are one thing: a stack of 3 x 3 convolutions and maxima, whose maps before each maximum and at the end are
compared. At every place of a map the channels are brought to length 1; squared differences are weighted by a linear
head (LPIPS) or added (VGGish, as the published ViT-VQGAN was trained), averaged over the map, added over the maps.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Params
from mio_tokenizers.training.loop import SampleFn
from mio_tokenizers.weights_check import shorten
from mio_tokenizers.weights_file import read_arrays

CONVOLUTION = re.compile(r"(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)")  # torchvision's and LPIPS's own names
HEAD = re.compile(r"lin(?:s\.)?(\d+)\.model\.1\.weight")
UNUSED = re.compile(r"(classifier|embeddings|pproc|scaling_layer)\..*")  # what the files hold beside what is used
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of LPIPS, for pictures in [-1, 1]
EPS = 1e-10


@dataclass(frozen=True)
class Perceptual:
    """A network of fixed weights that says how different two media look (or sound).

    `pools[i]`: a maximum over 2 x 2 follows convolution i. Its arrays are apart (see `read_perceptual`), since what a
    jitted function closes over is compiled into it.
    """

    pools: tuple[bool, ...]
    pictures: bool  # media are pictures in [0, 1]; else they are taken as they are

    @property
    def taps(self) -> int:
        """How many maps are compared."""
        return sum(self.pools) + 1

    def maps(self, arrays: Params, media: jax.Array) -> list[jax.Array]:
        """The compared maps of float32 [b, h, w, channels], channels of length 1 at each place."""
        x = (2 * media - 1 - jnp.asarray(SHIFT)) / jnp.asarray(SCALE) if self.pictures else media
        out = []
        for conv, pool in zip(arrays["convolutions"], self.pools, strict=True):
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, conv["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
            x = jax.nn.relu(x + conv["bias"])
            if pool:
                out.append(_unit(x))
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return [*out, _unit(x)]

    def __call__(self, arrays: Params, made: jax.Array, real: jax.Array) -> jax.Array:
        """Distance of each pair of media, float32 [b]."""
        both = self.maps(arrays, jnp.concatenate([made, real]))
        total = jnp.zeros(len(made))
        for features, head in zip(both, arrays["heads"], strict=True):
            one, other = jnp.split(features, 2)
            total += jnp.mean((one - other) ** 2 @ head, axis=(1, 2))
        return total


def _unit(x: jax.Array) -> jax.Array:
    """Channels of length 1; where all of them are 0 they stay so, with a gradient of 0 and not of NaN."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    some = square > 0
    return jnp.where(some, x / (jnp.sqrt(jnp.where(some, square, 1.0)) + EPS), 0.0)


def read_perceptual(paths: str, *, channels: int, size: tuple[int, int], pictures: bool) -> tuple[Perceptual, Params]:
    """The network in published files, and its arrays.

    Args:
      paths: files, separated by commas: a backbone under torchvision's names (`features.0.weight`) and, for pictures,
        the linear heads of LPIPS (`lin0.model.1.weight`), or one file with both under LPIPS's names.
      channels, size: of the media that it will see.

    Raises:
      MioError: a file cannot be read, an array is missing, unknown or of another shape, or media are too small for it.
    """
    found: dict[str, np.ndarray] = {}
    for path in paths.split(","):
        for name, array in read_arrays(Path(path.strip())).items():
            found[name] = np.asarray(array, np.float32)
    where = f"loss.perceptual_weights={paths}"
    layers, heads, odd = _sorted(found)
    if odd:
        raise MioError(f"{where}: {len(odd)} arrays are of no VGG and no LPIPS head: {shorten(sorted(odd))}")
    pools = _pools(sorted(layers), where)
    network = Perceptual(pools, pictures)
    convolutions = []
    for index in sorted(layers):
        weight, bias = layers[index].get("weight"), layers[index].get("bias")
        if weight is None or bias is None or weight.shape != (len(bias), channels, 3, 3):
            shape = None if weight is None else weight.shape
            raise MioError(f"{where}: layer {index} has a weight {shape}, not [outputs, {channels}, 3, 3] and a bias")
        convolutions.append({"kernel": jnp.asarray(weight.transpose(2, 3, 1, 0)), "bias": jnp.asarray(bias)})
        channels = len(bias)
    widths = [len(conv["bias"]) for conv, pool in zip(convolutions, (*pools[:-1], True), strict=True) if pool]
    if min(size) < 2 ** sum(pools):
        raise MioError(f"{where}: {size[0]} x {size[1]} is too small for its {sum(pools)} halvings")
    return network, {"convolutions": convolutions, "heads": _heads(heads, widths, pictures, where)}


def _sorted(
    found: Mapping[str, np.ndarray],
) -> tuple[dict[int, dict[str, np.ndarray]], dict[int, np.ndarray], set[str]]:
    """(arrays of convolutions by index, heads by index, names of what is neither)."""
    layers: dict[int, dict[str, np.ndarray]] = {}
    heads: dict[int, np.ndarray] = {}
    odd = set()
    for name, array in found.items():
        if match := CONVOLUTION.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = array
        elif match := HEAD.fullmatch(name):
            heads[int(match[1])] = array
        elif not UNUSED.fullmatch(name):
            odd.add(name)
    return layers, heads, odd


def _pools(indices: list[int], where: str) -> tuple[bool, ...]:
    """Which convolutions a maximum follows: each is a layer, its rectifier the next, a maximum the one after that."""
    if not indices or indices[0] != 0:
        raise MioError(f"{where} holds no convolutions of a VGG (features.0.weight, ...)")
    gaps = [after - before for before, after in itertools.pairwise(indices)]
    if any(gap not in (2, 3) for gap in gaps):
        raise MioError(f"{where}: layers {indices} are not those of a VGG without batch normalisation")
    return (*(gap == 3 for gap in gaps), False)


def _heads(heads: Mapping[int, np.ndarray], widths: list[int], pictures: bool, where: str) -> list[jax.Array]:
    """A weight for each channel of each map."""
    if not heads and not pictures:
        return [jnp.ones(width) for width in widths]
    shapes = {index: (1, width, 1, 1) for index, width in enumerate(widths)}
    if {index: head.shape for index, head in heads.items()} != shapes:
        shown = ", ".join(f"lin{index}.model.1.weight {shape}" for index, shape in shapes.items())
        raise MioError(
            f"{where}: the heads of LPIPS must be {shown}; name their file after the backbone's, with a comma"
        )
    return [jnp.asarray(heads[index].reshape(-1)) for index in shapes]


class Watched(NamedTuple):
    """A batch, and the arrays of the perceptual network that judges it: so they reach the step as arguments."""

    media: jax.Array
    arrays: Params


def watched(
    paths: str, weight: float, data: Any, sample: SampleFn, *, channels: int, size: tuple[int, int], name: str
) -> tuple[Perceptual | None, Any, SampleFn]:
    """(network, data, sample) of a training with the perceptual loss, whose batches are `Watched`.

    Without files, or without weight: (None, data, sample). The log says which of them it is. Raises MioError as
    `read_perceptual`.
    """
    if not paths or not weight:
        reason = "loss.perceptual is 0" if paths else "loss.perceptual_weights is empty"
        print(f"{name}: no perceptual loss ({reason})", flush=True)
        return None, data, sample
    network, arrays = read_perceptual(paths, channels=channels, size=size, pictures=channels == 3)
    print(f"{name}: perceptual loss, weight {weight:g}, of {network.taps} maps by {paths}", flush=True)

    def both(held: Any, key: jax.Array) -> Watched:
        return Watched(sample(held["data"], key), held["perceptual"])

    return network, {"data": data, "perceptual": arrays}, both
