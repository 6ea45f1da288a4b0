"""SEED's three trainings at a tiny size: losses against their formulas, what is trained, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mio_jax.errors import MioError
from mio_tokenizers import load
from mio_tokenizers.image.seed.contrastive import AlignerSettings, SeedAligner, TextTowerSettings, text_ids
from mio_tokenizers.image.seed.decoder import PixelDecoder
from mio_tokenizers.image.seed.preprocess import standardise
from mio_tokenizers.quantize import Codebook
from mio_tokenizers.text.training import SEPARATOR
from mio_tokenizers.training import seed_codebook, seed_decoder, seed_qformer
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.image_augment import AugmentConfig
from mio_tokenizers.training.seed_losses import contrastive_loss
from mio_tokenizers.training.seed_parts import CropConfig, Parts, crop, divide, rows, trunk_from
from tests.tokenizers.seed_tiny import DECODER, SETTINGS, pictures, tokenizer

CONFIGS = Path(__file__).parents[2] / "configs" / "tokenizers"
ALIGNER = AlignerSettings(SETTINGS, TextTowerSettings(length=12, dim=8, heads=2, mlp_dim=8, depth=1), projection=6)
OPTIM = TokenizerOptimConfig(steps=30, batch_size=8, learning_rate=1e-2, warmup_steps=2)
STILL = CropConfig(min_area=1.0, flip=0.0)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def media() -> dict[str, np.ndarray]:
    """Discs, named by the colour that they have most of."""
    out: dict[str, np.ndarray] = {}
    for split, seed in (("train", 0), ("test", 1)):
        discs = pictures(24, seed)
        names = ["rgb"[int(np.argmin(p.reshape(-1, 3).mean(axis=0)))] + f" disc {i}" for i, p in enumerate(discs)]
        out |= {f"{split}/s.image": discs, f"{split}/s.caption": blob(names)}
    return out


def blob(texts: list[str]) -> np.ndarray:
    return np.frombuffer(SEPARATOR.join(text.encode() for text in texts), np.uint8)


def qformer_config(folder: Path, **change: Any) -> seed_qformer.SeedQFormerTrainConfig:
    config = seed_qformer.SeedQFormerTrainConfig(
        name="q",
        out=str(folder / "q.safetensors"),
        work_dir=str(folder / "q"),
        media=("s.image", "s.caption"),
        settings=ALIGNER,
        frozen=(),
        crop=STILL,
        optim=OPTIM,
        log_every=5,
    )
    return dataclasses.replace(config, **change)


def codebook_config(folder: Path, **change: Any) -> seed_codebook.SeedCodebookTrainConfig:
    config = seed_codebook.SeedCodebookTrainConfig(
        name="c",
        out=str(folder / "c.safetensors"),
        work_dir=str(folder / "c"),
        media=("s.image",),
        settings=SETTINGS,
        frozen=(),
        targets="thumbnail",
        optim=OPTIM,
        log_every=5,
    )
    return dataclasses.replace(config, **change)


def decoder_config(folder: Path, spec: str, **change: Any) -> seed_decoder.SeedDecoderTrainConfig:
    config = seed_decoder.SeedDecoderTrainConfig(
        name="d",
        out=str(folder / "c.decoder.safetensors"),
        work_dir=str(folder / "d"),
        media=("s.image",),
        tokenizer=spec,
        settings=DECODER,
        loss=seed_decoder.DrawingLossConfig(edge=0.0, multiscale=0.0),
        augment=AugmentConfig(max_shift=1),
        variants=2,
        optim=OPTIM,
        log_every=5,
    )
    return dataclasses.replace(config, **change)


def losses(work_dir: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (Path(work_dir) / "metrics.jsonl").read_text().splitlines()]


def test_three_stages_one_after_another(tmp_path: Path) -> None:
    """Each starts from the last one's file and reduces its loss; the end draws pictures."""
    first = qformer_config(tmp_path)
    aligner = seed_qformer.train(first, media())
    assert isinstance(load(first.out), SeedAligner)
    assert losses(first.work_dir)[-1] < 0.9 * losses(first.work_dir)[0]
    figures = seed_qformer.evaluate(first, aligner, media())["held_out"]
    assert (figures["n"], figures["top10_chance"]) == (24, 0.4167)

    second = codebook_config(tmp_path, start=first.out, frozen=("trunk",))
    made = seed_codebook.train(second, media())
    assert losses(second.work_dir)[-1] < 0.9 * losses(second.work_dir)[0]
    for name, array in made.arrays.items():
        if name.startswith("trunk."):
            np.testing.assert_array_equal(array, aligner.arrays[name], err_msg=f"{name} is frozen")
    report = seed_codebook.evaluate(second, made, media())
    assert report["distillation"] < report["distillation_control_other"]
    assert 0 < report["codes_used"] <= 1

    third = decoder_config(tmp_path, second.out)
    drawer = seed_decoder.train(third, media())
    assert losses(third.work_dir)[-1] < 0.9 * losses(third.work_dir)[0]
    assert set(seed_decoder.evaluate(third, drawer, media())["held_out"]) == {
        *("n", "psnr", "psnr_control_other", "psnr_control_mean")
    }
    whole = load(second.out)
    assert whole.decode(whole.encode(pictures(1)[0])).shape == (16, 16, 3)
    with pytest.raises(MioError, match=r"this decoder draws SEED's codes"):
        seed_decoder.train(dataclasses.replace(third, tokenizer=first.out), media())
    wider = dataclasses.replace(DECODER, code_dim=5)
    with pytest.raises(MioError, match=r"are \(3, 5\); the codes of .* have \(3, 4\)"):
        seed_decoder.train(dataclasses.replace(third, settings=wider), media())


def test_targets_from_a_file_and_moving_averages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = {f"{split}/s.image": rng.standard_normal((24, 12)).astype(np.float32) for split in ("train", "test")}
    np.savez(tmp_path / "clip.npz", **targets)
    optim = dataclasses.replace(OPTIM, steps=6)
    loss = seed_codebook.SeedLossConfig(codebook="ema")
    config = codebook_config(tmp_path, targets=str(tmp_path / "clip.npz"), loss=loss, optim=optim)
    made = seed_codebook.train(config, media())
    assert {"distillation", "distillation_control_mean"} <= set(seed_codebook.evaluate(config, made, media()))
    np.savez(tmp_path / "clip.npz", **{"train/s.image": targets["train/s.image"][:3]})
    for text, split in ((r"has train/s.image of shape \(3, 12\)", "train"), ("lacks test/s.image", "test")):
        with pytest.raises(MioError, match=text):
            seed_codebook.read_targets(config, split, [24])
    (tmp_path / "clip.npz").write_text("no")
    with pytest.raises(MioError, match="cannot be read"):
        seed_codebook.read_targets(config, "train", [24])


def test_contrastive_loss_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 5, 4)))
    scores = a @ b.T / 0.3
    wanted = 0.0
    for s in (scores, scores.T):
        p = np.log(np.exp(s) / np.exp(s).sum(axis=1, keepdims=True))
        wanted += -np.mean(0.9 * np.diag(p) + 0.1 * p.mean(axis=1)) / 2
    np.testing.assert_allclose(
        contrastive_loss(jnp.asarray(a), jnp.asarray(b), jnp.asarray(0.3), 0.1), wanted, rtol=1e-5
    )


def test_only_the_last_query_speaks_for_the_picture(tmp_path: Path) -> None:
    """A change of the last query changes no other state, and the vector in the shared space is its projection."""
    parts = Parts(lambda key: seed_qformer.Aligner(ALIGNER, key))
    params = seed_qformer.first_params(qformer_config(tmp_path, query_std=1.0), parts)
    assert 0.6 < float(jnp.std(params["trunk.query_tokens"])) < 1.4
    seen = standardise(jnp.asarray(pictures(2), jnp.float32) / 255)

    @jax.jit
    def run(queries: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        model = parts.model(params | {"trunk.query_tokens": queries})
        states = model.trunk(seen)
        return states, model.image_project(states[:, -1]), model.pictures(seen)

    queries = params["trunk.query_tokens"]
    (before, projected, vectors), (after, *_) = run(queries), run(queries.at[-1].add(1.0))
    np.testing.assert_allclose(run(queries / 50)[0], before, atol=1e-4, err_msg="query_std changes nothing at first")
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert np.any(before[:, -1] != after[:, -1])
    np.testing.assert_allclose(vectors, projected / np.linalg.norm(projected, axis=1, keepdims=True), rtol=1e-5)


@given(st.lists(st.text(max_size=9), min_size=1, max_size=4))
def test_texts_are_bytes(texts: list[str]) -> None:
    ids = text_ids(texts, 16)
    for row, text in zip(ids, texts, strict=True):
        assert row[0] == 1
        assert bytes((row[1:][row[1:] > 0] - 2).tolist()) == text.encode()[:15]


def test_vectors_pass_unquantised_at_first(tmp_path: Path) -> None:
    """What is rebuilt does not depend on the codebook before `soften_steps`, and on it alone after twice as many."""
    loss = seed_codebook.SeedLossConfig(codebook="ema", soften_steps=4)
    config = codebook_config(tmp_path, loss=loss)
    parts = Parts(lambda key: seed_codebook.SeedModel(SETTINGS, key))
    params = parts.first(0, {})
    batch = {"pictures": jnp.asarray(pictures(4)), "kept": {}}
    run = jax.jit(seed_codebook.make_loss(config, parts))

    def rebuilt(step: float, codes: float) -> float:
        book = Codebook(jnp.full((10, 4), codes), jnp.ones(10), jnp.full((10, 4), codes))
        aux = run(params, {"step": jnp.asarray(step), "book": book}, batch, jax.random.key(0), None)[1]
        assert float(aux.extra["step"]) == step + 1
        return float(aux.metrics["distillation"])

    assert rebuilt(3.0, 0.0) == rebuilt(3.0, 5.0)
    assert rebuilt(8.0, 0.0) != rebuilt(8.0, 5.0)
    assert rebuilt(8.0, 0.0) == rebuilt(80.0, 0.0)


def test_shares_of_sets_in_a_batch() -> None:
    counts = (10, 1000)
    chosen = np.asarray(rows(jax.random.key(0), 4000, counts, (3.0, 1.0)))
    assert set(range(10)) <= set(chosen.tolist())
    assert chosen.max() < 1010
    assert abs(np.mean(chosen < 10) - 0.75) < 0.03
    np.testing.assert_array_equal(
        rows(jax.random.key(1), 50, counts, ()), jax.random.randint(jax.random.key(1), (50,), 0, 1010)
    )


def test_a_decoder_enters_with_unit_variance() -> None:
    """`centred` changes nothing but scale and origin: means of places vanish, what differs between pictures stays."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((400, 3, 4)) * 0.01 + rng.standard_normal((3, 4))).astype(np.float32)
    before = {"enter.kernel": jnp.asarray(rng.standard_normal((4, 8)), jnp.float32), "places": jnp.ones((3, 8))}
    after = seed_decoder.centred(before, vectors)
    entered = vectors @ np.asarray(after["enter.kernel"]) + np.asarray(after["places"])
    plain = ((vectors - vectors.mean(axis=0)) / np.sqrt(vectors.var(axis=0).mean())) @ np.asarray(
        before["enter.kernel"]
    )
    np.testing.assert_allclose(entered, plain + 1, atol=2e-3)


def test_one_map_fills_the_cells() -> None:
    """With `spread` and no layers among the cells, every code still reaches every cell."""
    settings = dataclasses.replace(DECODER, spread=(2, 3), draw_depth=0)
    parts = Parts(lambda key: PixelDecoder(settings, key))
    params = parts.first(0, {})
    run = jax.jit(jax.jacobian(lambda x: parts.model(params)(x)[0].reshape(4, 4, 4, 4, 3).mean(axis=(1, 3, 4))))
    slopes = np.abs(np.asarray(run(jax.random.normal(jax.random.key(0), (1, 3, 4))))).sum(axis=-1)
    assert slopes.shape == (4, 4, 1, 3)
    assert slopes.min() > 0
    with pytest.raises(MioError, match=r"spread is \(2,\); it must be empty or two positive numbers"):
        dataclasses.replace(DECODER, spread=(2,))
    with pytest.raises(MioError, match="draw_depth is 0"):
        dataclasses.replace(DECODER, draw_depth=0)


def test_crops_keep_flat_colour_and_differ() -> None:
    run = jax.jit(lambda pictures, key: crop(pictures, key, CropConfig(min_area=0.4)))
    flat = jnp.broadcast_to(jnp.asarray([0.2, 0.5, 0.9]), (6, 16, 16, 3))
    for seed in range(5):
        np.testing.assert_allclose(run(flat, jax.random.key(seed)), flat, atol=1e-5)
    one = jnp.broadcast_to(jnp.asarray(pictures(1), jnp.float32) / 255, (6, 16, 16, 3))
    made = np.asarray(run(one, jax.random.key(0)))
    assert made.min() >= 0
    assert made.max() <= 1
    assert len(np.unique(made.reshape(6, -1), axis=0)) == 6
    assert crop(flat, jax.random.key(0), STILL) is flat


def test_where_a_stage_starts(tmp_path: Path) -> None:
    """Published files, without BLIP-2's text side; what lacks; what freezes."""
    shapes = Parts(lambda key: seed_codebook.SeedModel(SETTINGS, key)).shapes
    arrays = {
        n: a for n, a in tokenizer().published_arrays().items() if n.startswith(("visual", "ln_v", "query", "Qf"))
    }
    tower = {n.removeprefix("visual_encoder."): a for n, a in arrays.items() if n.startswith("visual_encoder.")}
    text = {
        "Qformer.bert.encoder.layer.0.intermediate.dense.weight": np.ones((2, 2)),
        "Qformer.bert.encoder.layer.1.output.dense.bias": np.ones(2),
        "Qformer.bert.embeddings.word_embeddings.weight": np.ones((2, 2)),
        "itm_head.weight": np.ones(2),
    }
    save_file(tower, tmp_path / "eva_vit_g.safetensors")
    rest = {n: a for n, a in arrays.items() if not n.startswith("visual_encoder.")}
    save_file(rest | text, tmp_path / "blip2.safetensors")
    start = f"{tmp_path / 'eva_vit_g.safetensors'},{tmp_path / 'blip2.safetensors'}"
    found = trunk_from(start, SETTINGS, shapes)
    for name, array in found.items():
        np.testing.assert_array_equal(array, tokenizer().arrays[name])
    assert set(found) == {name for name in shapes if name.startswith("trunk.")}
    with pytest.raises(MioError, match=r"start: .*blip2\.safetensors does not fit .* missing \(visual_encoder"):
        trunk_from(str(tmp_path / "blip2.safetensors"), SETTINGS, shapes)
    with pytest.raises(MioError, match="start: there is nothing at none"):
        trunk_from("none", SETTINGS, shapes)
    trained, kept = divide(shapes, ("trunk.visual_encoder", "head"))
    assert kept.keys() | trained.keys() == shapes.keys()
    assert all(name.startswith(("trunk.visual_encoder.", "head.")) for name in kept)
    with pytest.raises(MioError, match=r"frozen names 'trunk\.vit', which is no part"):
        divide(shapes, ("trunk.vit",))
    with pytest.raises(MioError, match="everything is frozen"):
        divide({"head.x": 1}, ("head",))


@pytest.mark.parametrize(
    ("make", "change", "says"),
    [
        (qformer_config, {"frozen": ("trunk.visual_encoder",)}, "a frozen vision tower needs weights: set start"),
        (qformer_config, {"media": ("s.image",)}, "media must be pictures and their texts"),
        (qformer_config, {"label_smoothing": 1.0}, "must be in"),
        (qformer_config, {"query_std": 0.0}, "query_std is 0.0; it must be positive"),
        (codebook_config, {"frozen": ("trunk",)}, "frozen parts need weights: set start"),
        (codebook_config, {"weights": (1.0, 2.0)}, "one positive number for each of 1 media"),
        (decoder_config, {"spec": "t.safetensors", "weights": (0.0,)}, "one positive number for each of 1 media"),
        (codebook_config, {"targets": ""}, "loss.distillation needs targets"),
        (codebook_config, {"targets": "f.npz", "crop": CropConfig()}, "targets from a file are of whole pictures"),
        (codebook_config, {"settings": dataclasses.replace(SETTINGS, feat_dim=20)}, "feat_dim is 20; it must be 3 k"),
    ],
)
def test_configs_that_make_no_sense(tmp_path: Path, make: Any, change: dict[str, Any], says: str) -> None:
    with pytest.raises(MioError, match=says):
        make(tmp_path, **change)


def test_media_that_do_not_serve(tmp_path: Path) -> None:
    config = qformer_config(tmp_path)
    short = media() | {"train/s.caption": np.frombuffer(b"one", np.uint8)}
    with pytest.raises(MioError, match=r"24 of s\.image and 1 of s\.caption; each picture needs one text"):
        seed_qformer.train(config, short)
    with pytest.raises(MioError, match="24 pairs cannot fill a batch of 25"):
        seed_qformer.train(dataclasses.replace(config, optim=dataclasses.replace(OPTIM, batch_size=25)), media())
    masks = media() | {"train/s.image": np.zeros((3, 4, 4), bool)}
    with pytest.raises(MioError, match="SEED learns from pictures"):
        seed_codebook.train(codebook_config(tmp_path), masks)


@pytest.mark.parametrize("name", ["seed_qformer_tiny", "seed_codebook_tiny", "seed_decoder_tiny"])
def test_configs_on_disk(name: str) -> None:
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    assert config.name == name
    if name == "seed_decoder_tiny":
        assert config.out == config.tokenizer.replace(".safetensors", ".decoder.safetensors")
