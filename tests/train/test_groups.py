"""Parameter groups: globs over paths, first match, and errors that name what was meant."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mio_jax.config import GroupConfig, OptimConfig
from mio_jax.errors import MioError
from mio_jax.train.groups import assign_groups
from mio_jax.train.optimizer import make_optimizer

AXES: dict[str, Any] = {
    "embed": ("vocab", "embed"),
    "layers": {"mlp": {"up": ("layers", "embed", "mlp"), "down": ("layers", "mlp", "embed")}},
    "norm": ("norm",),
}
UP, DOWN = ("layers", "mlp", "up"), ("layers", "mlp", "down")


def test_the_first_match_counts() -> None:
    groups = (GroupConfig("*/up", rate=0.5), GroupConfig("layers/*", frozen=True))
    got = assign_groups(groups, AXES)
    assert got[UP] is groups[0]
    assert got[DOWN] is groups[1]
    assert (got["embed",].rate, got["embed",].frozen) == (1.0, False)


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["layers/mpl/*"], r"'layers/mpl/\*' matches no parameter; near it are layers/mlp"),
        (["*/dwon"], r"matches no parameter; near it are .*layers/mlp/down"),
        (["zzz"], "the parameters are embed, layers/mlp/down, layers/mlp/up, norm"),
        (["layers/*", "*/up"], r"all that '\*/up' matches \(layers/mlp/up\) belongs to groups before it"),
        (["*"], "every parameter is frozen"),
    ],
)
def test_errors(patterns: list[str], said: str) -> None:
    with pytest.raises(MioError, match=said):
        assign_groups([GroupConfig(p, frozen=True) for p in patterns], AXES)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_frozen_parts_hold_no_state_and_rates_are_factors(optimizer: str) -> None:
    params = {
        "embed": jnp.ones((6, 4)),
        "layers": {"mlp": {"up": jnp.full((2, 4, 8), 0.5), "down": jnp.full((2, 8, 4), 0.5)}},
        "norm": jnp.ones(4),
    }
    gradient = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=jnp.float32)).reshape(p.shape), params)
    plain = make_optimizer(OptimConfig(optimizer=optimizer, clip_norm=0.0), AXES)
    groups = (GroupConfig("embed", frozen=True), GroupConfig("*/down", rate=0.25), GroupConfig("norm", frozen=True))
    mine = make_optimizer(OptimConfig(optimizer=optimizer, clip_norm=0.0, groups=groups), AXES)
    state = mine.init(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        keys = {getattr(key, "key", None) for key in path}
        assert not keys & {"embed", "norm"}, f"{path} of {leaf.shape} belongs to a frozen parameter"
    assert len(jax.tree.leaves(state)) < len(jax.tree.leaves(plain.init(params)))
    update, _ = mine.update(mine.trainable(gradient), state, mine.trainable(params), 0.1)
    whole, _ = plain.update(gradient, plain.init(params), params, 0.1)
    assert sorted(update) == ["layers"]
    assert jnp.allclose(update["layers"]["mlp"]["up"], whole["layers"]["mlp"]["up"], rtol=1e-6)
    assert jnp.allclose(update["layers"]["mlp"]["down"], 0.25 * whole["layers"]["mlp"]["down"], rtol=1e-6)
    merged = mine.merged(params, update)
    assert merged["embed"] is params["embed"]
