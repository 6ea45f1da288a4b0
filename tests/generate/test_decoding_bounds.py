"""The floor of decoding that `benchmarks/llama_vs_transformers.py` reports counts what the model really reads."""

from __future__ import annotations

import dataclasses
import math

import jax
import pytest

from benchmarks.llama_settings import SETTINGS, Machine, decoding_report
from mio_jax.nn.base import split_model, to_pure_dict
from mio_jax.nn.transformer import Decoder, DecoderSpec


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_reads_all_weights_but_the_embedding_and_the_cache(name: str) -> None:
    setting = SETTINGS[name]
    sizes = ("vocab_size", "dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim")
    spec = DecoderSpec(**{field: getattr(setting, field) for field in sizes})
    _, abstract = split_model(lambda key: Decoder(spec, key))
    shapes = to_pure_dict(abstract)
    norms = (2 * spec.depth + 1) * spec.dim
    every = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert setting.step_weights == every - math.prod(shapes["embed"].shape) - norms
    filled = setting.prompt + setting.new_tokens // 2
    cache = jax.eval_shape(lambda: Decoder(spec, jax.random.key(0)).init_cache(3, filled))
    assert setting.cache_bytes(3) == sum(4 * math.prod(x.shape) for x in jax.tree.leaves((cache.k, cache.v)))


def test_the_report_takes_the_higher_floor() -> None:
    setting = dataclasses.replace(SETTINGS["small"], generate_rows=(1, 100))
    machine = Machine(bandwidth=1e9, flops=1e10)
    bounds = {rows: machine.decoding_bounds(setting, rows) for rows in (1, 100)}
    assert bounds[1]["by_memory"] > bounds[1]["by_arithmetic"]
    assert bounds[100]["by_memory"] < bounds[100]["by_arithmetic"]
    assert bounds[100]["by_arithmetic"] == pytest.approx(100 * bounds[1]["by_arithmetic"])
    seconds = {
        f"generate_batch{rows}": {"mio_jax": [2 * max(found.values())], "transformers": [3 * max(found.values())]}
        for rows, found in bounds.items()
    }
    report = decoding_report(setting, [machine, Machine(1.0, 1.0)], seconds)
    for rows in (1, 100):
        assert report[f"generate_batch{rows}"]["ours_over_floor"] == pytest.approx(2)
        assert report[f"generate_batch{rows}"]["best_possible_ratio"] == pytest.approx(3)
