"""Training and evaluation of the ViT-VQGAN of spectrograms."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.nn.base import split_model
from mio_tokenizers.audio.mel import CODE_SCALE, MelSpec, log_power, normalise_mel, power_mel
from mio_tokenizers.audio.mel_tokenizer import MelTokenizer, WaveformTokenizer, spectrograms
from mio_tokenizers.audio.vit_vqgan import ViTVQGAN, ViTVQGANSettings
from mio_tokenizers.quantize import perplexity
from mio_tokenizers.training.audio import clips_of
from mio_tokenizers.training.audio_evaluation import reconstruction_figures
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.perceptual import watched
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.vq_loss import VQLossConfig, first_state, learned_codebook, make_adversary, make_loss

PIVOT = ("decoder", "decoder_proj", "kernel")


@dataclass(frozen=True)
class ViTVQGANTrainConfig(TokenizerTrainConfig):
    """Spectrograms are of 16 kHz, with as many mels and frames as `settings.size` says."""

    kind: str = "vit_vqgan"
    settings: ViTVQGANSettings = field(default_factory=ViTVQGANSettings)
    loss: VQLossConfig = field(default_factory=lambda: VQLossConfig(perceptual=0.1))
    eval_sounds: int = 64  # held-out clips that are also judged as sound, through Griffin-Lim

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.eval_sounds >= 0, f"eval_sounds is {self.eval_sounds}; it must be 0 or more")


Config = ViTVQGANTrainConfig


def whole_mels(clips: np.ndarray, spec: MelSpec, frames: int) -> np.ndarray:
    """Normalised log-mels of whole clips [n, samples], silence behind the short ones. float16 [n, mels, frames+]."""
    missing = max((frames - 1) * spec.hop - clips.shape[1], 0)
    out = []
    for block in np.array_split(clips, max(len(clips) // 64, 1)):  # float64 frames of all clips would fill the memory
        padded = np.pad(block.astype(np.float32), ((0, 0), (0, missing)))
        out.append(normalise_mel(log_power(power_mel(padded, spec), keep_zeros=False)).astype(np.float16))
    return np.concatenate(out)


def make_sampler(config: ViTVQGANTrainConfig, mels: np.ndarray) -> tuple[np.ndarray, Any]:
    """Device data and the function that draws [batch, mels, frames, 1] from it, anywhere in the clips."""
    frames, batch = config.settings.size[1], config.optim.batch_size

    def sample(data: jax.Array, key: jax.Array) -> jax.Array:
        index_key, start_key = jax.random.split(key)
        index = jax.random.randint(index_key, (batch,), 0, data.shape[0])
        start = jax.random.randint(start_key, (batch,), 0, data.shape[2] - frames + 1)
        cut = jax.vmap(lambda i, s: jax.lax.dynamic_slice(data[i], (0, s), (data.shape[1], frames)))(index, start)
        return cut[..., None].astype(jnp.float32)

    return mels, sample


def train(config: ViTVQGANTrainConfig, media: Media) -> MelTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    clips = [clips_of(array, 1, name) for name, array in zip(config.media, select(media, config, "train"), strict=True)]
    count, frames = config.settings.size
    mels = [whole_mels(array, MelSpec(mels=count), frames) for array in clips]
    shortest = min(mel.shape[2] for mel in mels)
    data, sample = make_sampler(config, np.concatenate([mel[:, :, :shortest] for mel in mels]))
    files, weight = config.loss.perceptual_weights, config.loss.perceptual
    network, data, sample = watched(
        files, weight, data, sample, channels=1, size=config.settings.size, name=config.name
    )
    build = functools.partial(ViTVQGAN, config.settings)
    graphdef, _ = split_model(build)
    params, extra = first_state(build, config.settings, config.loss, config.seed)
    judge, adversary = make_adversary(
        config.loss.adversary, config.optim.steps, config.seed, config.settings.size, channels=1
    )
    loss_fn = make_loss(config.loss, config.settings, graphdef, judge, PIVOT, network)
    fitted = fit_config(config, loss_fn, params, data, sample, clips, extra=extra, adversary=adversary)
    codebook = learned_codebook(fitted.params, fitted.extra)
    MelTokenizer.from_training(config.settings, fitted.params["model"], codebook).save(config.out, data_notice(config))
    return MelTokenizer.load(config.out)


def evaluate(config: ViTVQGANTrainConfig, tokenizer: MelTokenizer, media: Media) -> dict[str, Any]:
    """Figures on held-out clips.

    `mel_l1` is the mean difference of natural logarithms of power between a spectrogram and what its codes decode to;
    its controls are the codes of the next clip, the clip's own mean spectrum held over time, and the mean of each
    patch (as many cells, unquantised). `sound`: `reconstruction_figures` of some clips through Griffin-Lim.
    """
    settings, used = tokenizer.settings, []
    held_out: dict[str, dict[str, Any]] = {}
    count, frames = settings.size
    for name, array in zip(config.media, select(media, config, "test"), strict=True):
        clips = clips_of(array, 1, name).astype(np.float32)
        mels = np.concatenate([spectrograms(clip, MelSpec(mels=count), frames) for clip in clips])
        codes = tokenizer.encode_batch(mels)
        made = tokenizer.decode_batch(codes)
        used.append(codes)
        patches = mels.reshape(len(mels), settings.code_grid[0], settings.patch, settings.code_grid[1], settings.patch)
        means = np.broadcast_to(patches.mean(axis=(2, 4), keepdims=True), patches.shape).reshape(mels.shape)

        def distance(other: np.ndarray, mels: np.ndarray = mels) -> float:
            return round(float(np.mean(np.abs(other - mels)) * CODE_SCALE[1]), 4)

        held_out[name] = {
            "n": len(mels),
            "mel_l1": distance(made),
            "mel_l1_shuffled": distance(np.roll(made, 1, axis=0)),
            "mel_l1_mean_spectrum": distance(np.broadcast_to(mels.mean(axis=2, keepdims=True), mels.shape)),
            "mel_l1_patch_means": distance(means),
        }
        if config.eval_sounds:
            picks = np.linspace(0, len(clips) - 1, min(config.eval_sounds, len(clips))).astype(int)
            waveform = WaveformTokenizer(tokenizer)
            held_out[name]["sound"] = reconstruction_figures(waveform, clips[picks], waveform.rate)
    codes = np.concatenate(used)
    return {
        "fingerprint": tokenizer.fingerprint,
        "held_out": held_out,
        "codes": settings.codes,
        "codes_used": round(len(np.unique(codes)) / settings.codes, 4),
        "perplexity": round(float(perplexity(jnp.asarray(codes), settings.codes)), 2),
    }
