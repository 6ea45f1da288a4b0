"""Training of VQGAN, ViT-VQGAN and HiFi-GAN: they learn, resume, meet their discriminators, and are measured."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mio_jax.config_loading import load_config_file
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers import load
from mio_tokenizers.audio.hifigan import HiFiGANSettings
from mio_tokenizers.audio.vit_vqgan import ViTVQGANSettings
from mio_tokenizers.image.vqgan import VQGANSettings
from mio_tokenizers.training import hifigan, vit_vqgan, vqgan
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminators, WaveDiscriminatorSpec
from mio_tokenizers.training.config import TokenizerOptimConfig, TokenizerTrainConfig
from mio_tokenizers.training.image_augment import AugmentConfig
from mio_tokenizers.training.kinds import trainable
from mio_tokenizers.training.loop import Adversary, fit
from mio_tokenizers.training.style_discriminator import StyleDiscriminator, blur, spread
from mio_tokenizers.training.vq_loss import (
    AdversaryConfig,
    VQLossConfig,
    adversarial_losses,
    first_state,
    fooling_loss,
    make_adversary,
    make_loss,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "tokenizers"
STEPS = 14


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@functools.cache
def media() -> dict[str, np.ndarray]:
    """Discs on white, and short notes of five pitches."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    t = np.arange(3000) / 16000
    made: dict[str, np.ndarray] = {}
    for split, n in (("train", 16), ("test", 5)):
        at, colours = rng.uniform(2, 6, (n, 2, 1, 1)), rng.integers(0, 255, (n, 1, 1, 3))
        mask = (y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2 < 5
        made[f"{split}/made.image"] = np.where(mask[..., None], colours, 255).astype(np.uint8)
        hz = rng.choice([220, 330, 440, 550, 880], (n, 1))
        made[f"{split}/made.audio"] = (0.5 * np.sin(2 * np.pi * hz * t) * np.exp(-4 * t)).astype(np.float32)
    return made


def config(kind: str, folder: Path, **changes: Any) -> Any:
    optim = TokenizerOptimConfig(steps=STEPS, batch_size=4, learning_rate=3e-3, warmup_steps=2)
    common: dict[str, Any] = {
        "name": "tiny", "out": str(folder / "t.safetensors"), "work_dir": str(folder), "optim": optim,
        "log_every": 1, "checkpoint_every": 5,
    }  # fmt: skip
    if kind == "vqgan":
        sizes = VQGANSettings(
            resolution=8, ch=32, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), z_channels=4, n_embed=16
        )
        made: Any = vqgan.Config(media=("made.image",), settings=sizes, augment=AugmentConfig(scale=0.0), **common)
    elif kind == "vit_vqgan":
        vit = ViTVQGANSettings(
            size=(16, 8), patch=8, dim=16, layers=1, heads=2, head_dim=8, mlp_dim=16, codes=16, code_dim=4
        )
        made = vit_vqgan.Config(media=("made.audio",), settings=vit, eval_sounds=2, **common)
    else:
        small = HiFiGANSettings(
            upsample_rates=(16, 16), upsample_kernel_sizes=(32, 32), upsample_initial_channel=8,
            resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1, 2),), mels=16,
        )  # fmt: skip
        judges = WaveDiscriminatorSpec(periods=(2,), scales=0, divide=32)
        loss = hifigan.VocoderLossConfig(adversarial_start=0.6, discriminators=judges)
        made = hifigan.Config(
            media=("made.audio",), settings=small, segment_frames=8, eval_sounds=3, loss=loss, **common
        )
    return dataclasses.replace(made, **changes)


def rows(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "wall_s"} for line in lines]


def loss_of(codebook: str, judge: str) -> VQLossConfig:
    adversary = AdversaryConfig(weight=0.1, kind=judge, width=4, start=0.5, alone_every=3, alone_until=0.8)
    return VQLossConfig(l1=1.0, codebook=codebook, adversary=adversary)


@pytest.mark.parametrize(("kind", "codebook", "judge"), [("vqgan", "ema", "patch"), ("vit_vqgan", "loss", "style")])
def test_codes_are_learned_against_a_discriminator(kind: str, codebook: str, judge: str, tmp_path: Path) -> None:
    trainer, made = trainable(kind), config(kind, tmp_path, loss=loss_of(codebook, judge))
    tokenizer = trainer.train(made, media())
    log = rows(tmp_path)
    assert np.mean([row["l1"] for row in log[-3:]]) < np.mean([row["l1"] for row in log[:3]])
    assert "fool" not in log[6]
    assert log[7]["fool_weight"] > 0
    alone = [row["step"] for row in log if "grad_norm" not in row]
    assert alone == [10], "from step 8 on every third, while it lasts"
    assert ("revived" in log[0]) == (codebook == "ema")
    assert load(made.out).fingerprint == tokenizer.fingerprint
    figures = trainer.evaluate(made, tokenizer, media())
    assert json.loads(json.dumps(figures)) == figures
    held_out = figures["held_out"][made.media[0]]
    assert held_out["n"] == 5
    assert 0 < figures["codes_used"] <= 1
    if kind == "vit_vqgan":
        assert held_out["sound"]["n"] == 2
        assert held_out["mel_l1"] > 0
        assert held_out["mel_l1_patch_means"] > 0


@pytest.mark.slow
def test_training_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped as if killed while the discriminator is at work, it ends with the same weights."""
    changes = {"loss": loss_of("ema", "patch")}
    trainer = trainable("vit_vqgan")
    whole = trainer.train(config("vit_vqgan", tmp_path / "a", **changes), media())
    with monkeypatch.context() as patch:
        patch.setattr("mio_tokenizers.training.run.fit", functools.partial(fit, stop_after=11))
        trainer.train(config("vit_vqgan", tmp_path / "b", **changes), media())
    again = trainer.train(config("vit_vqgan", tmp_path / "b", **changes), media())
    assert again.fingerprint == whole.fingerprint
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_vocoder_learns_and_is_measured(tmp_path: Path) -> None:
    made = config("hifigan", tmp_path)
    vocoder = hifigan.train(made, media())
    log = rows(tmp_path)
    assert np.mean([row["mel"] for row in log[-3:]]) < 0.9 * np.mean([row["mel"] for row in log[:3]])
    assert "adversarial" not in log[7]
    assert {"adversarial", "feature_matching", "adversary_loss"} <= set(log[8])
    figures = hifigan.evaluate(made, vocoder, media())["held_out"]["made.audio"]
    assert figures["n"] == 3
    controls = {f"log_spectral_distance{c}" for c in ("", "_griffin_lim", "_silence", "_shuffled")}
    assert controls <= set(figures)
    assert all(np.isfinite(figures[name]) and figures[name] > 0 for name in controls)
    assert figures["log_spectral_distance"] != figures["log_spectral_distance_shuffled"]


# ------------------------------------------------------------------------------------------------------------ the loss


def test_adaptive_weight_is_the_ratio_of_the_pulls() -> None:
    made = config("vit_vqgan", Path("unused"))
    adversary = AdversaryConfig(weight=0.5, kind="patch", width=4, start=0.0)
    loss = VQLossConfig(adversary=adversary)
    build = functools.partial(vit_vqgan.ViTVQGAN, made.settings)
    graphdef, _ = split_model(build)
    params, extra = first_state(build, made.settings, loss, 0)
    judge, opponent = make_adversary(adversary, STEPS, 0, made.settings.size, 1)
    batch = jax.random.normal(jax.random.key(0), (4, 16, 8, 1))

    def run(weights: VQLossConfig) -> tuple[Any, dict[str, jax.Array]]:
        function = make_loss(weights, made.settings, graphdef, judge, vit_vqgan.PIVOT)

        def total(params: Any) -> tuple[jax.Array, Any]:
            return function(params, extra, batch, jax.random.key(1), opponent.params)

        gradient, aux = jax.jit(jax.grad(total, has_aux=True))(params)
        return gradient["model"]["decoder"]["decoder_proj"]["kernel"], aux.metrics

    def with_weight(weight: float, adaptive: bool, rebuild: float) -> VQLossConfig:
        changed = dataclasses.replace(adversary, weight=weight, adaptive=adaptive)
        return dataclasses.replace(loss, l2=rebuild, adversary=changed)

    _, metrics = run(with_weight(0.5, True, 1.0))
    rebuild, _ = run(with_weight(1e-30, False, 1.0))
    fool, _ = run(with_weight(1.0, False, 0.0))
    wanted = 0.5 * jnp.linalg.norm(rebuild) / (jnp.linalg.norm(fool) + 1e-4)
    assert float(metrics["fool_weight"]) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("kind", ["softplus", "hinge"])
def test_adversarial_losses_pull_scores_apart(kind: str) -> None:
    to_real, to_made = jax.grad(functools.partial(adversarial_losses, kind), argnums=(0, 1))(jnp.zeros(3), jnp.zeros(3))
    assert (to_real < 0).all()
    assert (to_made > 0).all()
    assert (jax.grad(functools.partial(fooling_loss, kind))(jnp.zeros(3)) < 0).all()


def test_steps_that_the_adversary_trains_alone() -> None:
    adversary = Adversary({}, optax.sgd(1.0), lambda *_: None, start=4, alone_every=3, alone_until=12)  # type: ignore[arg-type, return-value]
    assert [i for i in range(20) if adversary.alone(i)] == [6, 9]
    assert not any(dataclasses.replace(adversary, alone_every=0).alone(i) for i in range(20))


def test_style_discriminator_scores_each_medium_and_sees_the_spread() -> None:
    build = functools.partial(StyleDiscriminator, 4, channels=1, size=(16, 24))
    graphdef, _ = split_model(build)
    params = init_params(build, jax.random.key(0, impl="rbg"))
    x = jax.random.normal(jax.random.key(1), (4, 16, 24, 1))
    scores = apply(graphdef, params)(x)
    assert scores.shape == (4,)
    assert len(np.unique(scores)) == 4
    alike = jnp.repeat(x[:1], 4, axis=0)
    assert float(spread(alike)[..., -1].max()) < 1e-3 < float(spread(x)[..., -1].min())
    assert float(apply(graphdef, params)(alike)[0]) != pytest.approx(float(scores[0]), abs=1e-6)
    flat = jnp.ones((1, 8, 8, 2))
    np.testing.assert_allclose(blur(flat)[:, 2:-2, 2:-2], 1, rtol=1e-6)


def test_wave_discriminators_give_scores_and_maps_of_every_judge() -> None:
    spec = WaveDiscriminatorSpec(periods=(2, 3), scales=2, divide=32)
    build = functools.partial(WaveDiscriminators, spec)
    graphdef, _ = split_model(build)
    scores, maps = apply(graphdef, init_params(build, jax.random.key(0, impl="rbg")))(jnp.ones((2, 500)))
    assert len(scores) == len(maps) == 4
    assert all(score.shape[0] == 2 for score in scores)
    for bad, says in (({"periods": (), "scales": 0}, "name no judge"), ({"divide": 3}, "divide is 3")):
        with pytest.raises(MioError, match=says):
            WaveDiscriminatorSpec(**bad)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: AdversaryConfig(kind="big"), "loss.adversary.kind is 'big'; it must be one of patch, style"),
        (lambda: AdversaryConfig(alone_every=1), "alone_every is 1; it must be 0, or 2 or more"),
        (lambda: AdversaryConfig(start=1.0), "start is 1.0"),
        (lambda: VQLossConfig(codebook="kmeans"), "loss.codebook is 'kmeans'"),
        (lambda: VQLossConfig(l2=-1.0), "loss.l2 is -1.0; it must be 0 or more"),
        (lambda: config("hifigan", Path(), segment_frames=4), "segment_frames is 4; a segment must be longer"),
        (lambda: config("vit_vqgan", Path(), eval_sounds=-1), "eval_sounds is -1"),
    ],
)
def test_impossible_configs(made: Any, says: str) -> None:
    with pytest.raises(MioError, match=says):
        made()


@pytest.mark.parametrize("name", ["vqgan_tiny", "vit_vqgan_tiny", "hifigan_tiny"])
def test_configs_that_come_with_the_project(name: str) -> None:
    made = load_config_file(CONFIGS / f"{name}.py", (), TokenizerTrainConfig)
    assert isinstance(made, trainable(made.kind).Config)
    assert made.out.startswith("runs/"), "not bundled"
    assert made.data_licence
