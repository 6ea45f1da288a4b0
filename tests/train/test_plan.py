"""What is planned is what is run: the abstract batch is laid out like a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.config_loading import load_config_file
from mio_jax.parallel import batch_sharding, make_mesh, rules_of
from mio_jax.protocols import Example, load_recipe
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.train.plan import abstract_batch
from mio_jax.train.processes import place

ROOT = Path(__file__).parents[2]
IDS = np.arange(3, dtype=np.int32)
EXAMPLES = {
    "quickstart.py": Example(IDS, IDS, IDS.astype(np.float32)),
    "unified_io2/quickstart.py": Sample(IDS, image=np.zeros((8, 9, 3), np.uint8), target_text=IDS),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_abstract_batch_is_laid_out_like_a_real_one(name: str) -> None:
    config = load_config_file(ROOT / "configs" / name, ["mesh.data=2", "mesh.fsdp=2", "mesh.seq=2"])
    recipe, mesh = load_recipe(config.recipe), make_mesh(config.mesh)
    sharding = batch_sharding(mesh, 4, config.data.length, rules_of(config.mesh))
    row: dict[str, Any] = recipe.rows(config).row([EXAMPLES[name]])
    real = place({k: np.stack([v] * 4) for k, v in row.items()}, sharding, 4, config.data.length)
    planned = abstract_batch(recipe, config, 4, sharding)
    assert {k: (v.shape, v.dtype, v.sharding) for k, v in planned.items()} == {
        k: (v.shape, v.dtype, v.sharding) for k, v in real.items()
    }
    assert planned["segment_ids"].sharding.spec[1] == "seq"
    assert any(v.ndim > 2 for v in planned.values()) == ("unified_io2" in name)
