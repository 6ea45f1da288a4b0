"""Sizes of the published models, counted without building them, and what a config may change."""

from __future__ import annotations

import dataclasses
import math

import jax
import pytest

from mio_jax.config import ModelConfig
from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.errors import MioError
from mio_jax.nn.base import split_model, to_pure_dict
from mio_jax.recipes.unified_io2.model import UnifiedIO2, resolve_model
from mio_jax.recipes.unified_io2.names import leaves_of
from mio_jax.recipes.unified_io2.presets import PRESETS, preset
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

VIT, AST = 78_710_016, 78_560_256
TOKENIZERS = 67_717_295 + 50_768_416  # of pictures and of sound, which the published totals include
PUBLISHED = {  # total, encoder, decoder, resampler of pictures; tensors of the state dict
    "unified_io2_l": (1_080_595_919, 308_334_592, 409_025_536, 11_039_488, 1625),
    "unified_io2_xl": (3_175_415_247, 1_157_734_400, 1_560_442_880, 25_204_992, 1625),
    "unified_io2_xxl": (6_864_176_143, 2_718_065_664, 3_624_115_200, 25_204_768, 1621),
}
TOKENIZER_TENSORS = {"image": 185, "audio": 59}  # of the fixtures' tokenizers, which have fewer layers


def space(text: int, **media: int) -> TokenSpace:
    blocks, at = [], 0
    for name, size in {"text": text, **media}.items():
        blocks.append(Block(name, name, at, size))
        at += size
    return TokenSpace("test", tuple(blocks), (), (), bos=0, eos=1, pad=0)


def counts(spec: UnifiedIO2Spec) -> dict[str, int]:
    """Parameters by the first part of their path."""
    shapes = to_pure_dict(split_model(lambda key: UnifiedIO2(spec, key))[1])
    return {name: sum(math.prod(x.shape) for x in jax.tree.leaves(part)) for name, part in shapes.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    total, encoder, decoder, resampler, _ = PUBLISHED[name]
    spec = preset(name)
    made = counts(spec)
    assert (made["image_features"], made["audio_features"]) == (VIT, AST)
    assert (made["encoder"], made["decoder"]) == (encoder, decoder)
    size = spec.image_history
    around = 768 * size.dim + size.dim * spec.dim + spec.dim  # the two projections and the modality vector
    assert made["input_image_history"] - around == resampler
    assert sum(made.values()) + TOKENIZERS == total


def test_published_tensors_differ_by_the_norms_of_the_resampler() -> None:
    """Scaled cosine has one scale for two norms, in each of two layers of two resamplers."""
    tensors = {name: sum(len(leaf.keys) for leaf in leaves_of(preset(name))) for name in PUBLISHED}
    assert tensors["unified_io2_l"] == tensors["unified_io2_xl"] == tensors["unified_io2_xxl"] + 4
    apart = {PUBLISHED[name][4] - count for name, count in tensors.items()}
    assert len(apart) == 1, "what is left are the tokenizers', which all sizes share"


@pytest.mark.parametrize("name", PRESETS)
def test_every_array_has_one_row_in_the_key_map(name: str) -> None:
    spec = preset(name)
    shapes = to_pure_dict(split_model(lambda key: UnifiedIO2(spec, key))[1])
    ours = {"/".join(k.key for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)}
    rows = ["/".join(leaf.entry.path) for leaf in leaves_of(spec)]
    assert len(set(rows)) == len(rows)
    assert set(rows) == ours


def test_a_modality_that_is_switched_off_is_not_built() -> None:
    spec = dataclasses.replace(preset("unified_io2_tiny"), input_modalities=("text",), target_modalities=("text",))
    assert set(counts(spec)) == {"text_table", "input_text", "target_text", "encoder", "decoder"}
    spec = dataclasses.replace(spec, input_modalities=("audio_history",), target_modalities=("image",))
    assert set(counts(spec)) == {
        *("image_table", "audio_features", "input_audio_history", "target_image", "encoder", "decoder"),
    }


def test_settings_of_a_config() -> None:
    config = ModelConfig(
        preset="unified_io2_l",
        depth=2,
        dtype="bfloat16",
        remat="full",
        input_modalities=("text", "image"),
        trained_encoders=("image",),
        variants=("sparse_patterns", "erf_resampler"),
    )
    spec = resolve_model(config, space(33225, image=16384))
    assert (spec.text_vocab, spec.image_vocab, spec.audio_vocab) == (33280, 16512, 8320)
    assert (spec.encoder_depth, spec.decoder_depth, spec.dtype) == (2, 2, "bfloat16")
    assert (spec.sparse_patterns, spec.dynamic_mask, spec.image_history.mlp) == (True, False, "gelu")
    assert (spec.trained_encoders, spec.image_vit.remat, spec.image_vit.mlp) == (("image",), "full", "gelu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"preset": "unified_io2_xs"},
            r"model.preset is 'unified_io2_xs'; there are: .*; did you mean 'unified_io2_xl'",
        ),
        ({"kv_heads": 4}, "model.kv_heads is set, and a Unified-IO 2 model has no such setting"),
        ({"variants": ("dense",)}, "model.variants has 'dense'; there are: sparse_patterns, dynamic_mask"),
        ({"input_modalities": ("video",)}, "model.input_modalities, or a part of it, is 'video'; it must be one of"),
        (
            {"input_modalities": ("text",), "trained_encoders": ("image",)},
            "model.trained_encoders names image, not among model.input_modalities",
        ),
        ({"head_dim": 6}, "model.head_dim is 6; two-dimensional rotary embedding needs a multiple of 4"),
    ],
)
def test_impossible_settings(settings: dict, message: str) -> None:
    with pytest.raises(MioError, match=message):
        resolve_model(ModelConfig(**{"preset": "unified_io2_tiny", **settings}), space(200))
