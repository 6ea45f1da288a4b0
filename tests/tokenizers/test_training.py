"""Training of tokenizers: the shared loop, the codebook, the image losses, and the command."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.cli.main import main
from mio_jax.data.media_arrays import collect_media, load_media, pack_texts, save_media, unpack_texts
from mio_jax.data.sources import SOURCES
from mio_jax.errors import MioError
from mio_tokenizers import Audio, load
from mio_tokenizers.image import ImageVQSettings
from mio_tokenizers.quantize import Codebook, nearest, new_codebook, perplexity, straight_through, update_codebook
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.image import ImageLossConfig, ImageVQTrainConfig, pictures_of
from mio_tokenizers.training.image_augment import AugmentConfig, augment, move, rotate_hue
from mio_tokenizers.training.image_losses import edge_weights, psnr, reconstruction_losses
from mio_tokenizers.training.kinds import trainable
from mio_tokenizers.training.loop import Adversary, Fitted, StepAux, fit, make_optimizer
from mio_tokenizers.training.progress import ProgressLine, clock

# ------------------------------------------------------------------------------------------------------- the loop

DATA = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
OPTIM = TokenizerOptimConfig(steps=20, batch_size=8, learning_rate=0.1, warmup_steps=3)


def regress(params: Any, extra: Any, batch: jax.Array, key: jax.Array, adversary: Any) -> tuple[jax.Array, StepAux]:
    """A line through data with noise drawn anew at each step, and a count of the steps."""
    target = batch @ jnp.array([1.0, -2.0, 0.5, 3.0]) + 0.01 * jax.random.normal(key, batch.shape[:1])
    loss = jnp.mean((batch @ params["w"] - target) ** 2)
    if adversary is not None:
        loss += 0.01 * jnp.sum(params["w"] * adversary["v"])
    metrics = {"seen": extra["steps"].astype(jnp.float32)}
    return loss, StepAux({"steps": extra["steps"] + 1}, metrics, {"w": params["w"]})


def opponent(start: int) -> Adversary:
    def loss(params: Any, outputs: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = jnp.sum((params["v"] - outputs["w"]) ** 2)
        return value, {"distance": value}

    return Adversary({"v": jnp.zeros(4)}, optax.sgd(0.1), loss, start)


def run(folder: Path, **changes: Any) -> Fitted:
    options = {"adversary": opponent(8), "checkpoint_every": 6, "log_every": 5, "seed": 3} | changes
    return fit(
        options.pop("loss_fn", regress),
        {"w": jnp.zeros(4)},
        DATA,
        lambda data, key: data[jax.random.randint(key, (OPTIM.batch_size,), 0, len(data))],
        make_optimizer(OPTIM),
        OPTIM.steps,
        work_dir=folder,
        extra={"steps": jnp.zeros((), jnp.int32)},
        **options,
    )


def rows(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "wall_s"} for line in lines]


def equal(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b))


def test_loss_falls_and_state_is_kept(tmp_path: Path) -> None:
    fitted = run(tmp_path)
    logged = rows(tmp_path)
    assert [row["step"] for row in logged] == [1, 5, 10, 15, 20]
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
    assert int(fitted.extra["steps"]) == 20
    assert fitted.metrics["seen"] == 19
    assert "distance" not in logged[1], "the adversary starts at its step"
    assert "distance" in logged[2]
    assert float(jnp.abs(fitted.adversary["v"]).sum()) > 0


def test_resumed_training_equals_an_unbroken_one(tmp_path: Path) -> None:
    """Killed twice: before the adversary starts, and later between two checkpoints, in the middle of writing a row."""
    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", stop_after=7)
    run(tmp_path / "broken", stop_after=13)
    with open(tmp_path / "broken" / "metrics.jsonl", "a") as file:
        file.write('{"step": 15, "loss": 1e9}\n{"step": 16, "lo')
    resumed = run(tmp_path / "broken")
    assert equal(whole[:3], resumed[:3])
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")
    before = (tmp_path / "broken" / "metrics.jsonl").read_text()
    assert equal(whole.params, run(tmp_path / "broken").params), "a finished training is not repeated"
    assert (tmp_path / "broken" / "metrics.jsonl").read_text() == before


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, stop_after=6)
    with pytest.raises(MioError, match="is of another configuration; remove that folder"):
        run(tmp_path, seed=4)
    with pytest.raises(MioError, match="is of another configuration"):
        run(tmp_path, adversary=None)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(MioError, match=r"state\.safetensors is not a whole safetensors file"):
        run(tmp_path)


def test_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    def bad(params: Any, extra: Any, batch: Any, key: Any, adversary: Any) -> tuple[jax.Array, StepAux]:
        loss, aux = regress(params, extra, batch, key, adversary)
        return loss * jnp.where(extra["steps"] == 6, jnp.nan, 1.0), aux

    with pytest.raises(MioError, match="loss is not finite at step 10; lower optim.learning_rate"):  # noqa: RUF043
        run(tmp_path, loss_fn=bad, checkpoint_every=100)
    assert not (tmp_path / "state.safetensors").exists()


def test_progress_line_shows_rate_and_time_left() -> None:
    stream = io.StringIO()
    line = ProgressLine(10, "codec", start=2, stream=stream)
    line.show(4, {"loss": 0.5})
    assert stream.getvalue().startswith("codec: step 4/10  ")
    assert "steps/s  left 0:" in stream.getvalue()
    assert stream.getvalue().endswith("loss 0.5\n")
    assert [clock(s) for s in (5, 75.9, 3661)] == ["0:05", "1:15", "1:01:01"]


# --------------------------------------------------------------------------------------------------- the codebook


def test_nearest_equals_exhaustive_search() -> None:
    rng = np.random.default_rng(0)
    x, codes = rng.standard_normal((3, 5, 4)).astype(np.float32), rng.standard_normal((7, 4)).astype(np.float32)
    expected = np.argmin(((x[..., None, :] - codes) ** 2).sum(-1), axis=-1)
    got = nearest(jnp.asarray(x), jnp.asarray(codes))
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, expected)


def test_straight_through_passes_the_gradient() -> None:
    x, q = jnp.array([0.2, 0.7]), jnp.array([0.0, 1.0])
    np.testing.assert_array_equal(straight_through(x, q), q)
    np.testing.assert_array_equal(
        jax.grad(lambda v: jnp.sum(straight_through(v, q) * jnp.array([2.0, 3.0])))(x), [2, 3]
    )


def test_codebook_follows_moving_averages() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12, 3)).astype(np.float32)
    book = Codebook(
        *(jnp.asarray(a, jnp.float32) for a in (rng.standard_normal((4, 3)), [3, 2, 2, 5], rng.random((4, 3))))
    )
    chosen = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0], np.int32)
    got, revived = update_codebook(book, x, chosen, jax.random.key(0), decay=0.8, revive_below=0.01)
    for i in range(4):
        mine = x[chosen == i]
        count = 0.8 * float(book.counts[i]) + 0.2 * len(mine)
        total = 0.8 * np.asarray(book.sums[i]) + 0.2 * mine.sum(0)
        np.testing.assert_allclose(got.counts[i], count, rtol=1e-6)
        np.testing.assert_allclose(got.codes[i], total / count, rtol=1e-5)
    assert int(revived) == 0


def test_unused_codes_become_vectors_of_the_batch() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    book = new_codebook(jax.random.key(5), 8, 3, unit=True)
    chosen = nearest(jnp.asarray(x), book.codes[:2])  # six codes are never used
    got, revived = update_codebook(book, x, chosen, jax.random.key(1), decay=0.9, revive_below=0.03, unit=True)
    assert int(revived) == 6
    distance = np.linalg.norm(np.asarray(got.codes)[2:, None] - x, axis=-1)
    assert (distance.min(axis=1) < 1e-5).all(), "revived codes are vectors of the batch"
    assert len(set(distance.argmin(axis=1).tolist())) == 6, "and all different ones"
    np.testing.assert_allclose(np.linalg.norm(got.codes, axis=-1), 1, rtol=1e-5)
    after, revived = update_codebook(got, x, nearest(x, got.codes), jax.random.key(2), decay=0.9, revive_below=0.03)
    assert int(revived) == 0, "a revived code gets time to win vectors"
    del after


def test_perplexity() -> None:
    assert float(perplexity(jnp.arange(8), 8)) == pytest.approx(8, rel=1e-5)
    assert float(perplexity(jnp.zeros(8, jnp.int32), 8)) == pytest.approx(1, rel=1e-5)


# ---------------------------------------------------------------------------------------- image losses, augmentation


def test_losses_are_zero_for_equal_pictures_and_punish_lost_edges() -> None:
    x = jnp.zeros((1, 16, 16, 3)).at[:, :, 8:].set(1.0)
    assert all(float(v) == 0 for v in reconstruction_losses(x, x, 2.0).values())
    assert float(psnr(x, x)[0]) == pytest.approx(100, abs=0.1)
    assert float(psnr(x, x - 0.1 * x)[0]) == pytest.approx(-10 * np.log10(0.005), rel=1e-5)
    weights = np.asarray(edge_weights(x, 2.0))[0, :, :, 0]
    np.testing.assert_array_equal(weights, np.where(np.isin(np.arange(16), (7, 8)), 3.0, 1.0)[None].repeat(16, 0))
    blurred = x.at[:, :, 7].set(0.25).at[:, :, 8].set(0.75)
    washed = x + 0.25 * jnp.where(jnp.isin(jnp.arange(16), jnp.array([2, 12])), 1.0, 0.0)[None, None, :, None]
    near, far = (reconstruction_losses(made, x, 2.0) for made in (blurred, washed))
    assert float(near["l1"]) == pytest.approx(3 * float(far["l1"]), rel=1e-5), "errors on edges weigh more"
    flat = reconstruction_losses(x + 0.5, x, 0.0)
    assert float(flat["edge"]) == 0
    assert float(flat["multiscale"]) == pytest.approx(0.5)


def test_no_augmentation_is_identity() -> None:
    x = jnp.asarray(np.random.default_rng(0).random((3, 16, 16, 3)), jnp.float32)
    off = AugmentConfig(flip=0, transpose=0, shift=0, scale=0, hue=0)
    np.testing.assert_allclose(augment(x, jax.random.key(0), off), x, atol=1e-6)


def test_shift_is_by_whole_pixels_and_fills_with_the_corner() -> None:
    x = jnp.asarray(np.random.default_rng(0).random((1, 16, 16, 3)), jnp.float32)
    moved = np.asarray(move(x, jnp.ones(1), jnp.array([[2.0, -3.0]])))[0]
    np.testing.assert_allclose(moved[2:, :-3], np.asarray(x)[0, :-2, 3:], atol=1e-6)
    np.testing.assert_allclose(moved[:2], np.broadcast_to(x[0, 0, 0], (2, 16, 3)), atol=1e-6)


@given(seed=st.integers(0, 1000))
def test_augmented_pictures_stay_in_range_and_masks_stay_grey(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.repeat((rng.random((2, 16, 16, 1)) < 0.5).astype(np.float32), 3, -1)
    always = AugmentConfig(flip=1, transpose=1, shift=1, scale=1, hue=1)
    made = np.asarray(_augment(jnp.asarray(mask), jax.random.key(seed), always))
    assert made.shape == mask.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert np.ptp(made, axis=-1).max() < 2e-3


_augment = jax.jit(augment, static_argnums=2)


def test_hue_turns_colours_and_comes_back() -> None:
    x = jnp.asarray(0.3 + 0.4 * np.random.default_rng(0).random((2, 4, 4, 3)), jnp.float32)
    turned = rotate_hue(x, jnp.array([1.0, 2.0]))
    assert float(jnp.abs(turned - x).max()) > 0.05
    np.testing.assert_allclose(rotate_hue(turned, jnp.array([-1.0, -2.0])), x, atol=5e-3)


# ------------------------------------------------------------------------------------------------ the image trainer

TINY = ImageVQSettings(
    image_size=16, codes=16, code_dim=4, channels=(8, 8), encoder_blocks=(0, 0), decoder_blocks=(0, 1)
)
NAMES = ("shapes.image", "shapes.mask")


@functools.cache
def shapes() -> dict[str, np.ndarray]:
    """Discs of random colours on white, and their masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    media: dict[str, np.ndarray] = {}
    for split, n in (("train", 24), ("test", 6)):
        at, radius = rng.uniform(4, 12, (n, 2, 1, 1)), rng.uniform(2, 5, (n, 1, 1))
        mask = (y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2 < radius**2
        colours = rng.integers(0, 255, (n, 1, 1, 3))
        media[f"{split}/shapes.mask"] = mask
        media[f"{split}/shapes.image"] = np.where(mask[..., None], colours, 255).astype(np.uint8)
    return media


def config(folder: Path, **changes: Any) -> ImageVQTrainConfig:
    made = ImageVQTrainConfig(
        name="tiny",
        out=str(folder / "tiny.safetensors"),
        work_dir=str(folder),
        media=NAMES,
        weights=(0.6, 0.4),
        settings=TINY,
        optim=TokenizerOptimConfig(steps=20, batch_size=8, learning_rate=5e-3, warmup_steps=2),
        log_every=1,
        checkpoint_every=7,
    )
    return dataclasses.replace(made, **changes)


def test_image_training_learns_writes_and_evaluates(tmp_path: Path) -> None:
    adversarial = ImageLossConfig(adversarial=0.02, adversarial_start=0.8, adversarial_width=4)
    kind, made = trainable("image_vq"), config(tmp_path, loss=adversarial)
    tokenizer = kind.train(made, shapes())
    logged = rows(tmp_path)
    assert len(logged) == 20
    assert np.mean([row["l1"] for row in logged[-3:]]) < 0.7 * np.mean([row["l1"] for row in logged[:3]])
    assert "fool" not in logged[15]
    assert all(np.isfinite(row["fool"]) for row in logged[16:])
    assert load(made.out).fingerprint == tokenizer.fingerprint
    figures = kind.evaluate(made, tokenizer, shapes())
    assert figures["held_out"].keys() == set(NAMES)
    assert figures["held_out"]["shapes.image"]["n"] == 6
    assert figures["held_out"]["shapes.image"]["psnr"] > 8
    assert 0 <= figures["held_out"]["shapes.mask"]["iou"] <= 1
    assert "iou" not in figures["held_out"]["shapes.image"]
    assert 1 <= figures["perplexity"] <= 16
    assert json.loads(json.dumps(figures)) == figures


@pytest.mark.slow
def test_image_training_resumes_with_its_discriminator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped as if killed after step 11, a training with an adversary ends with the same weights, bit for bit."""
    changes = {
        "loss": ImageLossConfig(adversarial=0.1, adversarial_start=0.3, adversarial_width=4),
        "optim": TokenizerOptimConfig(steps=14, batch_size=4, warmup_steps=2),
    }
    kind = trainable("image_vq")
    whole = kind.train(config(tmp_path / "a", **changes), shapes())
    with monkeypatch.context() as patch:
        patch.setattr("mio_tokenizers.training.run.fit", functools.partial(fit, stop_after=11))
        kind.train(config(tmp_path / "b", **changes), shapes())
    again = kind.train(config(tmp_path / "b", **changes), shapes())
    assert again.fingerprint == whole.fingerprint
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "video"}, "kind is 'video'; it must be one of text, image_vq, vqgan, audio_rvq"),
        ({"media": ("openmoji",), "weights": ()}, "'openmoji' is not of the form 'source.field'"),
        ({"media": ()}, "media is empty"),
        ({"weights": (1.0,)}, "1 weights for 2 media"),
        ({"out": ""}, "out is empty"),
        ({"codebook_decay": 1.0}, r"codebook_decay is 1.0; it must be in \(0, 1\)"),
    ],
)
def test_impossible_configs_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(MioError, match=message):
        config(tmp_path, **change)


def test_media_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MioError, match="lack train/shapes.mask; they hold train/shapes.image"):  # noqa: RUF043
        trainable("image_vq").train(config(tmp_path), {"train/shapes.image": shapes()["train/shapes.image"]})
    with pytest.raises(MioError, match=r"media m are float32 \[2, 16, 16, 3\]"):
        pictures_of(np.zeros((2, 16, 16, 3), np.float32), 16, "m")
    with pytest.raises(MioError, match="media m hold no picture"):
        pictures_of(np.zeros((0, 16, 16), np.bool_), 16, "m")
    with pytest.raises(
        MioError, match="unknown kind of tokenizer 'video'; there are: text, image_vq, vqgan, audio_rvq"
    ):
        trainable("video")


# ---------------------------------------------------------------------------------------------- media and the command


class Fake:
    """A source of two examples a split, with every kind of field."""

    name = "fake"

    def examples(self, split: str) -> Any:
        for i in range(2):
            yield {
                "image": shapes()[f"{split}/shapes.image"][i],
                "audio": Audio(np.full(5, i / 10, np.float32), 16000),
                "caption": f"{split} {i}",
                "captions": {"de": f"eins {i}", "zh": "一"},
                "questions": [["what?", "red"], ["is it?", "no"]],
                "ragged": np.zeros((i + 1, 2)),
            }


@pytest.fixture
def fake_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "fake", f"{__name__}:Fake")


@pytest.mark.usefixtures("fake_source")
def test_media_are_collected_by_field(tmp_path: Path) -> None:
    names = ["fake.image", "fake.audio", "fake.caption", "fake.captions", "fake.questions"]
    media = collect_media(names)
    assert media["train/fake.image"].shape == (2, 16, 16, 3)
    np.testing.assert_allclose(media["test/fake.audio"], [[0] * 5, [0.1] * 5], rtol=1e-6)
    assert unpack_texts(media["test/fake.caption"]) == ["test 0", "test 1"]
    assert unpack_texts(media["train/fake.captions"]) == ["eins 0", "一", "eins 1", "一"]
    assert unpack_texts(media["train/fake.questions"])[:2] == ["what? red", "is it? no"]
    save_media(tmp_path / "m.npz", media)
    assert equal(load_media(tmp_path / "m.npz"), media)
    with pytest.raises(MioError, match="'fake' have no field 'imag'"):
        collect_media(["fake.imag"])
    with pytest.raises(MioError, match="different shapes"):
        collect_media(["fake.ragged"])
    with pytest.raises(MioError, match="unknown source 'fak'"):
        collect_media(["fak.image"])
    assert unpack_texts(pack_texts([])) == []


def test_damaged_media_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_media(path, shapes())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(MioError, match="not a whole media file"):
        load_media(path)
    with pytest.raises(MioError, match="there is no media file"):
        load_media(tmp_path / "none.npz")


def test_command_trains_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tiny.py"
    file.write_text(
        "from mio_tokenizers.image.model import ImageVQSettings\n"
        "from mio_tokenizers.training.image import ImageVQTrainConfig\n"
        "def get_config():\n"
        f"    return ImageVQTrainConfig(name='t', out={str(tmp_path / 't.safetensors')!r},\n"
        f"        work_dir={str(tmp_path / 'w')!r}, media={NAMES}, settings={TINY!r})\n"
    )
    media = tmp_path / "media.npz"
    save_media(media, shapes())
    common = ["--config", str(file), "--media", str(media), "--config.optim.steps=3", "--config.optim.batch_size=4"]
    assert main(["tokenizer", "train", *common]) == 0
    out = capsys.readouterr()
    assert "wrote" in out.out
    assert "step 3/3" in out.err
    first = json.loads((tmp_path / "w" / "eval.json").read_text())
    assert json.loads((tmp_path / "w" / "config.json").read_text())["optim"]["steps"] == 3
    assert main(["tokenizer", "eval", *common, "--out", str(tmp_path / "again.json")]) == 0
    assert json.loads((tmp_path / "again.json").read_text()) == first
    assert main(["tokenizer", "eval", *common, "--tokenizer", "bundled:image_vq_tini"]) == 2
    assert "there is no bundled tokenizer 'image_vq_tini'" in capsys.readouterr().err
    assert main(["tokenizer", "train", *common, "--config.setings.codes=8"]) == 2
    assert "did you mean settings" in capsys.readouterr().err
    assert main(["tokenizer", "export-media", "--config", str(file)]) == 2
    assert "needs --out" in capsys.readouterr().err
