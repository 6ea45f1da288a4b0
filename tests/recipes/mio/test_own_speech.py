"""The commands of docs/recipes/mio.md, at tiny size, from published weights to words read out of a recording."""

from __future__ import annotations

import functools
import io
import json
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.config_loading import load_config_file
from mio_jax.nn.base import init_params
from mio_jax.train.metrics import read_rows
from mio_jax.train.run import assemble
from mio_tokenizers.audio import AudioTokenizer, write_wav
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.base import Audio

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "recipes" / "mio.md"
TINY = [f"--config.model.{size}" for size in ("dim=16", "heads=2", "kv_heads=1", "head_dim=8", "mlp_dim=16", "depth=1")]
SEANET = SEANetSpec(n_filters=2, strides=(8, 5, 4, 4), dimension=4, lstm_layers=0, weight_norm=False)


def commands() -> list[list[str]]:
    """Words of every command of the part "Five commands"."""
    part = PAGE.read_text().split("## Five commands")[1].split("## A codec")[0]
    return [shlex.split(line)[1:] for line in re.findall(r"^    (mio .*)$", part, re.MULTILINE)]


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    codec = CodecSpec(SEANET, n_q=2, codebook_size=8)
    params = jax.jit(functools.partial(init_params, functools.partial(Codec, codec)))(jax.random.key(0))
    tokenizer = AudioTokenizer.from_training(codec, params, jax.random.normal(jax.random.key(1), (2, 8, 4)))
    tokenizer.save("runs/tokenizers/speech_rvq_tiny/speech.safetensors", {})
    rng = np.random.default_rng(0)
    for number, name in enumerate("abcdefghijklmnopqrst"):
        shape = (4000 * (number % 3 + 1), 2) if number % 2 else (4000,)
        path = Path("own") / "speech" / f"{name}.wav"
        write_wav(path, Audio(rng.normal(0, 0.1, shape).astype(np.float32), 8000 if number % 2 else 16000))
        path.with_suffix(".txt").write_text(f"the letter {name}")
    tiny, published, prepare, train, transcribe, talk = commands()
    assert tiny == ["train", "--config", "configs/mio/speech_tiny.py"]  # docs/recipes/mio_speech.md has its figures
    quick = load_config_file(ROOT / "configs" / "mio" / "speech_tiny.py", [flag[9:] for flag in TINY])
    parts = assemble(quick)
    model = jax.jit(lambda key: init_params(parts.build, key))(jax.random.key(1))
    parts.recipe.export_weights(model, parts.spec, tmp_path / "weights" / "mio")
    assert main([*published, *TINY]) == 0
    assert main(prepare) == 0
    manifest = json.loads((tmp_path / "data" / "own_speech" / "speech" / "manifest.json").read_text())
    assert sum(manifest["counts"].values()) == 20
    assert manifest["counts"]["test"] > 0
    assert main([*train, *TINY, *(f"--config.stages.finetune.{x}" for x in ("steps=2", "batch_size=8"))]) == 0
    rows = read_rows(tmp_path / "runs" / "own_speech" / "stages" / "00_finetune" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss/text"]) and np.isfinite(row["loss/audio"]) for row in rows)
    assert main([*transcribe, "--max-new-tokens", "4"]) == 0
    assert list((tmp_path / "out" / "heard").iterdir())
    monkeypatch.setattr("sys.stdin", io.StringIO("Who is this?\n/ask speak\nthe letter b\n"))
    capsys.readouterr()
    assert main([*talk, "--max-new-tokens", "40"]) == 0
    assert list((tmp_path / "out" / "talk").glob("*.wav")), capsys.readouterr().out
