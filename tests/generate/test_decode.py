"""The compiled loop of decoding: what a step must not do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mio_jax.generate import SamplingConfig, decode
from tests.generate.spaces import tiny_engine


@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_copies_no_cache(rows: int) -> None:
    engine, sampling = tiny_engine(), SamplingConfig(greedy=True)
    given = engine._prepare([np.arange(8, 13, dtype=np.int32)] * rows, sampling, 8, (), None, None)
    state = decode.begin(
        engine.graphdef, engine.params, given.prompts, given.inputs, given.at, plan=sampling.plan, room=given.room
    )
    batch, heads, length, width = state.cache.k[0].shape
    assert batch == rows
    compiled = decode.loop.lower(engine.graphdef, engine.params, given.inputs, state, plan=sampling.plan).compile()
    inside = compiled.as_text().split("\nENTRY ")[0]  # what the loop calls stands before the program itself
    caches = rf"f32\[(?:{batch},)?{heads},{length},{width}\]"
    assert len(re.findall(rf"= {caches}\S* \S*dynamic[-_]update[-_]slice|{caches}\S* fusion\(", inside)) >= 4
    # XLA may name one for each cache of a single row, which stays in its buffer; before, it made four, and three moved.
    ours = len(state.cache.k) + len(state.cache.v) if rows == 1 else 0
    assert len(re.findall(rf"= {caches}\S* copy\(", inside)) <= ours
