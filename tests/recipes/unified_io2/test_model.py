"""What no fixture says of the model: missing and masked modalities, the freeze switch, codes, and bad batches."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, init_params, split_model
from mio_jax.nn.resampler import ResamplerSpec
from mio_jax.nn.vit import ViTSpec
from mio_jax.recipes.unified_io2.loss import loss
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.presets import preset
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

ROWS, LENGTH, VOCAB = 2, 5, 20
VIT = ViTSpec(patch_dim=12, dim=8, heads=2, head_dim=4, mlp_dim=8, depth=3, positions=5)
SPEC = dataclasses.replace(
    preset("unified_io2_tiny"),
    dim=16,
    heads=2,
    head_dim=8,
    mlp_dim=16,
    encoder_depth=1,
    decoder_depth=1,
    text_vocab=VOCAB,
    image_vocab=16,
    image_vit=VIT,
    image_positions=(2, 2),
    image_grid=(2, 2),
    image_history_grid=(2, 2),
    target_image_grid=(3, 2),
    image_history=ResamplerSpec(2, 8, 2, 4, 8),
    input_modalities=("text", "image", "image_history"),
    target_modalities=("text", "image"),
)


def batch(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    places = np.broadcast_to(np.arange(LENGTH), (ROWS, LENGTH))
    said = rng.integers(2, VOCAB, (ROWS, LENGTH))
    ids = np.broadcast_to(np.arange(4), (ROWS, 4))
    made = {
        "inputs/text/tokens": rng.integers(2, VOCAB, (ROWS, LENGTH)),
        "inputs/text/mask": np.ones((ROWS, LENGTH), int),
        "inputs/text/pos_ids": places,
        "inputs/image/input": rng.normal(size=(ROWS, 4, 12)),
        "inputs/image/mask": np.ones((ROWS, 4), int),
        "inputs/image/pos_ids": ids,
        "inputs/image_history/input": rng.normal(size=(ROWS, 2, 4, 12)),
        "inputs/image_history/mask": np.ones((ROWS, 2, 4), int),
        "inputs/image_history/pos_ids": np.stack([ids, ids], axis=1),
        "targets/text/inputs": np.concatenate([np.zeros((ROWS, 1), int), said[:, :-1]], axis=1),
        "targets/text/targets": said,
        "targets/text/mask": np.ones((ROWS, LENGTH), int),
        "targets/text/pos_ids": places,
        "targets/text/segment_ids": np.ones((ROWS, LENGTH), int),
        "targets/image/codes": rng.integers(0, 14, (ROWS, 6)),
    }
    return {k: jnp.asarray(v, jnp.float32 if k.endswith("input") else jnp.int32) for k, v in made.items()}


@cache
def params() -> Params:
    return jax.jit(lambda key: init_params(lambda key: UnifiedIO2(SPEC, key), key))(jax.random.key(0))


def model(spec: UnifiedIO2Spec = SPEC, own: Params | None = None) -> UnifiedIO2:
    return apply(split_model(lambda key: UnifiedIO2(spec, key))[0], own or params())


hidden = jax.jit(lambda model, batch: model.hidden(batch)[0])


def without(found: dict[str, jax.Array], *names: str) -> dict[str, jax.Array]:
    return {k: v for k, v in found.items() if not k.startswith(names)}


def test_a_missing_modality_is_a_masked_one() -> None:
    whole = batch()
    masked = whole | {name: jnp.zeros_like(x) for name, x in whole.items() if name.startswith("inputs/image")}
    absent = without(whole, "inputs/image/", "inputs/image_history/")
    for name, states in hidden(model(), masked).items():
        np.testing.assert_allclose(states, hidden(model(), absent)[name], atol=1e-5)


def test_targets_do_not_see_each_other() -> None:
    whole = batch()
    both = hidden(model(), whole)
    for name, other in (("text", "targets/image"), ("image", "targets/text")):
        np.testing.assert_allclose(hidden(model(), without(whole, other))[name], both[name], atol=1e-5)


def test_a_frame_without_a_patch_is_not_there() -> None:
    whole = batch()
    gone = whole["inputs/image_history/mask"].at[:, 1].set(0)
    one = {f"inputs/image_history/{x}": whole[f"inputs/image_history/{x}"][:, :1] for x in ("input", "mask", "pos_ids")}
    masked = hidden(model(), whole | {"inputs/image_history/mask": gone})
    np.testing.assert_allclose(masked["text"], hidden(model(), whole | one)["text"], atol=1e-5)


def test_each_modality_has_the_same_weight_in_the_loss() -> None:
    run = jax.jit(lambda model, batch: loss(model, batch))
    whole = batch()
    total, sums = run(model(), whole)
    parts = {name: float(sums[f"loss/{name}"] / sums[f"weight/{name}"]) for name in ("text", "image")}
    assert float(total) == pytest.approx(sum(parts.values()), rel=1e-6)
    assert {name: float(sums[f"weight/{name}"]) for name in parts} == {"text": ROWS * LENGTH, "image": ROWS * 6}
    only_end = {"targets/text/targets": jnp.zeros((ROWS, LENGTH), jnp.int32).at[:, 0].set(1)}
    total, sums = run(model(), whole | only_end)
    assert float(sums["weight/text"]) == 0, "an empty text is no one's target"
    assert float(total) == pytest.approx(parts["image"], rel=1e-6)


def test_only_the_encoders_that_are_trained_get_a_gradient() -> None:
    whole = batch()

    def moved(trained: tuple[str, ...], found: dict[str, jax.Array]) -> bool:
        spec = dataclasses.replace(SPEC, trained_encoders=trained)
        gradient = jax.jit(jax.grad(lambda p: loss(model(spec, p), found)[0]))(params())
        assert np.abs(gradient["encoder"]["layers"]["attention"]["query"]).max() > 0
        return bool(np.abs(gradient["image_features"]["vit"]["embedding"]).max() > 0)

    pictures, frames = without(whole, "inputs/image_history"), without(whole, "inputs/image/")
    assert not moved((), whole)
    assert moved(("image",), pictures)
    assert not moved(("image",), frames)
    assert moved(("image_history",), frames)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"inputs/audio/input": 0}, "the batch has inputs of audio, and this model was built with text, image, image_h"),
    ({"targets/image/codes": jnp.zeros((ROWS, 7), jnp.int32)}, r"has 7 codes an example; this model says 6 \(a grid"),
    ({"targets/image/codes": None, "targets/image/image": 0}, "and no 'targets/image/codes': run the image tokenizer"),
    ({"inputs/text/mask": None}, "the batch has no 'inputs/text/mask'; beside it are inputs/text/pos_ids"),
    ({"inputs/image_history/mask": jnp.ones((ROWS, 9, 4))}, "has 9 items; this model has room for 8"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_batches_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    found = {k: v for k, v in (batch() | changes).items() if v is not None}
    with pytest.raises(MioError, match=message):
        jax.eval_shape(lambda: model().hidden(found))


def test_a_batch_without_targets() -> None:
    with pytest.raises(MioError, match="the batch has no targets; this model takes text, image"):
        jax.eval_shape(lambda: model().hidden(without(batch(), "targets")))
