"""Steering: forced ids, a preferred group, no early end; alone, with beams, with guidance, and in any batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate.encoded import generate_encoded
from mio_jax.generate.guidance import Guided
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.steering import FORBIDDEN, FREE, GROUP, Steering, steer
from mio_jax.nn.transformer import Decoder, DecoderSpec

SPEC = DecoderSpec(vocab_size=11, dim=8, depth=1, heads=2, kv_heads=1, head_dim=4, mlp_dim=8, init_std=0.5)
GREEDY = SamplingConfig(greedy=True)
NO_STOPS = jnp.asarray([-1])


@pytest.fixture(scope="module")
def model() -> Decoder:
    return jax.jit(lambda key: Decoder(SPEC, key).for_decoding())(jax.random.key(0))


def scores_of(probabilities: list[float]) -> jax.Array:
    return jnp.log(jnp.asarray([probabilities]))


@pytest.mark.parametrize(("threshold", "wanted"), [(0.5, 2), (0.61, 0), (2.0, 0)])
def test_a_likely_group_is_preferred(threshold: float, wanted: int) -> None:
    """Ids 1, 2 and 3 share 0.6 of the probability; none of them alone is as likely as id 0."""
    scores = scores_of([0.35, 0.2, 0.21, 0.19, 0.05])
    rules = Steering(groups=((1, 4),), threshold=threshold).arrays(1, 2, 5)
    out = np.asarray(steer(scores, rules, 0, NO_STOPS))[0]
    assert int(out.argmax()) == wanted
    kept = [1, 2, 3] if threshold == 0.5 else range(5)
    np.testing.assert_array_equal(out[list(kept)], np.asarray(scores)[0][list(kept)])
    assert (np.delete(out, list(kept)) == FORBIDDEN).all()


def test_no_end_before_its_time() -> None:
    scores = scores_of([0.1, 0.6, 0.3])
    rules = Steering(held=2).arrays(1, 4, 3)
    ends = [int(np.asarray(steer(scores, rules, step, jnp.asarray([1, -1]))).argmax()) == 1 for step in range(4)]
    assert ends == [False, False, True, True]


@pytest.mark.parametrize("sampling", [GREEDY, SamplingConfig(top_p=0.9), SamplingConfig(num_beams=3)])
def test_what_is_given_is_kept_and_the_rest_follows_it(model: Decoder, sampling: SamplingConfig) -> None:
    given = np.asarray([[7, FREE, 2, FREE, FREE], [FREE, GROUP, GROUP - 1, 5, FREE]])
    steering = Steering(groups=((8, 10), (0, 2)), forced=given)
    said = np.stack(generate_encoded(model, 2, sampling, max_new_tokens=6, start=3, steering=steering))
    kept = given >= 0
    assert np.array_equal(said[:, :5][kept], given[kept])
    assert np.isin(said[:, :5][given == GROUP], [8, 9]).all()
    assert np.isin(said[:, :5][given == GROUP - 1], [0, 1]).all()
    if sampling is GREEDY:  # every free place has the likeliest id after what stands before it
        fed = np.concatenate([np.full((2, 1), 3), said[:, :-1]], axis=1)
        places = np.broadcast_to(np.arange(6), fed.shape)
        hidden, _ = model.extend(fed, places, np.ones(fed.shape, bool), model.init_cache(2, 6))
        best = np.asarray(model.logits(hidden)).argmax(-1)
        free = np.concatenate([given == FREE, np.ones((2, 1), bool)], axis=1)
        assert np.array_equal(said[free], best[free])


def test_one_form_for_all_rows_and_beside_guidance(model: Decoder) -> None:
    forced = Steering(forced=[4, FREE, 6])
    for steered in (model, Guided(model, 2.0)):
        said = np.stack(generate_encoded(steered, 2, GREEDY, max_new_tokens=3, start=3, steering=forced))
        assert (said[:, [0, 2]] == [4, 6]).all()


def test_without_steering_nothing_changes(model: Decoder) -> None:
    plain = generate_encoded(model, 2, GREEDY, max_new_tokens=4, start=3)
    free = generate_encoded(model, 2, GREEDY, max_new_tokens=4, start=3, steering=Steering())
    assert np.array_equal(plain, free)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.5}, "needs 1 of them"),
        ({"forced": [GROUP]}, "needs 1 of them"),
        ({"groups": ((0, 2),), "forced": [GROUP - 1]}, "needs 2 of them"),
        ({"groups": ((3, 3),)}, r"ranges \(first, end\)"),
        ({"forced": [0.5]}, "must be whole numbers"),
    ],
)
def test_impossible_settings(settings: dict, message: str) -> None:
    with pytest.raises(MioError, match=message):
        Steering(**settings)


@pytest.mark.parametrize(
    ("steering", "message"),
    [
        (Steering(forced=[1, 2, 3]), "has 3 steps; the answer has room for 2"),
        (Steering(forced=[11]), "names id 11; there are 11 ids"),
        (Steering(groups=((5, 12),), threshold=0.1, forced=[1]), "names id 11; there are 11 ids"),
        (Steering(forced=[[1], [2], [3]]), "3 rows for 2 answers"),
    ],
)
def test_what_does_not_fit_an_answer(steering: Steering, message: str) -> None:
    with pytest.raises(MioError, match=message):
        steering.arrays(2, 2, 11)
