"""MIO's published weights: Hugging Face LLaMA tensors <-> the parameters of `mio_jax.nn.transformer.Decoder`.

One table serves both directions. Torch keeps a linear layer as (out, in), we keep (in, out) with heads split off; the
query and key rows are already in the rotate-half order, so nothing is permuted.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import LAYERS, Params, axes_of, split_model, to_pure_dict
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.recipes.weights import Planned, check_shapes, open_weights, strip_rows, write_weights

TABLE = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
IGNORED = ("*.rotary_emb.inv_freq",)  # old exports carry this constant

Place = Callable[[tuple[str, ...], np.ndarray], Any]


class Entry(NamedTuple):
    """One row of the key map; `{}` in the key is the number of the layer."""

    key: str
    path: tuple[str, ...]
    inputs: int = 0  # leading axes of our array that are a linear layer's input; 0: not a linear layer


KEY_MAP = (
    Entry(TABLE, ("embed",)),
    Entry("model.layers.{}.input_layernorm.weight", (LAYERS, "attention_norm", "scale")),
    Entry("model.layers.{}.self_attn.q_proj.weight", (LAYERS, "attention", "query"), inputs=1),
    Entry("model.layers.{}.self_attn.k_proj.weight", (LAYERS, "attention", "key"), inputs=1),
    Entry("model.layers.{}.self_attn.v_proj.weight", (LAYERS, "attention", "value"), inputs=1),
    Entry("model.layers.{}.self_attn.o_proj.weight", (LAYERS, "attention", "out"), inputs=2),
    Entry("model.layers.{}.post_attention_layernorm.weight", (LAYERS, "mlp_norm", "scale")),
    Entry("model.layers.{}.mlp.gate_proj.weight", (LAYERS, "mlp", "gate"), inputs=1),
    Entry("model.layers.{}.mlp.up_proj.weight", (LAYERS, "mlp", "up"), inputs=1),
    Entry("model.layers.{}.mlp.down_proj.weight", (LAYERS, "mlp", "down"), inputs=1),
    Entry("model.norm.weight", ("final_norm", "scale")),
    Entry(HEAD, ("head",)),
)


class Leaf(NamedTuple):
    """One of our arrays, with the published tensors that it is made of (one a layer where it is stacked)."""

    entry: Entry
    keys: tuple[str, ...]
    shape: tuple[int, ...]  # of one layer, ours
    is_table: bool = False  # its rows are ids of the vocabulary, and may have been padded for a mesh

    @property
    def published_shape(self) -> tuple[int, ...]:
        if not self.entry.inputs:
            return self.shape
        ins, outs = self.shape[: self.entry.inputs], self.shape[self.entry.inputs :]
        return int(np.prod(outs)), int(np.prod(ins))

    def to_ours(self, x: np.ndarray) -> np.ndarray:
        return (x.T if self.entry.inputs else x).reshape(self.shape)

    def to_published(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.published_shape[::-1]).T if self.entry.inputs else x

    @property
    def stacked(self) -> bool:
        return self.entry.path[0] == LAYERS


def leaves_of(spec: DecoderSpec) -> list[Leaf]:
    """The key map with this model's shapes, in the order of the table."""
    _, abstract = split_model(lambda key: Decoder(spec, key))
    shapes, axes = to_pure_dict(abstract), axes_of(abstract)
    leaves = []
    for entry in KEY_MAP:
        if entry.key == HEAD and spec.tie_embeddings:
            continue
        shape = _get(shapes, entry.path).shape
        if entry.path[0] == LAYERS:
            leaves.append(Leaf(entry, tuple(entry.key.format(i) for i in range(spec.depth)), shape[1:]))
        else:
            leaves.append(Leaf(entry, (entry.key,), shape, _get(axes, entry.path)[0] == "vocab"))
    return leaves


def _get(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def read_spec(folder: str | os.PathLike[str], **changes: Any) -> DecoderSpec:
    """The sizes in a published `config.json` (its folder, or the file), with settings such as `dtype` in `changes`.

    Raises:
      MioError: no such file, a missing field, or a variant that this decoder is not (biases, scaled rotary embedding).
    """
    file = Path(folder)
    file = file / "config.json" if file.is_dir() else file
    try:
        config = json.loads(file.read_text())
    except OSError as e:
        raise MioError(f"cannot read the model's config {file}: {e.strerror}") from e
    except ValueError as e:
        raise MioError(f"{file} is not JSON") from e
    rope = config.get("rope_parameters") or {}  # newer exports keep theta and its scaling here
    scaling = config.get("rope_scaling") or {}
    kind = {**rope, **scaling}.get("rope_type", {**rope, **scaling}.get("type", "default"))
    if kind != "default":
        raise MioError(f"{file}: rotary scaling {kind!r} is not supported; this decoder has plain rotary embedding")
    for name, wanted in (("attention_bias", False), ("mlp_bias", False), ("hidden_act", "silu")):
        if config.get(name, wanted) != wanted:
            raise MioError(f"{file}: {name} is {config[name]!r}; this decoder has {wanted!r}")
    try:
        heads = config["num_attention_heads"]
        fields = {
            "vocab_size": config["vocab_size"],
            "dim": config["hidden_size"],
            "depth": config["num_hidden_layers"],
            "heads": heads,
            "kv_heads": config.get("num_key_value_heads") or heads,
            "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
            "mlp_dim": config["intermediate_size"],
            "rope_theta": float(rope["rope_theta"] if "rope_theta" in rope else config.get("rope_theta", 10_000.0)),
            "norm_eps": config["rms_norm_eps"],
            "tie_embeddings": config.get("tie_word_embeddings", False),
        }
    except KeyError as e:
        raise MioError(f"{file} is not the config of a LLaMA model: it has no {e.args[0]!r}") from e
    return DecoderSpec(**{**fields, **changes})


def import_params(
    path: str | os.PathLike[str], spec: DecoderSpec, place: Place | None = None, *, ignore: Sequence[str] = ()
) -> Params:
    """Published weights -> nested dict of float32 arrays.

    Args:
      path: a safetensors file, or a folder with `model.safetensors` or shards and their index.
      spec: the model that they are for; see `read_spec`.
      place: takes each finished array with its path and returns what to keep, for example the array on its devices.
        The host then holds one array at a time (all layers of one weight).
      ignore: globs of names in the file that this model does not have.

    Raises:
      MioError: a missing, unexpected or misshapen tensor (all listed), or a file that is cut off.
    """
    leaves = leaves_of(spec)
    wanted = {key: leaf.published_shape for leaf in leaves for key in leaf.keys}
    found = {
        k: t
        for k, t in open_weights(path).items()
        if k in wanted or not any(fnmatch.fnmatchcase(k, glob) for glob in (*IGNORED, *ignore))
    }
    if spec.tie_embeddings and HEAD in found and TABLE in found and found[HEAD].shape == found[TABLE].shape:
        if not np.array_equal(found[HEAD].read(), found[TABLE].read()):
            raise MioError(f"{path}: {HEAD} differs from {TABLE}, but the config ties them (tie_word_embeddings)")
        del found[HEAD]
    check_shapes({k: t.shape for k, t in found.items()}, wanted, str(path))
    params: Params = {}
    for leaf in leaves:
        lead = (len(leaf.keys),) if leaf.stacked else ()
        value = np.empty(lead + leaf.shape, np.float32)
        for i, key in enumerate(leaf.keys):
            value[i if leaf.stacked else ...] = leaf.to_ours(found[key].read())
        _set(params, leaf.entry.path, place(leaf.entry.path, value) if place else value)
    return params


def export_config(spec: DecoderSpec) -> dict[str, Any]:
    """The published form of the sizes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.dim,
        "intermediate_size": spec.mlp_dim,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": spec.norm_eps,
        "rope_theta": spec.rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": spec.tie_embeddings,
        "torch_dtype": "float32",
    }


def export_params(
    params: Params, spec: DecoderSpec, folder: str | os.PathLike[str], *, max_shard_bytes: int = 4 << 30
) -> list[Path]:
    """Writes `config.json` and float32 weights that `LlamaForCausalLM` loads; -> the weight files.

    Tables that are padded for a mesh (`mio_jax.train.state.Plan`) are written without the padding.

    Raises:
      MioError: the parameters are not those of a model with this spec (all differences listed).
    """
    folder = Path(folder)
    leaves = leaves_of(spec)
    found = {"/".join(k.key for k in path): tuple(x.shape) for path, x in jax.tree_util.tree_leaves_with_path(params)}
    tables = {"/".join(leaf.entry.path): leaf.shape[0] for leaf in leaves if leaf.is_table}
    for name, rows in tables.items():
        if name in found and found[name][0] > rows:
            found[name] = (rows, *found[name][1:])  # `strip_rows` sees to it that what is left out is padding
    wanted = {"/".join(leaf.entry.path): ((spec.depth, *leaf.shape) if leaf.stacked else leaf.shape) for leaf in leaves}
    check_shapes(found, wanted, "the given parameters")

    def tensors() -> Iterator[np.ndarray]:
        for leaf in leaves:
            value = np.asarray(_get(params, leaf.entry.path), np.float32)
            if leaf.is_table:
                value = strip_rows("/".join(leaf.entry.path), value, leaf.shape[0])
            for layer in value if leaf.stacked else value[None]:
                yield leaf.to_published(layer)

    plan = [Planned(key, leaf.published_shape, np.dtype(np.float32)) for leaf in leaves for key in leaf.keys]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(export_config(spec), indent=1))
    return write_weights(folder, plan, tensors(), max_shard_bytes)


import_weights = import_params  # the name that every recipe has for what a run starts from


def export_weights(params: Params, spec: DecoderSpec, folder: str | os.PathLike[str], *, names: str = "") -> list[Path]:
    """`export_params` for `mio weights export`. Raises MioError for other names than Hugging Face's."""
    if names not in ("", "pytorch"):
        raise MioError(f"MIO's weights have one kind of names, those of LlamaForCausalLM (pytorch), not {names!r}")
    return export_params(params, spec, folder)
