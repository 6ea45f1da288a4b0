"""Presets and how a config resolves to a model."""

from __future__ import annotations

import math

import jax
import pytest

from mio_jax.config import ModelConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import split_model, to_pure_dict
from mio_jax.recipes.mio.model import build_model, spec_of
from mio_jax.recipes.mio.presets import PRESETS


def parameters(spec: object) -> int:
    _, abstract = split_model(lambda key: build_model(spec, key))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(to_pure_dict(abstract)))


def test_the_published_model_has_its_published_size() -> None:
    spec = spec_of(ModelConfig(preset="mio_7b"), 76294)
    layer = 2 * 4096 * 4096 + 2 * 4096 * 512 + 3 * 4096 * 11008 + 2 * 4096
    assert parameters(spec) == 2 * 76294 * 4096 + 32 * layer + 4096
    assert (spec.rope_theta, spec.norm_eps, spec.tie_embeddings) == (5e6, 1e-5, False)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("mio_1b", 1.0, 1.3), ("mio_0.5b", 0.4, 0.6), ("mio_0.1b", 0.1, 0.2)]
)
def test_presets_are_named_by_their_size(name: str, low: float, high: float) -> None:
    assert low < parameters(spec_of(ModelConfig(preset=name), 76294)) / 1e9 < high


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves(name: str) -> None:
    assert spec_of(ModelConfig(preset=name), 100).vocab_size == 100


def test_dots_may_be_written_as_underscores() -> None:
    assert spec_of(ModelConfig(preset="mio_0_5b"), 9) == spec_of(ModelConfig(preset="mio_0.5b"), 9)


def test_the_config_replaces_sizes_and_settings() -> None:
    config = ModelConfig(preset="mio_tiny", depth=3, rope_theta=7.0, dtype="bfloat16", remat="full", attention="xla")
    spec = spec_of(config, 50)
    assert (spec.depth, spec.rope_theta, spec.dtype, spec.remat, spec.attention) == (3, 7.0, "bfloat16", "full", "xla")
    assert spec.dim == PRESETS["mio_tiny"].dim
    assert hash(spec) == hash(spec_of(config, 50))


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(MioError, match=r"model.preset is 'mio_tinny'; there are: mio_7b, .* did you mean 'mio_tiny'\?"):
        spec_of(ModelConfig(preset="mio_tinny"), 9)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(MioError, match=r"model.heads is 5; it must be a multiple of model.kv_heads, 2"):
        spec_of(ModelConfig(preset="mio_tiny", heads=5), 9)
