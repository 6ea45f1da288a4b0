"""Unified-IO 2's published weights <-> the parameters of `UnifiedIO2`, under the names of PyTorch or of T5X.

Which names a file has is seen from them. The tokenizers' weights lie among the model's; they are handed back apart,
under the names that they have in the file.
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Params
from mio_jax.nn.resampler import ResamplerSpec
from mio_jax.nn.vit import ViTSpec
from mio_jax.recipes.unified_io2.names import TOKENIZERS, Leaf, get, leaves_of, put, t5x_name
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec
from mio_jax.recipes.weights import Planned, Stored, check_shapes, open_weights, strip_rows, write_weights
from mio_jax.recipes.weights_t5x import is_t5x, open_t5x

NAMES = ("pytorch", "t5x")
AST_ROWS = 514  # of AST's position table, which published configs do not say

Place = Callable[[tuple[str, ...], np.ndarray], Any]


class Imported(NamedTuple):
    """What a file of weights holds.

    Attributes:
      params: nested dict of arrays, float32 (or what `place` made of them).
      tokenizers: of "image" and "audio", the tensors of its tokenizer by the names that they have behind the model's
        prefix, unread.
    """

    params: Params
    tokenizers: dict[str, dict[str, Stored]]


def import_params(
    path: str | os.PathLike[str], spec: UnifiedIO2Spec, place: Place | None = None, *, ignore: Sequence[str] = ()
) -> Imported:
    """Published weights of a model like `spec`; see `read_spec`.

    Args:
      path: a safetensors file, a folder of them with their index, an npz file, or a T5X checkpoint's folder.
      place: takes each finished array with its path and returns what to keep, for example the array on its devices.
        The host then holds one array at a time (all layers of one weight).
      ignore: globs of names in the file that this model does not have, such as those of modalities left unbuilt.

    Raises:
      MioError: a missing, unexpected or misshapen tensor (all listed), or a file that is cut off.
    """
    path = Path(path)
    found, tokenizers = split_tokenizers(open_t5x(path) if is_t5x(path) else open_weights(path))
    t5x = any("/" in key for key in found)
    leaves = leaves_of(spec)
    wanted = {_named(key, t5x): leaf.published_shape(t5x) for leaf in leaves for key in leaf.keys}
    kept = {k: t for k, t in found.items() if k in wanted or not any(fnmatch.fnmatchcase(k, glob) for glob in ignore)}
    check_shapes({k: t.shape for k, t in kept.items()}, wanted, str(path))
    params: Params = {}
    for leaf in leaves:
        value = np.empty(leaf.whole_shape, np.float32)
        for i, key in enumerate(leaf.keys):
            value[i if leaf.stacked else ...] = leaf.to_ours(kept[_named(key, t5x)].read(), t5x)
        put(params, leaf.entry.path, place(leaf.entry.path, value) if place else value)
    return Imported(params, tokenizers)


def split_tokenizers(found: Mapping[str, Stored]) -> tuple[dict[str, Stored], dict[str, dict[str, Stored]]]:
    """(the model's tensors, those of each tokenizer by the rest of their names)."""
    own: dict[str, Stored] = {}
    apart: dict[str, dict[str, Stored]] = {"image": {}, "audio": {}}
    for key, tensor in found.items():
        match = TOKENIZERS.match(key)
        if match is None:
            own[key] = tensor
        else:
            apart[match[1]][key[match.end() :]] = tensor
    return own, {medium: tensors for medium, tensors in apart.items() if tensors}


def _named(key: str, t5x: bool) -> str:
    return t5x_name(key) if t5x else key


def published_tensors(params: Params, spec: UnifiedIO2Spec, names: str = "pytorch") -> Iterator[tuple[Planned, Any]]:
    """Name, shape and float32 values of every published tensor; values are a function, called when they are needed.

    Raises:
      MioError: the parameters are not those of a model with this spec (all differences listed).
    """
    if names not in NAMES:
        raise MioError(f"weights are written under the names of {' or '.join(NAMES)}, not {names!r}")
    t5x = names == "t5x"
    leaves = leaves_of(spec)
    _check_params(params, leaves)

    def values(leaf: Leaf, i: int) -> np.ndarray:
        value = np.asarray(get(params, leaf.entry.path), np.float32)
        if leaf.is_table:
            value = strip_rows("/".join(leaf.entry.path), value, leaf.shape[0])
        return leaf.to_published(value[i] if leaf.stacked else value, t5x)

    for leaf in leaves:
        for i, key in enumerate(leaf.keys):
            plan = Planned(_named(key, t5x), leaf.published_shape(t5x), np.dtype(np.float32))
            yield plan, lambda leaf=leaf, i=i: values(leaf, i)


def _check_params(params: Params, leaves: list[Leaf]) -> None:
    found = {"/".join(k.key for k in path): tuple(x.shape) for path, x in jax.tree_util.tree_leaves_with_path(params)}
    for leaf in leaves:
        name = "/".join(leaf.entry.path)
        if leaf.is_table and name in found and found[name][0] > leaf.shape[0]:
            found[name] = (leaf.shape[0], *found[name][1:])  # `strip_rows` sees to it that the rest is padding
    wanted = {"/".join(leaf.entry.path): leaf.whole_shape for leaf in leaves}
    check_shapes(found, wanted, "the given parameters")


def export_params(
    params: Params,
    spec: UnifiedIO2Spec,
    folder: str | os.PathLike[str],
    *,
    names: str = "pytorch",
    tokenizers: Mapping[str, Mapping[str, Any]] | None = None,
    max_shard_bytes: int = 4 << 30,
) -> list[Path]:
    """Writes the model under published names -> the files: safetensors for "pytorch", `t5x_params.npz` for "t5x".

    Args:
      tokenizers: of "image" and "audio", tensors to lay beside the model's, as `import_params` gave them (arrays will
        do); their names are written as they are.

    Raises:
      MioError: the parameters are not those of a model with this spec (all differences listed).
    """
    folder = Path(folder)
    made = list(published_tensors(params, spec, names))
    prefix = "target_encoders_{}/discrete_vae/" if names == "t5x" else "target_embedders.{}.vqgan."
    for medium, tensors in (tokenizers or {}).items():
        for name, tensor in tensors.items():
            array = tensor.read() if hasattr(tensor, "read") else np.asarray(tensor)
            made.append(
                (Planned(prefix.format(medium) + name, array.shape, np.dtype(np.float32)), lambda array=array: array)
            )
    folder.mkdir(parents=True, exist_ok=True)
    if names == "t5x":
        file = folder / "t5x_params.npz"
        arrays: dict[str, Any] = {plan.name: np.asarray(values(), np.float32) for plan, values in made}
        np.savez(file, **arrays)
        return [file]
    return write_weights(folder, [plan for plan, _ in made], (values() for _, values in made), max_shard_bytes)


def import_weights(
    path: str | os.PathLike[str], spec: UnifiedIO2Spec, place: Place | None = None, *, ignore: Sequence[str] = ()
) -> Params:
    """The model's part of `import_params`, for `mio weights import`."""
    return import_params(path, spec, place, ignore=ignore).params


def export_weights(
    params: Params, spec: UnifiedIO2Spec, folder: str | os.PathLike[str], *, names: str = ""
) -> list[Path]:
    """`export_params` of the model without its tokenizers, for `mio weights export`."""
    return export_params(params, spec, folder, names=names or NAMES[0])


def read_spec(path: str | os.PathLike[str], **changes: Any) -> UnifiedIO2Spec:
    """The sizes in a published `config.json` (its folder, or the file), with settings such as `dtype` in `changes`.

    Raises:
      MioError: no such file, a missing field, or a variant that this model is not.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    try:
        config = json.loads(file.read_text())
    except OSError as e:
        raise MioError(f"cannot read the model's config {file}: {e.strerror}") from e
    except ValueError as e:
        raise MioError(f"{file} is not JSON") from e
    return spec_from_config(config, str(file), **changes)


def spec_from_config(config: Mapping[str, Any], where: str, **changes: Any) -> UnifiedIO2Spec:
    """The sizes in a published configuration; `where` is for messages."""
    try:
        trunk = config["t5_config"]
        for name, wanted in (("qk_norm", True), ("decoder_xattention_internval", 1), ("logits_via_embedding", True)):
            if trunk.get(name, wanted) != wanted:
                raise MioError(f"{where}: t5_config.{name} is {trunk[name]!r}; this model has {wanted!r}")
        image, audio = config["image_vit_cfg"], config["audio_vit_cfg"]
        columns = math.isqrt(image["num_pos"] - 1)
        fields: dict[str, Any] = {
            "dim": trunk["emb_dim"],
            "heads": trunk["num_heads"],
            "head_dim": trunk["head_dim"],
            "mlp_dim": trunk["mlp_dim"],
            "encoder_depth": trunk["num_encoder_layers"],
            "decoder_depth": trunk["num_decoder_layers"],
            "text_vocab": trunk["vocab_size"],
            "image_vocab": trunk["image_vocab_size"],
            "audio_vocab": trunk["audio_vocab_size"],
            "image_vit": _vit(image, 3, image["num_pos"]),
            "audio_vit": _vit(
                audio, 1, AST_ROWS, extra=2, pre_norm=False, patch_bias=True, norm_eps=1e-6, mlp="gelu_tanh"
            ),
            "image_positions": (columns, columns),
            "image_grid": _grid(trunk["default_image_vit_size"], image["patch_size"]),
            "image_history_grid": _grid(trunk["default_image_history_vit_size"], image["patch_size"]),
            "audio_grid": _grid(trunk["default_audio_vit_size"], audio["patch_size"]),
            "target_image_grid": _grid(trunk["default_image_size"], config["image_vqgan"]["patch_size"]),
            "target_audio_grid": _grid(
                config["audio_vqgan"]["default_input_size"], config["audio_vqgan"]["patch_size"]
            )[::-1],
            "history_slots": config["image_history_cfg"]["max_frames"],
            "image_history": _resampler(config["image_history_cfg"], where),
            "audio_history": _resampler(config["audio_history_cfg"], where),
            "input_modalities": tuple(config["input_modalities"]),
            "target_modalities": tuple(config["target_modalities"]),
            "trained_encoders": () if config.get("freeze_vit", True) else ("image", "audio"),
        }
    except KeyError as e:
        raise MioError(f"{where} is not the config of a Unified-IO 2 model: it has no {e.args[0]!r}") from e
    return UnifiedIO2Spec(**{**fields, **changes})


def _grid(size: Sequence[int], patch: int | Sequence[int]) -> tuple[int, int]:
    high, wide = (patch, patch) if isinstance(patch, int) else patch
    return size[0] // high, size[1] // wide


def _vit(config: Mapping[str, Any], channels: int, positions: int, **other: Any) -> ViTSpec:
    return ViTSpec(
        patch_dim=channels * config["patch_size"] ** 2,
        dim=config["emb_dim"],
        heads=config["num_heads"],
        head_dim=config["head_dim"],
        mlp_dim=config["mlp_dim"],
        depth=config["num_layers"],
        positions=positions,
        **other,
    )


def _resampler(config: Mapping[str, Any], where: str) -> ResamplerSpec:
    wanted: dict[str, Any] = {"resampler_type": "perceiver", "clip_attn_logit": None, "droppath_rate": 0.0}
    wanted["xattention_index"] = list(range(config["num_layers"]))
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise MioError(f"{where}: the resampler's {name} is {config[name]!r}; this model has {value!r}")
    if config["xattn_qk_norm"] == config["xattn_scaled_cosine"]:
        raise MioError(f"{where}: a resampler has either xattn_qk_norm or xattn_scaled_cosine")
    return ResamplerSpec(
        latents=config["latents_size"],
        dim=config["emb_dim"],
        heads=config["num_heads"],
        head_dim=config["head_dim"],
        mlp_dim=config["mlp_dim"],
        depth=config["num_layers"],
        qk="cosine" if config["xattn_scaled_cosine"] else "rms",
    )
