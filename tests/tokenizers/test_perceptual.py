"""Perceptual losses: the distances and gradients of PyTorch, published files as they are, and a training with them.

`perceptual/` was made with PyTorch 2.13: a VGG16 and a VGGish of a few channels with random weights, under the names of
torchvision, LPIPS and torchvggish (backbones in the file format before PyTorch 1.6, as theirs are), and `wanted.npz`:
media, their distances by conv2d, relu and max_pool2d as in the published code, and the gradients of the mean distance.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_tokenizers.training.checkpoint import write_safetensors
from mio_tokenizers.training.perceptual import Watched, read_perceptual, watched
from mio_tokenizers.training.vq_loss import VQLossConfig
from mio_tokenizers.weights_file import read_arrays
from tests.tokenizers import test_vq_training as training
from tests.tokenizers.test_vq_training import quick_compilation as quick_compilation  # applies here too

FOLDER = Path(__file__).parent / "perceptual"
VGG, HEADS, VGGISH = (FOLDER / f"{name}_tiny.pth" for name in ("vgg", "lpips_heads", "vggish"))
LPIPS = f"{VGG},{HEADS}"


@pytest.mark.parametrize(("name", "files", "channels"), [("pictures", LPIPS, 3), ("spectra", str(VGGISH), 1)])
def test_distances_and_gradients_are_those_of_pytorch(name: str, files: str, channels: int) -> None:
    with np.load(FOLDER / "wanted.npz") as stored:
        made, real, distance, gradient = (stored[f"{name}/{x}"] for x in ("made", "real", "distance", "gradient"))
    size = made.shape[1:3]
    network, arrays = read_perceptual(files, channels=channels, size=size, pictures=channels == 3)
    assert network.taps == 3

    def mean(made: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = network(arrays, made, real)
        return jnp.mean(found), found

    pull = jax.jit(jax.grad(mean, has_aux=True))
    back, found = pull(made, real)
    np.testing.assert_allclose(found, distance, rtol=1e-5)
    np.testing.assert_allclose(back, gradient, atol=1e-5 * np.abs(gradient).max())
    np.testing.assert_array_equal(pull(made, made)[1], 0)


def test_where_no_channel_speaks_the_gradient_is_finite() -> None:
    network, arrays = read_perceptual(str(VGGISH), channels=1, size=(8, 8), pictures=False)
    silent = jax.tree.map(lambda x: x - 9 if x.ndim == 1 and len(x) != 6 else x, arrays)
    media = jnp.zeros((1, 8, 8, 1))
    assert all(not np.any(found) for found in jax.jit(network.maps)(silent, media)[:2])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(network(silent, x, media + 1))))(media)
    assert np.isfinite(gradient).all()


def test_one_file_under_the_names_of_lpips_is_the_same(tmp_path: Path) -> None:
    slices = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3}
    whole = {"scaling_layer.shift": np.zeros((1, 3, 1, 1), np.float32)}
    for name, array in read_arrays(VGG).items():
        _, index, leaf = name.split(".")
        if name.startswith("features"):
            whole[f"net.slice{slices[int(index)]}.{index}.{leaf}"] = array
    for name, array in read_arrays(HEADS).items():
        whole |= {name: array, name.replace("lin", "lins."): array}
    write_safetensors(tmp_path / "lpips.safetensors", whole, {})
    one, two = (
        read_perceptual(files, channels=3, size=(8, 8), pictures=True)
        for files in (LPIPS, str(tmp_path / "lpips.safetensors"))
    )
    assert one[0] == two[0]
    jax.tree.map(np.testing.assert_array_equal, one[1], two[1])


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def read(files: str, channels: int = 3, size: tuple[int, int] = (8, 8)) -> None:
        read_perceptual(files, channels=channels, size=size, pictures=channels == 3)

    vgg = {name: array for name, array in read_arrays(VGG).items() if name.startswith("features")}
    changed = {
        "more": (vgg | {"extra": np.zeros(1)}, "1 arrays are of no VGG and no LPIPS head: extra"),
        "bare": ({k: v for k, v in vgg.items() if k != "features.2.bias"}, r"layer 2 has a weight \(4, 4, 3, 3\)"),
        "norm": ({k.replace("s.2.", "s.1."): v for k, v in vgg.items()}, r"layers \[0, 1, 5, 7, 10\] are not those"),
        "late": ({k: v for k, v in vgg.items() if ".0." not in k}, "holds no convolutions of a VGG"),
    }
    for name, (arrays, says) in changed.items():
        write_safetensors(tmp_path / f"{name}.safetensors", arrays, {})
        with pytest.raises(MioError, match=says):
            read(str(tmp_path / f"{name}.safetensors"))
    for files, options, says in (
        (str(VGG), {}, r"heads of LPIPS must be lin0.model.1.weight \(1, 4, 1, 1\), lin1.* with a comma"),
        (f"{VGGISH},{HEADS}", {"channels": 1}, "heads of LPIPS must be"),
        (LPIPS, {"channels": 1}, r"layer 0 has a weight \(4, 3, 3, 3\), not \[outputs, 1, 3, 3\]"),
        (LPIPS, {"size": (8, 3)}, "8 x 3 is too small for its 2 halvings"),
        (f"{VGG},none.pth", {}, "cannot read weights none.pth"),
    ):
        with pytest.raises(MioError, match=says):
            read(files, **options)  # type: ignore[arg-type]


def test_a_training_with_it_and_what_the_log_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spectrograms under VGGish: the term is in the loss and falls; the gradient reaches the model through it alone."""
    loss = VQLossConfig(l2=0.0, perceptual=0.5, perceptual_weights=str(VGGISH), codebook="ema")
    made = training.config("vit_vqgan", tmp_path, loss=loss)
    training.trainable("vit_vqgan").train(made, training.media())
    assert f"tiny: perceptual loss, weight 0.5, of 3 maps by {VGGISH}" in capsys.readouterr().out
    rows = training.rows(tmp_path)
    terms = [row["perceptual"] for row in rows]
    assert "l2" not in rows[0]
    assert np.mean(terms[-3:]) < np.mean(terms[:3])
    np.testing.assert_allclose(rows[0]["loss"], 0.5 * terms[0] + rows[0]["quantisation"], rtol=1e-5)


def test_off_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for loss, reason in (
        (VQLossConfig(), "loss.perceptual_weights is empty"),
        (VQLossConfig(perceptual=0.0, perceptual_weights=LPIPS), "loss.perceptual is 0"),
    ):
        found = watched(loss.perceptual_weights, loss.perceptual, 1, max, channels=3, size=(8, 8), name="tiny")
        assert found == (None, 1, max)
        assert f"tiny: no perceptual loss ({reason})" in capsys.readouterr().out
    assert dataclasses.replace(training.config("vit_vqgan", Path("x"))).loss.perceptual == 0.1
    with pytest.raises(MioError, match=r"loss\.perceptual is -1"):
        VQLossConfig(perceptual=-1)


def test_batches_carry_the_network() -> None:
    network, data, sample = watched(LPIPS, 1.0, 5, lambda data, key: data + key, channels=3, size=(8, 8), name="tiny")
    assert network is not None
    batch = sample(data, 2)
    assert isinstance(batch, Watched)
    assert batch.media == 7
    assert len(batch.arrays["heads"]) == 3
