"""Losses of SpeechTokenizer's training, and the discriminators that it is trained against."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import require, require_choice
from mio_jax.nn.base import Module, apply, init_params, split_model
from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.codec import Codec
from mio_tokenizers.training import audio_losses as losses
from mio_tokenizers.training.audio import used_share
from mio_tokenizers.training.audio_discriminators import Maps, MultiSTFTDiscriminator, STFTDiscriminatorSpec
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminators, WaveDiscriminatorSpec
from mio_tokenizers.training.loop import Adversary, LossFn, StepAux, make_optimizer
from mio_tokenizers.training.speech_teacher import as_float

AXES = ("dimension", "frame")


@dataclass(frozen=True)
class SpeechLossConfig:
    """Weights of the losses, the published ones by default; 0 leaves one out.

    Attributes:
      distill_axis: "dimension": the cosine of each dimension's course over time (the "D axis" of the released model);
        "frame": the distance and cosine of each frame (the "T axis").
      distill_cosine: of "frame", the weight of the cosine beside the distance.
      adversarial: least squares, of all discriminators; 0: there are none, and no feature matching.
      feature_matching: times 2 in the formula itself.
      adversarial_start: share of the steps before the discriminators start; published: 0.
    """

    mel: float = 1.0
    mel_weights: tuple[float, ...] = (45.0, 1.0, 1.0, 1.0)  # one a window size
    mel_sizes: tuple[int, ...] = (1024, 512, 256, 128)
    mel_hops: tuple[int, ...] = (240, 120, 60, 30)
    mels: int = 80
    mel_high: float = 8000.0  # Hz
    wave: float = 500.0
    commitment: float = 10.0
    distillation: float = 120.0
    distill_axis: str = "dimension"
    distill_cosine: float = 1.0
    adversarial: float = 1.0
    feature_matching: float = 1.0
    adversarial_start: float = 0.0
    adversarial_learning_rate: float = 1e-4
    stft: STFTDiscriminatorSpec = field(default_factory=STFTDiscriminatorSpec)
    waves: WaveDiscriminatorSpec = field(default_factory=WaveDiscriminatorSpec)

    def __post_init__(self) -> None:
        for name in ("mel", "wave", "commitment", "distillation", "distill_cosine", "adversarial", "feature_matching"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require_choice("loss.distill_axis", self.distill_axis, AXES)
        require(
            len(self.mel_weights) == len(self.mel_sizes) == len(self.mel_hops),
            "loss.mel_weights, mel_sizes and mel_hops must have one entry each for every window size",
        )
        require(
            0 <= self.adversarial_start < 1, f"loss.adversarial_start is {self.adversarial_start}; it must be in [0, 1)"
        )


class SpeechDiscriminators(Module):
    """Spectrograms, periods, scales (the first normalised by its spectrum): [B, N] -> all scores and feature maps."""

    def __init__(self, config: SpeechLossConfig, key: jax.Array) -> None:
        stft_key, wave_key = jax.random.split(key)
        self.stft = MultiSTFTDiscriminator(config.stft, stft_key)
        self.waves = WaveDiscriminators(config.waves, wave_key, spectral_first=True)

    def __call__(self, x: jax.Array) -> tuple[list[jax.Array], list[Maps]]:
        (first, first_maps), (second, second_maps) = self.stft(x), self.waves(x)
        return first + second, first_maps + second_maps


def make_adversary(config: Any) -> tuple[Any, Adversary | None]:
    """(graphdef of the discriminators, the second parameter group), or (None, None) where they have no weight.

    `config`: a `SpeechTokenizerTrainConfig`. Its optimizer is the codec's, at `loss.adversarial_learning_rate`.
    """
    if not config.loss.adversarial:
        return None, None
    build = functools.partial(SpeechDiscriminators, config.loss)
    graphdef, _ = split_model(build)

    def loss(params: Any, outputs: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        judge = apply(graphdef, params)
        real, made = judge(outputs["real"])[0], judge(outputs["made"])[0]
        means = {
            name: jnp.mean(jnp.stack([jnp.mean(score) for score in scores]))
            for name, scores in (("real_score", real), ("made_score", made))
        }
        return losses.discriminator_loss(real, made), means

    start = int(config.loss.adversarial_start * config.optim.steps)
    optim = dataclasses.replace(
        config.optim, learning_rate=config.loss.adversarial_learning_rate, steps=config.optim.steps - start
    )
    key = jax.random.fold_in(jax.random.key(config.seed, impl="rbg"), 2)
    params = jax.jit(functools.partial(init_params, build))(key)
    return graphdef, Adversary(params, make_optimizer(optim), loss, start)


def make_loss(config: Any, graphdef: Any, discriminators: Any) -> LossFn:
    """The loss of a batch {"wave", "teacher"}; the extra state is the `RVQState`, which learns by moving averages."""
    weights, spec = config.loss, config.settings

    def distillation(feature: jax.Array, teacher: jax.Array) -> jax.Array:
        if weights.distill_axis == "dimension":
            return losses.distill_by_dimension(feature, teacher)
        return losses.distill_by_frame(feature, teacher, weights.distill_cosine)

    def loss_fn(
        params: Any, books: rvq.RVQState, batch: dict[str, jax.Array], key: jax.Array, adversary: Any
    ) -> tuple[jax.Array, StepAux]:
        model: Codec = apply(graphdef, params)
        wave = batch["wave"]
        quantized, books = rvq.train_step(
            books,
            model.features(wave),
            key,
            decay=config.codebook_decay,
            dead_below=config.dead_below,
            revive=config.revive,
        )
        made = model.synthesize(quantized.quantized, quantized.quantized).wave
        terms = {"commitment": quantized.commitment}
        if weights.mel:
            scales = losses.mel_distances(
                wave, made, weights.mel_sizes, weights.mel_hops, weights.mels, spec.sample_rate, weights.mel_high
            )
            terms["mel"] = sum((w * s for w, s in zip(weights.mel_weights, scales, strict=True)), jnp.zeros(()))
        if weights.wave:
            terms["wave"] = losses.wave_l1(wave, made)
        if weights.distillation:
            terms["distillation"] = distillation(
                model.semantic(quantized.layers[0]), batch["teacher"].astype(jnp.float32)
            )
        if adversary is not None:
            judge = apply(discriminators, adversary)
            made_scores, made_maps = judge(made)
            _, real_maps = judge(wave)
            terms["adversarial"] = losses.adversarial_loss(made_scores)
            terms["feature_matching"] = losses.feature_matching(jax.lax.stop_gradient(real_maps), made_maps)
        used = {f"used_{i}": used_share(codes, spec.codebook_size) for i, codes in enumerate(quantized.codes)}
        total = sum((getattr(weights, name) * value for name, value in terms.items()), jnp.zeros(()))
        return total, StepAux(books, terms | used, {"real": wave, "made": made})

    return loss_fn


def to_batch(data: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """What `Segments` cut, with sounds as float32 in [-1, 1]."""
    return data | {"wave": as_float(data["wave"])}
