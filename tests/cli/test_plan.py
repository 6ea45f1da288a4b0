"""`mio plan`: what it prints and writes, what it refuses; and, where libtpu is installed, a real pod."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mio_jax.cli.main import main
from mio_jax.cli.plan import line_of, table
from mio_jax.config import MeshConfig
from mio_jax.parallel.topologies import topology
from mio_jax.train.plan_search import candidates, ranked

ROOT = Path(__file__).parents[2]
STAGE1 = str(ROOT / "configs" / "mio" / "stage1_alignment.py")
TINY = [
    *("--config", str(ROOT / "configs" / "quickstart.py"), "--config.model.dim=32", "--config.model.head_dim=8"),
    *("--config.model.mlp_dim=48", "--config.model.dtype=bfloat16", "--config.data.length=32"),
    *("--config.mesh.data=1", "--config.mesh.fsdp=2", "--config.mesh.tensor=2"),
]


def report(**changes: Any) -> dict[str, Any]:
    return {
        "config": "c",
        "dtype": "bfloat16",
        "remat": "full",
        "topology": "v5p:2x2x1",
        "chips": 4,
        "mesh": {"data": 1, "fsdp": 4},
        "parameters": 2e9,
        "vocabulary": {"rows": 9, "from": "tokenizers"},
        "stage": "s",
        "rows": 8,
        "length": 16,
        "micro_batches": 2,
        "tokens_per_step": 128,
        "fits": True,
        "spare_bytes": 2**30,
        "hbm_per_chip": 3 * 2**30,
        "bytes_per_chip": {"total": 2**31},
        "model_flops_per_step": 1e12,
        "flops_per_step": 1.5e12,
        "compiler_seconds": 0.5,
        "compiler_seconds_uncorrected": None,
        "step_seconds": 1.0,
        "collective_seconds": 0.6,
        "blocking_collective_seconds": 0.5,
        "mfu": 0.61,
        "tokens_per_second": 128.0,
        "collectives": {"all-gather": {"count": 3.0, "bytes_sent_per_chip": 2e9}},
        "tokens_per_day": 1.1e7,
        "kernel_seconds": 0.125,
        "kernel_share_assumed": 0.5,
        "kernels": {"splash_mha_fwd_segmented_residuals": {"count": 64.0, "flops": 1e11, "seconds": 0.125}},
        "kernels_without_figures": {"other": 4.0},
        "budget": {"steps": 9, "tokens": 1152, "days": 2.5},
        **changes,
    }


def test_the_table_says_what_fits_and_how_long_it_takes() -> None:
    text = table(report())
    for part in ("yes, 1.0 GiB to spare of 3 GiB a chip", "(1.50 of the model's)", "61.0 %", "2.5 days", "other (4)"):
        assert part in text
    assert "0.375 s, products and memory" in text  # what kernels are taken to need stands on a line of its own
    assert "0.125 s in 64 runs, taken to reach 50 % of the rate" in text
    assert "by the compiler's rule" in text  # it gave no figure of its own
    assert "compiler's estimate" in table(report(compiler_seconds_uncorrected=0.1))
    large = table(report(fits=False, spare_bytes=-(2**30), step_seconds=None, mfu=None))
    assert "NO, 1.0 GiB too much" in large
    assert "MFU" not in large


def test_the_ranking_puts_what_fits_first_and_then_what_is_fast() -> None:
    slow, fast = report(step_seconds=2.0), report(step_seconds=1.0)
    large, wrong = report(fits=False, step_seconds=None), report(fits=False, step_seconds=None, error="no")
    assert ranked([large, slow, wrong, fast]) == [fast, slow, large, wrong]
    assert line_of(fast).startswith("fsdp=4")
    assert "does not fit" in line_of(large)
    assert "not possible: no" in line_of(wrong)


def test_candidates_use_every_device() -> None:
    found = candidates(topology("v5e:2x2"))
    assert MeshConfig(data=1, fsdp=4, tensor=1) in found
    assert all(mesh.data * mesh.fsdp * mesh.tensor == 4 for mesh in found)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*TINY], "pass --topology"),
        ([*TINY, "--topology", "v5p:4x4"], "has 3 sides"),
        ([*TINY, "--topology", "v5e:2x2", "--stage", "dreaming"], "its stages: alignment"),
        ([*TINY, "--topology", "v5e:2x2", "--search", "--what", "generate"], "leave --what generate out"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    assert told in capsys.readouterr().err


def test_without_the_compiler_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "libtpu" else found(name, *a))
    assert main(["plan", "--config", STAGE1, "--topology", "v5p:4x4x4"]) == 2
    error = capsys.readouterr().err
    assert "`tpu` extra" in error
    assert error.count("\n") == 1


def plan(tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """In a process of its own: loading the TPU compiler changes the one that it is loaded into."""
    out = tmp_path / "plan.json"
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "mio_jax", "plan", *words, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return done, json.loads(out.read_text())


needs_compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu (extra tpu) is missing")


@pytest.mark.slow
@needs_compiler
def test_a_train_step_compiles_for_a_pod(tmp_path: Path) -> None:
    deep, got = plan(tmp_path, *TINY, "--topology", "v5e:2x2")
    assert "fits" in deep.stdout
    assert got["fits"] is True
    assert got["bytes_per_chip"]["parameters"] * 4 >= 4 * got["parameters"]  # float32, split over four chips
    assert got["bytes_per_chip"]["optimizer"] >= 2 * got["bytes_per_chip"]["parameters"]
    assert got["collectives"]["all-gather"]["count"] > 4
    # The compiler counts the body of the scan over layers once; what is left out must be back.
    assert got["flops_per_step"] > got["compiler_flops_per_step"]
    assert 1.0 <= got["flops_per_step"] / got["model_flops_per_step"] < 1.5
    assert got["step_seconds"] > 0
    assert 0 < got["mfu"] < 1
    _, again = plan(tmp_path, *TINY, "--config.model.depth=8", "--topology", "v5e:2x2")
    layer = (again["flops_per_step"] - got["flops_per_step"]) / (
        again["model_flops_per_step"] - got["model_flops_per_step"]
    )
    assert 1.0 <= layer < 1.5  # by the difference between two depths: the same work for every layer


@pytest.mark.slow
@needs_compiler
def test_decoding_compiles_for_a_pod(tmp_path: Path) -> None:
    _, got = plan(
        tmp_path, *TINY, "--topology", "v5e:2x2", "--what", "generate", "--rows", "4", "--prompt", "16", "--new", "8"
    )
    assert got["fits"] is True
    assert got["decode"]["bytes_per_chip"]["cache"] > 0
    assert got["prefill"]["flops_per_step"] > got["decode"]["flops_per_step"] > 0


@pytest.mark.slow
@needs_compiler
def test_a_step_of_an_encoder_decoder_compiles_for_a_pod(tmp_path: Path) -> None:
    words = ["--config", str(ROOT / "configs" / "unified_io2" / "quickstart.py"), "--config.model.dtype=bfloat16"]
    _, got = plan(tmp_path, *words, "--config.mesh.data=1", "--config.mesh.fsdp=4", "--topology", "v5e:2x2")
    assert got["fits"] is True
    assert got["flops_per_step"] > got["compiler_flops_per_step"] > 0
    assert 0 < got["mfu"] < 1
