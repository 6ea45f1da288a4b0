"""Names and layouts of SEED's published weights (specification section 7.7) beside ours, as a table of pieces.

A piece says which rows of a published array are which of our arrays, or one layer of a stack. Ours are named like
"trunk.visual_encoder.layers.attention.query"; the codebook is "codebook".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.vq_tokenizer import CODEBOOK

NORM = (("scale", "weight"), ("bias", "bias"))
LEADING_ONES = {"tokens": 3, "query_tokens": 3, "positions": 3}  # axes that the published table has


class Piece(NamedTuple):
    """`ours`, or its layer `layer`, is the published `theirs`, or its third number `third`."""

    ours: str
    theirs: str
    layer: int | None = None
    third: int | None = None

    @property
    def leaf(self) -> str:
        return self.ours.rpartition(".")[2]


Shape = tuple[int, ...]


def published_shape(piece: Piece, shape: Shape) -> Shape:
    """Of `piece.theirs`, where our array, or its one layer, has `shape`."""
    leaf = piece.leaf
    if piece.theirs.endswith("patch_embed.proj.weight"):
        side = math.isqrt(shape[0] // 3)
        return (shape[1], 3, side, side)
    if leaf in LEADING_ONES:
        return (1,) * (LEADING_ONES[leaf] - len(shape)) + shape
    if leaf in ("query", "key", "value"):
        shape = (math.prod(shape[1:]), shape[0])
    elif leaf == "out":
        shape = (shape[2], shape[0] * shape[1])
    elif leaf in ("kernel", "up", "down"):
        shape = shape[::-1]
    return shape if piece.third is None else (3 * shape[0], *shape[1:])


def to_published(piece: Piece, array: np.ndarray) -> np.ndarray:
    """Our array, or its one layer, in the published layout (of its third alone)."""
    leaf = piece.leaf
    if piece.theirs.endswith("patch_embed.proj.weight"):
        side = math.isqrt(array.shape[0] // 3)
        return array.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
    if leaf in LEADING_ONES:
        return array.reshape(published_shape(piece, array.shape))
    if leaf in ("query", "key", "value"):
        return array.reshape(array.shape[0], -1).T
    if leaf == "out":
        return array.reshape(-1, array.shape[2]).T
    return array.T if leaf in ("kernel", "up", "down") else array


def from_published(piece: Piece, array: np.ndarray, shape: Shape) -> np.ndarray:
    """Inverse of `to_published` for an array whose shape is right; `shape`: of ours, or its one layer."""
    if piece.third is not None:
        rows = len(array) // 3
        array = array[piece.third * rows : (piece.third + 1) * rows]
    if piece.theirs.endswith("patch_embed.proj.weight"):
        return array.transpose(2, 3, 1, 0).reshape(shape)
    if piece.leaf in ("query", "key", "value", "out", "kernel", "up", "down"):
        return array.T.reshape(shape)
    return array.reshape(shape)


def _norm(ours: str, theirs: str, layer: int | None = None) -> Iterator[Piece]:
    return (Piece(f"{ours}.{a}", f"{theirs}.{b}", layer) for a, b in NORM)


def _linear(ours: str, theirs: str, bias: bool = True) -> Iterator[Piece]:
    yield Piece(f"{ours}.kernel", f"{theirs}.weight")
    if bias:
        yield Piece(f"{ours}.bias", f"{theirs}.bias")


def _mlp(ours: str, up: str, down: str, layer: int | None = None) -> Iterator[Piece]:
    for name, theirs in (("up", up), ("down", down)):
        yield Piece(f"{ours}.{name}", f"{theirs}.weight", layer)
        yield Piece(f"{ours}.{name}_bias", f"{theirs}.bias", layer)


def _blocks(ours: str, theirs: str, depth: int, key_bias: bool) -> Iterator[Piece]:
    """Pre-norm layers whose three projections are one matrix."""
    for i in range(depth):
        block = f"{theirs}.{i}"
        yield from _norm(f"{ours}.attention_norm", f"{block}.norm1", i)
        yield from _norm(f"{ours}.mlp_norm", f"{block}.norm2", i)
        for third, name in enumerate(("query", "key", "value")):
            yield Piece(f"{ours}.attention.{name}", f"{block}.attn.qkv.weight", i, third)
            if key_bias:
                yield Piece(f"{ours}.attention.{name}_bias", f"{block}.attn.qkv.bias", i, third)
            elif name != "key":
                yield Piece(f"{ours}.attention.{name}_bias", f"{block}.attn.{name[0]}_bias", i)
        yield Piece(f"{ours}.attention.out", f"{block}.attn.proj.weight", i)
        yield Piece(f"{ours}.attention.out_bias", f"{block}.attn.proj.bias", i)
        yield from _mlp(f"{ours}.mlp", f"{block}.mlp.fc1", f"{block}.mlp.fc2", i)


def _qformer(ours: str, theirs: str, settings: SeedSettings) -> Iterator[Piece]:
    yield from _norm(f"{ours}.norm", f"{theirs}.embeddings.LayerNorm")
    for i in range(settings.layers):
        mine, layer = f"{ours}.layers.{i}", f"{theirs}.encoder.layer.{i}"
        parts = [("attention", "attention")] + ([] if i % settings.cross_freq else [("cross", "crossattention")])
        for part, name in parts:
            for projection in ("query", "key", "value"):
                yield Piece(f"{mine}.{part}.{projection}", f"{layer}.{name}.self.{projection}.weight")
                yield Piece(f"{mine}.{part}.{projection}_bias", f"{layer}.{name}.self.{projection}.bias")
            yield Piece(f"{mine}.{part}.out", f"{layer}.{name}.output.dense.weight")
            yield Piece(f"{mine}.{part}.out_bias", f"{layer}.{name}.output.dense.bias")
            yield from _norm(f"{mine}.{part}_norm", f"{layer}.{name}.output.LayerNorm")
        yield from _mlp(f"{mine}.mlp", f"{layer}.intermediate_query.dense", f"{layer}.output_query.dense")
        yield from _norm(f"{mine}.mlp_norm", f"{layer}.output_query.LayerNorm")


def trunk_pieces(settings: SeedSettings) -> Iterator[Piece]:
    """Vision tower, its norm, queries, causal Q-Former."""
    ours, theirs = "trunk.visual_encoder", "visual_encoder"
    yield Piece(f"{ours}.embedding", f"{theirs}.patch_embed.proj.weight")
    yield Piece(f"{ours}.bias", f"{theirs}.patch_embed.proj.bias")
    yield Piece(f"{ours}.tokens", f"{theirs}.cls_token")
    yield Piece(f"{ours}.positions", f"{theirs}.pos_embed")
    yield from _blocks(f"{ours}.layers", f"{theirs}.blocks", settings.vit_depth, key_bias=False)
    yield from _norm("trunk.ln_vision", "ln_vision")
    yield Piece("trunk.query_tokens", "query_tokens")
    yield from _qformer("trunk.qformer", "Qformer.bert", settings)


def pieces(settings: SeedSettings) -> Iterator[Piece]:
    """Of the whole tokenizer, with the head that the settings name."""
    yield from trunk_pieces(settings)
    yield Piece(CODEBOOK, "quantize.embedding.weight")
    for name in ("encode_task", "decode_task"):
        yield from _linear(f"{name}.first", f"{name}_layer.0")
        yield from _linear(f"{name}.second", f"{name}_layer.2")
    for name, table in (("blocks", "pos_embed"), ("blocks_image", "pos_embed_image")):
        yield Piece(f"{name}.positions", table)
        yield from _blocks(f"{name}.layers", name, settings.depth, key_bias=True)
    if settings.head == "mlp":
        for i in range(3):
            yield from _linear(f"head.down{i}", f"image_down.{2 * i}", bias=False)
    else:
        yield Piece("head.tokens", "reverse_tokens")
        yield from _qformer("head.qformer", "Reverse_Qformer.bert", settings)
    yield from _linear("head.project", "distill_image_proj")
