"""Classifier-free guidance around any model, and decoding from a start token alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate.encoded import generate_encoded, score_encoded
from mio_jax.generate.guidance import Guided, guided_scores
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.transformer import Decoder, DecoderSpec

SPEC = DecoderSpec(vocab_size=11, dim=8, depth=1, heads=2, kv_heads=1, head_dim=4, mlp_dim=8, init_std=0.5)
GREEDY = SamplingConfig(greedy=True)


@pytest.fixture(scope="module")
def model() -> Decoder:
    return jax.jit(lambda key: Decoder(SPEC, key).for_decoding())(jax.random.key(0))


def test_scores_are_pushed_away_from_the_neutral_ones() -> None:
    conditional, neutral = jnp.asarray([2.0, 1.0, 0.0]), jnp.asarray([2.0, 0.0, 0.0])
    p, q = np.exp(conditional) / np.exp(conditional).sum(), np.exp(neutral) / np.exp(neutral).sum()
    np.testing.assert_allclose(guided_scores(conditional, neutral, 3.0), 4 * np.log(p) - 3 * np.log(q), rtol=1e-5)
    np.testing.assert_allclose(guided_scores(conditional, neutral, 0.0), np.log(p), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_same_condition_twice_changes_nothing(model: Decoder, rows: int) -> None:
    plain = generate_encoded(model, rows, GREEDY, max_new_tokens=4, start=3)
    guided = generate_encoded(Guided(model, 5.0), rows, GREEDY, max_new_tokens=4, start=3)
    assert np.array_equal(plain, guided)


def test_scores_add_up_the_steps(model: Decoder) -> None:
    answers = np.asarray([[[4, 5, 6], [7, 8, 0]]])
    valid = np.asarray([[[True, True, True], [True, True, False]]])
    fed = np.concatenate([np.full((1, 2, 1), 3), answers[..., :-1]], axis=-1)[0]
    places = np.broadcast_to(np.arange(3), fed.shape)
    logs = jax.nn.log_softmax(model.logits(model.extend(fed, places, valid[0], model.init_cache(2, 3))[0]))
    wanted = (np.take_along_axis(np.asarray(logs), answers[0][..., None], -1)[..., 0] * valid[0]).sum(-1)
    np.testing.assert_allclose(score_encoded(model, answers, valid, start=3), wanted[None], rtol=1e-5)


def test_what_cannot_be_done(model: Decoder) -> None:
    with pytest.raises(MioError, match="beam search and classifier-free guidance do not go together"):
        generate_encoded(Guided(model, 1.0), 1, SamplingConfig(num_beams=2), max_new_tokens=2)
    with pytest.raises(MioError, match="max_new_tokens is 0"):
        generate_encoded(model, 1, GREEDY, max_new_tokens=0)
    with pytest.raises(MioError, match="seeds must be 2 whole numbers"):
        generate_encoded(model, 2, GREEDY, max_new_tokens=2, seeds=[1])
