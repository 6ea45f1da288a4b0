"""CLIP's picture tower from a folder of Hugging Face weights, against transformers.

`clip_tiny/` is what `save_pretrained` of transformers 5.23 writes of a small random CLIPVisionModelWithProjection;
`wanted.npz` has pictures of three shapes, what CLIP's image processor (Pillow) makes of them, and `image_embeds`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.evaluate.clip import clip_images, import_clip, prepare, read_spec
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suite_run import load_clip
from mio_tokenizers.weights_file import read_arrays

FOLDER = Path(__file__).parent / "clip_tiny"


@pytest.fixture(scope="module")
def wanted() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "wanted.npz") as stored:
        return dict(stored)


def test_embeddings_are_those_of_transformers(wanted: dict[str, np.ndarray]) -> None:
    embed, spec = clip_images(FOLDER), read_spec(FOLDER)
    for i in range(3):
        picture, target = wanted[f"picture{i}"], wanted[f"embedding{i}"]
        np.testing.assert_allclose(prepare(spec, picture), wanted[f"pixels{i}"], rtol=1e-5, atol=1e-6)
        found = embed(picture[None])
        assert found.shape == (1, 6)
        np.testing.assert_allclose(found[0], target, atol=1e-5 * np.abs(target).max())
    pictures = [wanted[f"picture{i}"] for i in range(3)]
    score = function("picture_similarity", {"clip_image": embed})(pictures, [*pictures[1:], pictures[0]])
    units = [wanted[f"embedding{i}"] / np.linalg.norm(wanted[f"embedding{i}"]) for i in range(3)]
    cosines = [units[i] @ units[(i + 1) % 3] for i in range(3)]
    assert score["clip_i"] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_a_whole_clip_has_its_sizes_in_vision_config(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "whole")
    config = json.loads((FOLDER / "config.json").read_text())
    whole = {"model_type": "clip", "projection_dim": 6, "vision_config": config | {"projection_dim": 99}}
    (tmp_path / "whole" / "config.json").write_text(json.dumps(whole))
    assert read_spec(tmp_path / "whole") == read_spec(FOLDER)
    arrays = read_arrays(FOLDER / "model.safetensors") | {"text_model.final_layer_norm.bias": np.zeros(3)}
    import_clip(arrays, read_spec(FOLDER), "whole")


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("config.json", {"model_type": "bert"}, "is of a 'bert'; CLIP-I takes a folder of CLIP's weights"),
        ("config.json", {"hidden_act": "silu"}, "activation 'silu'"),
        ("config.json", {"image_size": 13}, "pictures of 13 in patches of 4"),
        ("config.json", {"num_hidden_layers": 2}, "16 unexpected .*vision_model.encoder.layers.2"),
        ("config.json", None, "config.json cannot be read"),
        ("preprocessor_config.json", {"resample": 2}, "does not make pictures ready as CLIP does"),
        ("preprocessor_config.json", {"do_center_crop": False}, "does not make pictures ready as CLIP does"),
        ("model.safetensors", None, "holds no weights of CLIP"),
    ],
)
def test_a_folder_of_another_kind_is_refused(file: str, change: Any, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(FOLDER, folder)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    with pytest.raises(MioError, match=says):
        clip_images(folder)


def test_the_flag_gives_the_extractor(wanted: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert load_clip("") == {}
    [(name, embed)] = load_clip(str(FOLDER)).items()
    assert name == "clip_image"
    assert embed(wanted["picture1"][None]).shape == (1, 6)
    words = ["eval", "--run", "x", "--suite", "mio", "--data", "y", "--clip", str(FOLDER)]
    assert main([*words, "--extractor", "clip_image=numpy:mean"]) == 2
    assert "--clip and --extractor clip_image name two networks for CLIP-I" in capsys.readouterr().err
    assert main(["eval", "--run", "x", "--clip", str(FOLDER)]) == 2
    assert "--clip is for suites" in capsys.readouterr().err
