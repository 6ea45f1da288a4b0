"""Names of Unified-IO 2's published weights: the PyTorch port's and T5X's, for each of our arrays.

The port's names are the table; T5X's follow from them by rules. The port keeps a linear layer as (out, in), T5X as
(in, out); both keep heads flat, and neither stacks layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mio_jax.nn.base import LAYERS, split_model, to_pure_dict
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.spec import INPUTS, TARGETS, UnifiedIO2Spec

TOKENIZERS = re.compile(r"target_(?:embedders\.|encoders_)(image|audio)[./](?:vqgan|discrete_vae)[./]")
VIT = "input_embedders.{}.image_encoder.vision_transformer."


class Entry(NamedTuple):
    """One row of the key map. `{}` in the key is the number of the layer, where the path goes through a stack."""

    key: str
    path: tuple[str, ...]
    inputs: int = 0  # leading axes of our array (of one layer) that are a linear layer's input; 0: not a linear layer
    parts: tuple[str, ...] = ()  # instead of `key`: tensors that are rows of our array


def _attention(key: str, path: tuple[str, ...], qk: str) -> Iterator[Entry]:
    for name in ("query", "key", "value"):
        yield Entry(f"{key}.{name}.weight", (*path, name), 1)
    yield Entry(f"{key}.out.weight", (*path, "out"), 2)
    if qk == "rms":
        yield Entry(f"{key}.query_norm.scale", (*path, "query_norm", "scale"))
        yield Entry(f"{key}.key_norm.scale", (*path, "key_norm", "scale"))
    if qk == "cosine":
        yield Entry(f"{key}.logit_scale", (*path, "logit_scale"))


def _trunk(side: str) -> Iterator[Entry]:
    key, path = f"{side}.layers_{{}}", (side, LAYERS)
    first, second = ("attention", "attention") if side == "encoder" else ("self_attention", "self_attention")
    yield Entry(f"{key}.pre_{first}_norm.scale", (*path, "attention_norm", "scale"))
    yield from _attention(f"{key}.{second}", (*path, "attention"), "rms")
    if side == "decoder":
        yield Entry(f"{key}.pre_cross_attention_norm.scale", (*path, "cross_norm", "scale"))
        yield from _attention(f"{key}.encoder_decoder_attention", (*path, "cross"), "rms")
    yield Entry(f"{key}.pre_mlp_norm.scale", (*path, "mlp_norm", "scale"))
    for theirs, ours in (("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")):
        yield Entry(f"{key}.mlp.{theirs}.weight", (*path, "mlp", ours), 1)
    yield Entry(f"{side}.{side}_norm.scale", (side, "final_norm", "scale"))


def _vit(spec: UnifiedIO2Spec, medium: str) -> Iterator[Entry]:
    key = VIT.format(medium)
    path: tuple[str, ...] = (f"{medium}_features", "vit")
    yield Entry(f"{key}embedding.weight", (*path, "embedding"), 1)
    if spec.vit(medium).patch_bias:
        yield Entry(f"{key}embedding.bias", (*path, "bias"))
    own = ("class_embedding",) if medium == "image" else ("cls_token", "dist_token")
    yield Entry("", (*path, "tokens"), parts=tuple(key + name for name in own))
    yield Entry(f"{key}positional_embedding", (*path, "positions"))
    if spec.vit(medium).pre_norm:
        yield Entry(f"{key}pre_ln.weight", (*path, "pre_norm", "scale"))
        yield Entry(f"{key}pre_ln.bias", (*path, "pre_norm", "bias"))
    key, path = f"{key}transformer.resblocks.{{}}.", (*path, LAYERS)
    for theirs, ours in (("ln_1", "attention_norm"), ("ln_2", "mlp_norm")):
        yield Entry(f"{key}{theirs}.weight", (*path, ours, "scale"))
        yield Entry(f"{key}{theirs}.bias", (*path, ours, "bias"))
    for name in ("query", "key", "value"):
        yield Entry(f"{key}attn.{name}_in_proj_weight", (*path, "attention", name), 1)
        yield Entry(f"{key}attn.{name}_in_proj_bias", (*path, "attention", f"{name}_bias"))
    yield Entry(f"{key}attn.out_proj.weight", (*path, "attention", "out"), 2)
    yield Entry(f"{key}attn.out_proj.bias", (*path, "attention", "out_bias"))
    for theirs, ours in (("fc1", "up"), ("fc2", "down")):
        yield Entry(f"{key}mlp.{theirs}.weight", (*path, "mlp", ours), 1)
        yield Entry(f"{key}mlp.{theirs}.bias", (*path, "mlp", f"{ours}_bias"))


def resampler_entries(key: str, path: tuple[str, ...], qk: str) -> Iterator[Entry]:
    """The rows of a `mio_jax.nn.resampler.Resampler`, its names beginning with `key`."""
    yield Entry(f"{key}latents", (*path, "latents"))
    yield Entry(f"{key}context_norm.scale", (*path, "context_norm", "scale"))
    yield Entry(f"{key}perceiver_norm.scale", (*path, "final_norm", "scale"))
    key, path = f"{key}layers_{{}}.", (*path, LAYERS)
    yield Entry(f"{key}pre_xattention_norm.scale", (*path, "cross_norm", "scale"))
    yield from _attention(f"{key}xattention", (*path, "cross"), qk)
    yield Entry(f"{key}pre_mlp_norm.scale", (*path, "mlp_norm", "scale"))
    yield Entry(f"{key}mlp.wi.weight", (*path, "mlp", "up"), 1)
    yield Entry(f"{key}mlp.wo.weight", (*path, "mlp", "down"), 1)


def entries(spec: UnifiedIO2Spec) -> Iterator[Entry]:
    """The key map of what this model has built."""
    for name in TARGETS:
        if spec.has_table(name):
            yield Entry(f"{name}_token_embedder.weight", (f"{name}_table",))
    for name in INPUTS:
        if not spec.has("inputs", name):
            continue
        key, path = f"input_embedders.{name}.", (f"input_{name}",)
        yield Entry(f"{key}modality_embedding", (*path, "modality_embedding"))
        if name in ("image", "audio"):
            yield Entry(f"{key}projection.weight", (*path, "projection"), 1)
        elif name != "text":
            yield Entry(f"{key}pre_projection.weight", (*path, "pre_projection"), 1)
            qk = spec.resampler(name).qk
            yield from resampler_entries(f"{key}resampler.perceiver.", (*path, "resampler"), qk)
            yield Entry(f"{key}post_projection.weight", (*path, "post_projection"), 1)
    for medium in ("image", "audio"):
        if spec.encodes(medium):
            yield from _vit(spec, medium)
    for name in TARGETS:
        if spec.has("targets", name):
            yield Entry(f"target_embedders.{name}.modality_embedding", (f"target_{name}", "modality_embedding"))
    yield from _trunk("encoder")
    yield from _trunk("decoder")


class Leaf(NamedTuple):
    """One of our arrays, with the port's tensors that it is made of: one a layer, or a row, where there are several."""

    entry: Entry
    keys: tuple[str, ...]
    shape: tuple[int, ...]  # of what one tensor becomes
    stacked: bool  # the tensors are stacked along a first axis
    is_table: bool  # its rows are ids of a vocabulary, and may have been padded for a mesh

    @property
    def whole_shape(self) -> tuple[int, ...]:
        return ((len(self.keys),) if self.stacked else ()) + self.shape

    def published_shape(self, t5x: bool) -> tuple[int, ...]:
        n = self.entry.inputs
        if not n:
            return self.shape
        matrix = int(np.prod(self.shape[:n])), int(np.prod(self.shape[n:]))
        return matrix if t5x else matrix[::-1]

    def to_ours(self, x: np.ndarray, t5x: bool) -> np.ndarray:
        return (x.T if self.entry.inputs and not t5x else x).reshape(self.shape)

    def to_published(self, x: np.ndarray, t5x: bool) -> np.ndarray:
        y = x.reshape(self.published_shape(True))
        return y.T if self.entry.inputs and not t5x else y


def leaves_of(spec: UnifiedIO2Spec) -> list[Leaf]:
    """The key map with this model's shapes. Every array of the model has one row."""
    _, abstract = split_model(lambda key: UnifiedIO2(spec, key))
    return make_leaves(entries(spec), to_pure_dict(abstract))


def make_leaves(rows: Iterator[Entry], shapes: Any) -> list[Leaf]:
    """Rows of a key map with the shapes of a nested dict of arrays."""
    leaves = []
    for entry in rows:
        shape = get(shapes, entry.path).shape
        stacked = LAYERS in entry.path
        keys = entry.parts or (tuple(entry.key.format(i) for i in range(shape[0])) if stacked else (entry.key,))
        stacked = stacked or bool(entry.parts)
        table = entry.path[-1].endswith("_table")
        leaves.append(Leaf(entry, keys, shape[1:] if stacked else shape, stacked, table))
    return leaves


def get(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


# From a PyTorch name to T5X's, in this order; the first that fits of each group holds. Dots become slashes at the end.
T5X_RULES: tuple[tuple[str, str], ...] = (
    (r"^(text|image|audio)_token_embedder\.weight$", r"\1_token_embedder.embedding"),
    (r"^input_embedders\.(text|image|audio)\.", r"input_\1_encoder."),
    (r"^input_embedders\.(image|audio)_history\.", r"input_encoders_\1_history."),
    (r"^target_embedders\.", r"target_encoders_"),
    (r"\.resampler\.perceiver\.latents$", r".resampler.PerceiverResampler_0.resampler_latents"),
    (r"\.resampler\.perceiver\.", r".resampler.PerceiverResampler_0."),
    (r"\.pre_(attention|self_attention|cross_attention|xattention|mlp)_norm\.", r".pre_\1_layer_norm."),
    (r"^(input_audio_encoder\..*)\.positional_embedding$", r"\1.pos_embed"),
    (r"^(input_audio_encoder\..*\.resblocks\.\d+)\.ln_(\d)\.", r"\1.norm\2."),
    (r"^(input_image_encoder\..*)\.mlp\.fc1\.", r"\1.mlp.c_fc."),
    (r"^(input_image_encoder\..*)\.mlp\.fc2\.", r"\1.mlp.c_proj."),
    (r"\.transformer\.resblocks\.(\d+)\.", r".Transformer_0.ResidualAttentionBlock_\1."),
    (r"(Block_\d+)\.mlp\.", r"\1.MLP_0."),
    (r"(Block_\d+)\.attn\.(query|key|value)_in_proj_", r"\1.MultiHeadDotProductAttention_0.\2."),
    (r"(Block_\d+)\.attn\.out_proj\.", r"\1.MultiHeadDotProductAttention_0.out."),
    (r"(ln|norm\d|ln_\d)\.weight$", r"\1.scale"),
    (r"\.weight$", r".kernel"),
)


def t5x_name(key: str) -> str:
    """`encoder.layers_0.attention.query.weight` -> `encoder/layers_0/attention/query/kernel`."""
    for pattern, replacement in T5X_RULES:
        key = re.sub(pattern, replacement, key)
    return key.replace(".", "/")
