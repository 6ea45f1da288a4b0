"""A real run directory with an untrained model, and media files, for the commands that ask a run."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from mio_jax.config import DataConfig, MeshConfig, ModelConfig, RunConfig, StageConfig
from mio_jax.config_loading import save_json
from mio_jax.parallel import make_mesh
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.run import assemble
from mio_jax.train.run_dir import check_tokenizers, checkpoint_dir
from mio_jax.train.state import new_params, plan_model
from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio

LENGTH = 288


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    config = RunConfig(
        run_dir=str(folder),
        model=ModelConfig(dim=16, depth=1, heads=2, kv_heads=1, head_dim=8, mlp_dim=16),
        data=DataConfig(length=LENGTH, system_prompt="You are MIO."),
        stages=(
            StageConfig("alignment", mixture="mio_pairs", batch_size=1),
            StageConfig("sft", mixture="mio_sft", batch_size=1, style="chat"),
        ),
    )
    save_json(config, folder / "config.json")
    parts = assemble(config)
    check_tokenizers(folder, dict(parts.tokenizers.fingerprints), write=True)
    params = new_params(plan_model(parts.build, make_mesh(MeshConfig(data=1), jax.devices()[:1])), 0)
    for index in range(2):
        with Checkpoints(checkpoint_dir(config, index)) as checkpoints:
            checkpoints.save(1, {"params": params, "opt_state": {"count": np.zeros(())}}, {}, {})
    return str(folder)


@pytest.fixture
def media(tmp_path: Path) -> dict[str, str]:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    write_wav(tmp_path / "in.wav", Audio(np.sin(np.arange(8000) / 9).astype(np.float32), 16000))
    (tmp_path / "broken.png").write_bytes((tmp_path / "in.png").read_bytes()[:200])
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x00\x01")
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(tmp_path / "silent.wav", Audio(np.zeros(8000, np.float32), 16000))
    return {path.name: str(path) for path in tmp_path.iterdir()}
