"""Preprocessing of pictures for SEED: every array of `preproc_io.npz`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_tokenizers.image.seed.preprocess import MEAN, STD, resize, standardise
from mio_tokenizers.image.seed.settings import FILTERS

pytestmark = pytest.mark.golden_row("mio", "preproc", files=["preproc_config.json", "preproc_io.npz"])
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(golden: Any) -> Path:
    return golden("mio")


def test_every_array(folder: Path) -> None:
    io = dict(np.load(folder / "preproc_io.npz"))
    config = json.loads((folder / "preproc_config.json").read_text())
    assert set(io) == {"src", *(f"{name}_{what}" for name in FILTERS for what in ("u8", "chw"))}
    np.testing.assert_allclose(MEAN, config["mean"], rtol=1e-6)
    np.testing.assert_allclose(STD, config["std"], rtol=1e-6)
    for name in FILTERS:
        small = resize(io["src"], config["size"], name)
        np.testing.assert_array_equal(small, io[f"{name}_u8"])
        wanted = io[f"{name}_chw"]
        ours = np.asarray(standardise(small.astype(np.float32) / 255)).transpose(2, 0, 1)
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())
