"""Training and evaluation of the HiFi-GAN vocoder (Kong et al. 2020, section 2 for the losses)."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mio_jax.config import require
from mio_jax.nn.base import Params, apply, init_params, split_model
from mio_tokenizers.audio.griffin_lim import griffin_lim
from mio_tokenizers.audio.hifigan import HiFiGAN, HiFiGANSettings
from mio_tokenizers.audio.layers import fold
from mio_tokenizers.audio.mel import MelSpec, log_power, power_mel
from mio_tokenizers.audio.metrics import cents, log_spectral_distance, pitch_of
from mio_tokenizers.audio.vocoder import Vocoder
from mio_tokenizers.base import Audio
from mio_tokenizers.training import audio_losses as losses
from mio_tokenizers.training.audio import clips_of
from mio_tokenizers.training.audio_evaluation import IN_TUNE
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminators, WaveDiscriminatorSpec
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import Adversary, LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config


@dataclass(frozen=True)
class VocoderLossConfig:
    """Weights of the losses; the published ones are the default."""

    mel: float = 45.0  # L1 of log-mels
    stft: float = 0.0  # `audio_losses.stft_distance`: with it a short training without judges already finds harmonics
    stft_sizes: tuple[int, ...] = (2048, 1024, 512, 256)
    adversarial: float = 1.0  # 0: no discriminators
    feature_matching: float = 1.0  # times 2 in the formula itself
    adversarial_start: float = 0.0  # share of the steps before the discriminators start
    adversarial_learning_rate: float = 2e-4
    discriminators: WaveDiscriminatorSpec = field(default_factory=WaveDiscriminatorSpec)

    def __post_init__(self) -> None:
        for name in ("mel", "stft", "adversarial", "feature_matching"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require(
            0 <= self.adversarial_start < 1, f"loss.adversarial_start is {self.adversarial_start}; it must be in [0, 1)"
        )


@dataclass(frozen=True)
class HiFiGANTrainConfig(TokenizerTrainConfig):
    """`settings` describe the finished vocoder; in training its weights are normalised, then they are folded."""

    kind: str = "hifigan"
    settings: HiFiGANSettings = field(default_factory=HiFiGANSettings)
    segment_frames: int = 32  # frames of a training example: the published 8192 samples
    loss: VocoderLossConfig = field(default_factory=VocoderLossConfig)
    eval_sounds: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.segment_frames * self.settings.hop > MelSpec().n_fft,
            f"segment_frames is {self.segment_frames}; a segment must be longer than {MelSpec().n_fft} samples",
        )
        require(self.eval_sounds > 0, f"eval_sounds is {self.eval_sounds}; it must be positive")
        require(
            not self.settings.weight_norm,
            f"tokenizer config {self.name!r}: settings.weight_norm is for the training; leave it False",
        )


Config = HiFiGANTrainConfig


def mel_spec(settings: HiFiGANSettings) -> MelSpec:
    """The spectrograms that a vocoder of these settings reads."""
    return MelSpec(rate=settings.rate, hop=settings.hop, mels=settings.mels, high=settings.rate / 2)


def vocoder_mel(waves: Any, spec: MelSpec) -> Any:
    """Log-mel [b, mels, n // hop] of waves [b, n]: one frame for each hop of samples."""
    return log_power(power_mel(waves, spec), keep_zeros=False)[..., : waves.shape[-1] // spec.hop]


def make_sampler(config: HiFiGANTrainConfig, clips: np.ndarray) -> tuple[np.ndarray, Any]:
    """Device data and the function that draws waves [batch, segment] from it."""
    length, batch = config.segment_frames * config.settings.hop, config.optim.batch_size

    def sample(data: jax.Array, key: jax.Array) -> jax.Array:
        index_key, start_key = jax.random.split(key)
        index = jax.random.randint(index_key, (batch,), 0, data.shape[0])
        start = jax.random.randint(start_key, (batch,), 0, data.shape[1] - length + 1)
        cut = jax.vmap(lambda i, s: jax.lax.dynamic_slice(data[i], (s,), (length,)))(index, start)
        return cut.astype(jnp.float32)

    return clips, sample


def make_loss(config: HiFiGANTrainConfig, graphdef: Any, discriminators: Any) -> LossFn:
    """The loss of one batch of waves; there is no extra state."""
    weights, spec = config.loss, mel_spec(config.settings)

    def loss_fn(
        params: Params, extra: Any, wave: jax.Array, key: jax.Array, adversary: Params | None
    ) -> tuple[jax.Array, StepAux]:
        mel = vocoder_mel(wave, spec)
        made = apply(graphdef, params)(mel.swapaxes(1, 2))
        terms = {}
        if weights.mel:
            terms["mel"] = jnp.mean(jnp.abs(vocoder_mel(made, spec) - mel))
        if weights.stft:
            terms["stft"] = losses.stft_distance(wave, made, weights.stft_sizes)
        if adversary is not None:
            judge = apply(discriminators, adversary)
            scores, maps = judge(made)
            _, real_maps = judge(wave)
            terms["adversarial"] = losses.adversarial_loss(scores)
            terms["feature_matching"] = losses.feature_matching(jax.lax.stop_gradient(real_maps), maps)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), jnp.zeros(()))
        return total, StepAux(extra, terms, {"real": wave, "made": made})

    return loss_fn


def make_adversary(config: HiFiGANTrainConfig) -> tuple[Any, Adversary | None]:
    """(graphdef of the discriminators, the second parameter group), or (None, None) where they have no weight."""
    if not config.loss.adversarial:
        return None, None
    build = functools.partial(WaveDiscriminators, config.loss.discriminators)
    graphdef, _ = split_model(build)

    def loss(params: Params, outputs: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        judge = apply(graphdef, params)
        real, made = judge(outputs["real"])[0], judge(outputs["made"])[0]
        return losses.discriminator_loss(real, made), {"real_score": jnp.mean(real[0]), "made_score": jnp.mean(made[0])}

    key = jax.random.fold_in(jax.random.key(config.seed, impl="rbg"), 2)
    params = jax.jit(functools.partial(init_params, build))(key)
    optimizer = optax.adamw(config.loss.adversarial_learning_rate, b1=0.8, b2=0.99)
    return graphdef, Adversary(params, optimizer, loss, int(config.loss.adversarial_start * config.optim.steps))


def train(config: HiFiGANTrainConfig, media: Media) -> Vocoder:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    length = config.segment_frames * config.settings.hop
    arrays = [
        clips_of(array, length, name) for name, array in zip(config.media, select(media, config, "train"), strict=True)
    ]
    shortest = min(array.shape[1] for array in arrays)
    data, sample = make_sampler(config, np.concatenate([array[:, :shortest] for array in arrays]))
    build = functools.partial(HiFiGAN, dataclasses.replace(config.settings, weight_norm=True))
    graphdef, _ = split_model(build)
    params = jax.jit(functools.partial(init_params, build))(jax.random.key(config.seed, impl="rbg"))
    discriminators, adversary = make_adversary(config)
    loss_fn = make_loss(config, graphdef, discriminators)
    fitted = fit_config(config, loss_fn, params, data, sample, arrays, extra={}, adversary=adversary)
    Vocoder.from_params(config.settings, fold(fitted.params)).save(config.out, data_notice(config))
    return Vocoder.load(config.out)


def evaluate(config: HiFiGANTrainConfig, tokenizer: Vocoder, media: Media) -> dict[str, Any]:
    """Figures on held-out clips.

    `log_spectral_distance` in dB of what the vocoder makes of a clip's spectrogram, and `in_tune`, the share of clips
    with a pitch that keep it within 50 cents. Controls: Griffin-Lim on the same spectrogram, the next clip's
    spectrogram (`shuffled`), and `silence`.
    """
    held_out, spec = {}, mel_spec(config.settings)
    for name, array in zip(config.media, select(media, config, "test"), strict=True):
        clips = clips_of(array, spec.n_fft, name).astype(np.float32)
        clips = clips[np.linspace(0, len(clips) - 1, min(config.eval_sounds, len(clips))).astype(int)]
        clips = clips[:, : clips.shape[1] // spec.hop * spec.hop]
        mels = vocoder_mel(clips, spec)
        made = {
            "": np.stack([sound.samples for sound in tokenizer.decode_batch(mels)]),
            "_griffin_lim": np.stack([griffin_lim(mel, spec) for mel in mels]),
            "_silence": np.zeros_like(clips),
        }
        made["_shuffled"] = np.roll(made[""], 1, axis=0)
        pitches = [pitch_of(Audio(clip, spec.rate)) for clip in clips]
        figures: dict[str, Any] = {"n": len(clips), "pitched": int(np.sum(np.asarray(pitches) > 0))}
        for control, waves in made.items():
            pairs = [(Audio(a, spec.rate), Audio(b, spec.rate)) for a, b in zip(clips, waves, strict=True)]
            distance = np.mean([log_spectral_distance(a, b) for a, b in pairs])
            figures[f"log_spectral_distance{control}"] = round(float(distance), 3)
            kept = [abs(cents(pitch_of(b), p)) < IN_TUNE for (_, b), p in zip(pairs, pitches, strict=True) if p > 0]
            if kept:
                figures[f"in_tune{control}"] = round(float(np.mean(kept)), 4)
        held_out[name] = figures
    return {"fingerprint": tokenizer.fingerprint, "held_out": held_out}
