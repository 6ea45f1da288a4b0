"""Unified-IO 2's preprocessing of pictures, sound patches and location tokens against the published code's arrays.

The mel spectrograms themselves are in `test_uio2_mel`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.data.media.placement import fit, undo_boxes
from mio_jax.generate.steering import steer
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2 import processors
from mio_jax.recipes.unified_io2.decoding import END_OF_TEXT
from mio_tokenizers.base import Audio
from mio_tokenizers.structured.extra_ids import LEVELS, boxes_in_ids, ids_to_values, value_of, write_values

pytestmark = pytest.mark.golden_row("unified-io-2", "preprocess", files=["preprocess.npz", "preprocess.json"])
PIXELS = 5e-6  # of [0, 1]: what the fixture's README asks for
ELSEWHERE = ("mel_segment", "log_mel_every")


class Fixture:
    def __init__(self, folder: Path) -> None:
        with np.load(folder / "preprocess.npz") as stored:
            self.arrays = dict(stored)
        self.json = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        self.sources = {k.removeprefix("src_"): v for k, v in self.arrays.items() if k.startswith("src_")}
        r0, rs, c0, cs = (
            int(n)
            for n in re.search(
                r"rows (\d+),.*?\(step (\d+)\) x cols (\d+),.*?\(step (\d+)\)", self.json["sample_grid"]
            ).groups()
        )
        self.rows, self.columns = slice(r0, None, rs), slice(c0, None, cs)


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> Fixture:
    return Fixture(golden("unified-io-2"))


def placed(fixture: Fixture) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures in their squares, whole at the small size and sampled at the full ones."""
    for source, picture in fixture.sources.items():
        pixels = pre.as_float(picture)
        for name in fixture.arrays:
            found = re.fullmatch(rf"([a-z]+)(\d+)(?:_([a-z_]+))?_{source}", name)
            if not found or name.startswith("src") or name == f"boxes_in_{source}":
                continue
            placement = fit(*picture.shape[:2], int(found[2]))
            what = found[3] or "image"
            if what == "info":
                yield name, placement.info
            elif what == "mask":
                yield name, placement.mask
            elif what.startswith("masksum"):
                yield name, placement.mask.sum(axis=1 if what.endswith("rows") else 0)
            elif what == "boxes":
                boxes, kept = placement.boxes(fixture.arrays[f"boxes_in_{source}"])
                assert kept.sum() == len(boxes) < len(kept), "the fixture has an empty box"
                yield name, boxes
            else:
                square = placement.image(pixels)
                parts = {"image": square, "samples": square[fixture.rows, fixture.columns]}
                yield name, parts[what] if what in parts else square.astype(np.float64).mean(axis=(0, 1))


def patched(fixture: Fixture, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Patches and targets at reduced sizes: the fixture gives sizes in the names, and one of its pictures in them."""
    names = [re.fullmatch(r"(patchify|patchify_history|target)(\d+)_(?:input|image)", n) for n in fixture.arrays]
    edge = {m[1]: int(m[2]) for m in names if m}
    sizes = pre.Sizes(
        image=edge["patchify"],
        history=edge["patchify_history"],
        target=edge["target"],
        image_samples=1.0,
        history_samples=1.0,
    )
    placement = pre.place(picture, sizes.history)
    square, mask = placement.image(pre.as_float(picture)), placement.mask
    flipped = pre.image_patches(square[::-1], mask[::-1], sizes, "history", None)  # the fixture flips the square
    history = {k: np.concatenate([v, flipped[k][None]]) for k, v in pre.history_features([picture], sizes).items()}
    parts = {
        f"patchify{sizes.image}": pre.image_features(picture, pre.place(picture, sizes.image), sizes),
        f"patchify_history{sizes.history}": history,
        f"target{sizes.target}": pre.target_image(picture, sizes),
    }
    return {f"{prefix}_{name}": array for prefix, part in parts.items() for name, array in part.items()}


def sound(fixture: Fixture) -> dict[str, np.ndarray]:
    """Patches and target of the fixture's tone, whose formula is in words beside it."""
    count, rate = (int(re.search(p, fixture.json["wave_formula"])[1]) for p in (r"n<(\d+)", r"sr=(\d+)"))
    t = np.arange(count) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * t) + 0.25 * np.sin(2 * np.pi * (200 * t + 350 * t**2))
    wave = (wave + 0.05 * np.sin(2 * np.pi * 6100 * t + 1)) * np.clip(t / 0.1, 0, 1)
    first, second = pre.sound_segments(Audio(np.where(t >= 6.2, 0, wave).astype(np.float32), rate))
    patches, target = pre.audio_features(second), pre.target_audio(first)
    rows = next(n for n in fixture.arrays if n.startswith("audio_patches_rows_"))
    numbers = [int(n) for n in rows.removeprefix("audio_patches_rows_").split("_")]
    every = next(re.fullmatch(r"audio_target_every(\d+)th_frame", n) for n in fixture.arrays if "target_every" in n)
    return {
        rows: patches["input"][numbers],
        "audio_patch_mask": patches["mask"],
        every[0]: target["audio"][:: int(every[1])],
        "audio_target_mask": target["mask"],
    }


def test_every_array(fixture: Fixture) -> None:
    ours = dict(placed(fixture)) | sound(fixture)
    # The fixture does not say which of its pictures the patches show: it is the one whose patches are nearest.
    name = next(n for n in fixture.arrays if re.fullmatch(r"patchify\d+_input", n))
    candidates = [patched(fixture, picture) for picture in fixture.sources.values()]
    ours |= min(candidates, key=lambda made: float(np.abs(made[name] - fixture.arrays[name]).max()))
    inputs = {n for n in fixture.arrays if n.startswith(("src_", "boxes_in_"))}
    elsewhere = {n for n in fixture.arrays if n.startswith(ELSEWHERE)}
    assert set(ours) == set(fixture.arrays) - inputs - elsewhere
    for name, theirs in fixture.arrays.items():
        if name in inputs | elsewhere:
            continue
        assert ours[name].shape == theirs.shape, name
        if theirs.dtype.kind in "iu":
            np.testing.assert_array_equal(ours[name], theirs, err_msg=name)
        elif name.startswith("audio"):  # the logarithm of a mel, which is known to 1e-4
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-4, atol=2e-5, err_msg=name)
        else:  # normalised patches stretch a pixel's error by 1 / deviation
            stretch = 1 / pre.CLIP_STD.min() if name.endswith("_input") else 2 if name.endswith("_image") else 1
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=PIXELS * stretch, err_msg=name)


def test_values_and_tokens(fixture: Fixture) -> None:
    table = fixture.json["values_to_tokens"]
    assert write_values(table["values"]).split() == table["tokens"]
    table = fixture.json["token_to_float"]
    first = next(i for i, v in zip(table["ids"], table["values"], strict=True) if v == 1.0)
    np.testing.assert_allclose(ids_to_values(table["ids"], first), table["values"], rtol=1e-6, atol=1e-9)
    table = fixture.json["extra_id_to_float"]
    assert [value_of(n) for n in table["extra_ids"]] == pytest.approx(table["values"], rel=1e-12)
    case = fixture.json["extract_locations"]
    boxes, dropped = boxes_in_ids(case["tokens"], first)
    np.testing.assert_allclose(boxes, case["boxes"], rtol=1e-6)
    assert dropped == 1  # two tokens that make no box


def test_boxes_lead_back(fixture: Fixture) -> None:
    case = fixture.json["undo_box_preprocessing"]
    info = np.asarray(case["image_info"], np.float32)
    assert info.tolist() in [a.tolist() for n, a in fixture.arrays.items() if "_info_" in n]
    np.testing.assert_allclose(undo_boxes(np.asarray(case["boxes"]), info), case["out"], rtol=1e-6, atol=1e-5)


def test_logit_processors(fixture: Fixture) -> None:
    cases = fixture.json["logit_processors"]
    numbers = re.fullmatch(
        r"score\[i\] = float32\(2\*sin\(0\.37\*i\) \+ 0\.5\*cos\(\(0\.0113\*i\*i\) mod (\d+)\)\), i in \[0,(\d+)\)",
        cases["scores_formula"],
    )
    i = np.arange(int(numbers[2]), dtype=np.float64)
    scores = (2 * np.sin(0.37 * i) + 0.5 * np.cos((0.0113 * i * i) % int(numbers[1]))).astype(np.float32)
    first = fixture.json["token_to_float"]["ids"][fixture.json["token_to_float"]["values"].index(1.0)]
    for name, wanted in cases["predict_boxes"].items():
        boost, required = re.fullmatch(r"boost_([+-]\d+)_require_one_box_(True|False)", name).groups()
        given = scores.copy()
        given[first : first + LEVELS] += np.float32(boost)
        share = float(jax.nn.softmax(jnp.asarray(given))[first : first + LEVELS].sum())
        assert share == pytest.approx(wanted["loc_probability"], rel=1e-5)
        rules = processors.boxes(SimpleNamespace(first_location=first), at_least_one=required == "True")
        arrays = rules.arrays(rows=1, room=3, vocab=len(given))
        out: Any = np.asarray(steer(jnp.asarray(given)[None], arrays, 0, jnp.asarray([END_OF_TEXT, -1])))[0]
        later = np.asarray(steer(jnp.asarray(given)[None], arrays, 1, jnp.asarray([END_OF_TEXT, -1])))[0]
        assert np.array_equal(np.delete(later, END_OF_TEXT), np.delete(out, END_OF_TEXT))
        assert later[END_OF_TEXT] == cases["predict_boxes"][f"boost_{boost}_require_one_box_False"]["eos"]
        assert int((out != given).sum()) == wanted["n_masked"], name
        assert int(out.argmax()) == wanted["argmax"], name
        assert float(out[1]) == pytest.approx(wanted["eos"], rel=1e-6)
