"""Names and layouts of published VQ tokenizers <-> the arrays of a tokenizer file, both ways and exact.

Our own names are those of the JAX weights with dots ("encoder.conv_in.kernel"), beside "codebook". Three other sets:

  t5x    Unified-IO 2's JAX checkpoints: "encoder/conv_in/kernel"; layouts as here.
  torch  the PyTorch port: "encoder.conv_in.weight", convolutions [out, in, h, w], linear layers [out, in].
  taming the public VQGAN checkpoints: as torch, with "encoder.down.0.block.0" and the decoder's levels counted from
         the highest resolution; arrays under "loss." (the discriminator) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.vq_tokenizer import CODEBOOK, VQTokenizer

Arrays = dict[str, np.ndarray]
T = TypeVar("T", bound=VQTokenizer)
LAYOUTS = ("t5x", "torch", "taming")
# Modules of the audio tokenizer that have another name in the T5X checkpoints.
T5X_MODULES = (
    (r"\btransformer\b", "Transformer_0"),
    (r"\bln_1\b", "LayerNormWithBias_0"),
    (r"\bln_2\b", "LayerNormWithBias_1"),
    (r"\battn\b(?=\.(query|key|value|out)\.)", "MultiHeadDotProductAttention_0"),
    (r"\bmlp\.fc1\b", "MlpBlock_0.DenseGeneral_0"),
    (r"\bmlp\.fc2\b", "MlpBlock_0.DenseGeneral_1"),
    (r"\bconv_transpose\b", "ConvTranspose_0"),
)
FLIPPED = "conv_transpose"  # the transposed convolution, whose kernel lies the other way round in PyTorch


def _to_t5x_name(name: str) -> str:
    if name == CODEBOOK:
        return "quantize/embedding"
    for ours, theirs in T5X_MODULES:
        name = re.sub(ours, theirs, name)
    return name.replace(".", "/")


def _to_torch(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if name == CODEBOOK:
        return "quantize.embedding.weight", array
    module, _, leaf = name.rpartition(".")
    if leaf == "kernel" and FLIPPED in module:
        return f"{module}.weight", array[::-1, ::-1].transpose(2, 3, 0, 1)
    if leaf == "kernel":
        return f"{module}.weight", array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
    return (f"{module}.weight" if leaf == "scale" else name), array


def _to_taming_name(name: str, levels: int) -> str:
    name = re.sub(r"\bmid_", "mid.", name)
    match = re.match(r"(encoder\.down|decoder\.up)_(\d+)_(block_\d+|attn_\d+|downsample|upsample)(.*)", name)
    if not match:
        return name
    side, level, part, rest = match.groups()
    level = levels - 1 - int(level) if side == "decoder.up" else int(level)
    return f"{side}.{level}.{part.replace('_', '.')}{rest}"


def _from_torch_array(name: str, ours: str, array: np.ndarray) -> np.ndarray:
    """Inverse of `_to_torch` for the array that is called `ours` here."""
    if not ours.endswith(".kernel"):
        return array
    if FLIPPED in ours and array.ndim == 4:
        return array.transpose(2, 3, 0, 1)[::-1, ::-1]
    if array.ndim not in (2, 4):
        raise MioError(f"the published array {name} has {array.ndim} axes; a weight has 2 or 4")
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


def _named(tokenizer_arrays: Mapping[str, Any], layout: str) -> Callable[[str], str]:
    """Our name -> the name in `layout`, for a tokenizer of these arrays."""
    if layout not in LAYOUTS:
        raise MioError(f"unknown layout {layout!r} of published weights; it must be one of {', '.join(LAYOUTS)}")
    levels = 1 + max((int(m[1]) for n in tokenizer_arrays if (m := re.match(r"decoder\.up_(\d+)_", n))), default=0)

    def name_of(name: str) -> str:
        if layout == "t5x":
            return _to_t5x_name(name)
        theirs = _to_torch(name, np.empty((1,) * np.ndim(tokenizer_arrays[name])))[0]
        return _to_taming_name(theirs, levels) if layout == "taming" else theirs

    return name_of


def export_arrays(arrays: Mapping[str, np.ndarray], layout: str, prefix: str = "") -> Arrays:
    """Arrays of a tokenizer file -> published names and layouts, `prefix` before each name.

    Raises:
      MioError: an unknown layout.
    """
    name_of = _named(arrays, layout)
    out = {}
    for name, array in arrays.items():
        value = np.asarray(array) if layout == "t5x" else _to_torch(name, np.asarray(array))[1]
        out[prefix + name_of(name)] = np.ascontiguousarray(value)
    return out


def import_arrays(
    published: Mapping[str, np.ndarray], expected: Mapping[str, Any], layout: str, prefix: str = ""
) -> Arrays:
    """Published arrays under `prefix` -> arrays of a tokenizer file.

    Args:
      expected: our names with anything that has a number of axes (see `array_shapes`).

    Raises:
      MioError: an unknown layout, or names that are missing or unexpected, which are listed.
    """
    name_of = _named(expected, layout)
    theirs = {name.removeprefix(prefix): array for name, array in published.items() if name.startswith(prefix)}
    if layout == "taming":
        theirs = {name: array for name, array in theirs.items() if not name.startswith("loss.")}
    wanted = {name_of(name): name for name in expected}
    for verb, names in (("lack", wanted.keys() - theirs.keys()), ("have unexpected", theirs.keys() - wanted.keys())):
        if names:
            shown = ", ".join(prefix + name for name in sorted(names)[:5])
            raise MioError(f"the published {layout} weights {verb} {len(names)} arrays: {shown}")
    out = {}
    for name, ours in wanted.items():
        array = np.asarray(theirs[name])
        out[ours] = np.ascontiguousarray(array if layout == "t5x" else _from_torch_array(name, ours, array))
    return out


def import_tokenizer(
    kind: type[T], settings: Any, published: Mapping[str, np.ndarray], layout: str, prefix: str = ""
) -> T:
    """A tokenizer of class `kind` around published weights. Raises MioError listing what does not fit `settings`."""
    return kind(settings, import_arrays(published, kind.array_shapes(settings), layout, prefix))
