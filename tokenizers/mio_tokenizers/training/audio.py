"""Training and evaluation of the audio codec."""

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
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers.audio import pitch, rvq
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.layers import fold
from mio_tokenizers.audio.tokenizer import PEAK, AudioTokenizer
from mio_tokenizers.training import audio_losses as losses
from mio_tokenizers.training.audio_discriminators import MultiSTFTDiscriminator, STFTDiscriminatorSpec
from mio_tokenizers.training.audio_evaluation import reconstruction_figures
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import Adversary, LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config

INIT_CLIPS = 256  # clips whose features the first codebooks are fitted to


@dataclass(frozen=True)
class AudioLossConfig:
    """Weights of the losses (see `audio_losses`); 0 leaves one out."""

    mel: float = 1.0
    mel_weights: tuple[float, ...] = (45.0, 1.0, 1.0, 1.0)  # one a window size, as published
    mel_sizes: tuple[int, ...] = (1024, 512, 256, 128)
    mel_hops: tuple[int, ...] = (240, 120, 60, 30)
    mels: int = 80
    stft: float = 0.0
    stft_sizes: tuple[int, ...] = (2048, 1024, 512, 256)
    wave: float = 500.0
    commitment: float = 10.0
    pitch: float = 0.0
    adversarial: float = 0.0  # 0: no discriminator
    feature_matching: float = 1.0
    adversarial_start: float = 0.3  # share of the steps before the discriminator starts
    adversarial_learning_rate: float = 2e-4
    discriminator: STFTDiscriminatorSpec = field(default_factory=STFTDiscriminatorSpec)

    def __post_init__(self) -> None:
        for name in ("mel", "stft", "wave", "commitment", "pitch", "adversarial", "feature_matching"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require(
            len(self.mel_weights) == len(self.mel_sizes) == len(self.mel_hops),
            "loss.mel_weights, mel_sizes and mel_hops must have one entry each for every window size",
        )
        require(
            0 <= self.adversarial_start < 1, f"loss.adversarial_start is {self.adversarial_start}; it must be in [0, 1)"
        )


@dataclass(frozen=True)
class AudioRVQTrainConfig(TokenizerTrainConfig):
    """`settings` describe the finished codec; while it is trained its weights are normalised, then they are folded."""

    kind: str = "audio_rvq"
    settings: CodecSpec = field(default_factory=CodecSpec)
    segment_frames: int = 25  # frames of a training example
    window_seconds: float = 0.0  # sounds of any length and rate are cut into pieces of this length; 0: all are equal
    loss: AudioLossConfig = field(default_factory=AudioLossConfig)
    codebook_decay: float = 0.99
    dead_below: float = 2.0  # vectors a step (averaged) below which a code is replaced
    full_share: float = 0.5  # of examples that keep all layers; the others keep a random number of them

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.segment_frames > 0, f"segment_frames is {self.segment_frames}; it must be positive")
        require(0 < self.codebook_decay < 1, f"codebook_decay is {self.codebook_decay}; it must be in (0, 1)")
        require(0 <= self.full_share <= 1, f"full_share is {self.full_share}; it must be in [0, 1]")
        require(
            self.window is None or self.window[1] >= self.segment_frames * self.settings.hop,
            f"window_seconds is {self.window_seconds}; {self.segment_frames} frames of {self.settings.hop} are longer",
        )
        require(self.dead_below >= 0, f"dead_below is {self.dead_below}; it must be 0 or more")
        require(
            self.loss.pitch == 0 or self.settings.tone is not None,
            f"tokenizer config {self.name!r}: loss.pitch needs settings.tone, whose pitch it trains",
        )

    @property
    def window(self) -> tuple[int, int] | None:
        rate = self.settings.sample_rate
        return (rate, round(self.window_seconds * rate)) if self.window_seconds else None


Config = AudioRVQTrainConfig


def clips_of(array: np.ndarray, samples: int, name: str) -> np.ndarray:
    """float16 [n, samples or more] from float or 16-bit clips [n, length], at the peak that the tokenizer encodes at.

    Raises:
      MioError: another shape or type, clips shorter than `samples`, or a silent one.
    """
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.floating) or array.dtype == np.int16) or not len(array):
        raise MioError(f"media {name} are {array.dtype} {array.shape}; clips are float or int16 [n, samples]")
    if array.shape[1] < samples:
        raise MioError(f"media {name} have {array.shape[1]} samples a clip; training segments have {samples}")
    peaks = np.abs(array.astype(np.float32)).max(axis=1)
    if not np.isfinite(peaks).all() or peaks.min() == 0:
        raise MioError(f"media {name}: clip {int(np.argmin(np.where(np.isfinite(peaks), peaks, -1)))} is silent or NaN")
    return (array.astype(np.float32) * (PEAK / peaks)[:, None]).astype(np.float16)


def make_sampler(config: AudioRVQTrainConfig, clips: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
    """Device data and the function that draws a batch {"wave" float32 [B, N], "f0" [B, T]} from it."""
    hop, frames = config.settings.hop, config.segment_frames
    spare = clips.shape[1] // hop - frames
    data = {"wave": clips}
    if config.settings.tone is not None:
        tracks = pitch.track(clips[:, : (frames + spare) * hop], config.settings.sample_rate, hop)
        data["f0"] = pitch.smooth_track(*tracks)
    batch = config.optim.batch_size

    def sample(data: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        index_key, start_key = jax.random.split(key)
        index = jax.random.randint(index_key, (batch,), 0, data["wave"].shape[0])
        start = jax.random.randint(start_key, (batch,), 0, spare + 1)

        def cut(row: jax.Array, first: jax.Array, length: int) -> jax.Array:
            return jax.lax.dynamic_slice(row, (first,), (length,))

        wave = jax.vmap(lambda i, s: cut(data["wave"][i], s * hop, frames * hop))(index, start).astype(jnp.float32)
        wave *= PEAK / jnp.maximum(jnp.max(jnp.abs(wave), 1, keepdims=True), 1e-2)
        out = {"wave": wave}
        if "f0" in data:
            out["f0"] = jax.vmap(lambda i, s: cut(data["f0"][i], s, frames))(index, start)
        return out

    return data, sample


def make_loss(config: AudioRVQTrainConfig, graphdef: Any, discriminator: Any) -> LossFn:
    """The loss of one batch; extra state is the `RVQState`."""
    weights, spec = config.loss, config.settings

    def loss_fn(
        params: Any, books: rvq.RVQState, batch: dict[str, jax.Array], key: jax.Array, adversary: Any
    ) -> tuple[jax.Array, StepAux]:
        model, wave = apply(graphdef, params), batch["wave"]
        book_key, full_key, kept_key = jax.random.split(key, 3)
        full = jax.random.bernoulli(full_key, config.full_share, wave.shape[:1])
        kept = jnp.where(full, spec.n_q, jax.random.randint(kept_key, wave.shape[:1], 1, spec.n_q + 1))
        features, own_pitch = model.analyse(wave)
        quantized, books = rvq.train_step(
            books,
            features,
            book_key,
            decay=config.codebook_decay,
            dead_below=config.dead_below,
            revive=True,
            kept=kept,
        )
        deciding = spec.tone.pitch_layers if spec.tone is not None else 0
        heard = (jnp.arange(deciding)[:, None] < kept).astype(wave.dtype)
        pitch_features = jnp.einsum("lb,lbtd->btd", heard, quantized.layers[:deciding])
        decoded = model.synthesize(quantized.quantized, pitch_features, batch.get("f0"))
        made, terms = decoded.wave, {}
        if weights.mel:
            scales = losses.mel_distances(
                wave, made, weights.mel_sizes, weights.mel_hops, weights.mels, spec.sample_rate
            )
            terms["mel"] = sum((w * s for w, s in zip(weights.mel_weights, scales, strict=True)), jnp.zeros(()))
        if weights.stft:
            terms["stft"] = losses.stft_distance(wave, made, weights.stft_sizes)
        if weights.wave:
            terms["wave"] = losses.wave_l1(wave, made)
        terms["commitment"] = quantized.commitment
        metrics = {f"used_{i}": used_share(codes, spec.codebook_size) for i, codes in enumerate(quantized.codes)}
        if weights.pitch:
            targets = model.tone.targets(batch["f0"])
            # The encoder names the pitch for its own use, the decoder from the codes: both learn from the same targets.
            terms["pitch"] = losses.soft_cross_entropy(own_pitch, targets)
            terms["pitch"] += losses.soft_cross_entropy(decoded.pitch_logits, targets)
            heard_f0 = model.tone.frequency(decoded.pitch_logits)
            metrics["in_tune"] = jnp.mean(jnp.abs(12 * jnp.log2(heard_f0 / batch["f0"])) < 0.5)
        if adversary is not None:
            judge = apply(discriminator, adversary)
            made_scores, made_maps = judge(made)
            _, real_maps = judge(wave)
            terms["adversarial"] = losses.adversarial_loss(made_scores)
            terms["feature_matching"] = losses.feature_matching(jax.lax.stop_gradient(real_maps), made_maps)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), jnp.zeros(()))
        return total, StepAux(books, terms | metrics, {"real": wave, "made": made})

    return loss_fn


def used_share(codes: jax.Array, size: int) -> jax.Array:
    """Share of a codebook that this batch uses."""
    return jnp.mean(jnp.zeros(size).at[codes.reshape(-1)].set(1.0))


def make_adversary(config: AudioRVQTrainConfig) -> tuple[Any, Adversary | None]:
    """(graphdef of the discriminators, the second parameter group), or (None, None) where they have no weight."""
    if not config.loss.adversarial:
        return None, None
    build = functools.partial(MultiSTFTDiscriminator, config.loss.discriminator)
    graphdef, _ = split_model(build)

    def loss(params: Any, outputs: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        judge = apply(graphdef, params)
        real, _ = judge(outputs["real"])
        made, _ = judge(outputs["made"])
        return losses.discriminator_loss(real, made), {"real_score": jnp.mean(real[0]), "made_score": jnp.mean(made[0])}

    params = init_params(build, jax.random.fold_in(jax.random.key(config.seed), 2))
    optimizer = optax.adam(config.loss.adversarial_learning_rate, b1=0.5, b2=0.9)
    return graphdef, Adversary(params, optimizer, loss, int(config.loss.adversarial_start * config.optim.steps))


def training_spec(spec: CodecSpec) -> CodecSpec:
    """The codec as it is trained: with normalised weights."""
    return dataclasses.replace(spec, seanet=dataclasses.replace(spec.seanet, weight_norm=True))


def train(config: AudioRVQTrainConfig, media: Media) -> AudioTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    length = config.segment_frames * config.settings.hop
    arrays = [
        clips_of(array, length, name) for name, array in zip(config.media, select(media, config, "train"), strict=True)
    ]
    shortest = min(array.shape[1] for array in arrays)
    clips = np.concatenate([array[:, :shortest] for array in arrays])
    build = functools.partial(Codec, training_spec(config.settings))
    graphdef, _ = split_model(build)
    root = jax.random.key(config.seed)
    params = jax.jit(functools.partial(init_params, build))(jax.random.fold_in(root, 0))
    books = first_books(config, graphdef, params, clips[:, :length], jax.random.fold_in(root, 1))
    data, sample = make_sampler(config, clips)
    discriminator, adversary = make_adversary(config)
    loss_fn = make_loss(config, graphdef, discriminator)
    fitted = fit_config(config, loss_fn, params, data, sample, arrays, extra=books, adversary=adversary)
    final = dataclasses.replace(config.settings, seanet=dataclasses.replace(config.settings.seanet, weight_norm=False))
    AudioTokenizer.from_training(final, fold(fitted.params), fitted.extra.embed).save(config.out, data_notice(config))
    return AudioTokenizer.load(config.out)


def first_books(
    config: Any, graphdef: Any, params: Any, clips: np.ndarray, key: jax.Array, iterations: int = 20
) -> rvq.RVQState:
    """Codebooks fitted by k-means to the untrained encoder's features of some clips spread over the data.

    `config`: its `settings` (a `CodecSpec`) and `optim.batch_size` count.
    """
    picks = np.linspace(0, len(clips) - 1, min(INIT_CLIPS, len(clips))).astype(int)
    spec = config.settings

    @jax.jit
    def run(params: Any, waves: jax.Array) -> rvq.RVQState:
        features = apply(graphdef, params).features(waves)
        return rvq.kmeans_init(features, spec.n_q, spec.codebook_size, key, iterations=iterations)

    books = run(params, clips[picks].astype(np.float32))
    # Averages as of one training batch, so that the first updates weigh as much as later ones.
    share = config.optim.batch_size / len(picks)
    return books._replace(embed_avg=books.embed_avg * share, cluster_size=books.cluster_size * share)


def evaluate(config: AudioRVQTrainConfig, tokenizer: AudioTokenizer, media: Media) -> dict[str, Any]:
    """Figures on held-out clips; see `reconstruction_figures`."""
    held_out = {
        name: reconstruction_figures(
            tokenizer, clips_of(array, 1, name).astype(np.float32), config.settings.sample_rate
        )
        for name, array in zip(config.media, select(media, config, "test"), strict=True)
    }
    return {"fingerprint": tokenizer.fingerprint, "held_out": held_out}
