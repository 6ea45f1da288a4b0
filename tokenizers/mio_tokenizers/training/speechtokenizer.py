"""Training of a SpeechTokenizer: a SEANet around residual codebooks, the first of them distilled from a teacher.

The losses, weights and optimizer are the published ones by default (`speech_loss`); what is published of neither the
paper nor the code is a field with a note. The result is a `SpeechTokenizer` file that exports to the published names.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.base import init_params, split_model
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.io import SILENCE
from mio_tokenizers.audio.speech import SpeechSpec, SpeechTokenizer
from mio_tokenizers.base import Audio
from mio_tokenizers.training import audio_losses as losses
from mio_tokenizers.training.audio import first_books
from mio_tokenizers.training.audio_evaluation import reconstruction_figures
from mio_tokenizers.training.config import TokenizerOptimConfig, TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import Fitted
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.speech_loss import SpeechLossConfig, make_adversary, make_loss, to_batch
from mio_tokenizers.training.speech_segments import Segments, check_sounds
from mio_tokenizers.training.speech_teacher import as_float, features_of

KMEANS_STEPS, FIRST_SOUNDS = 50, 64


def published_optim() -> TokenizerOptimConfig:
    """Adam at 1e-4 with a cosine over all steps, no warmup, no decay, nothing clipped; batch 6 a process.

    Ten epochs of LibriSpeech's 281,241 utterances, a segment each, are 468,735 steps of one process.
    """
    return TokenizerOptimConfig(
        steps=468_735, batch_size=6, learning_rate=1e-4, warmup_steps=0, b1=0.9, b2=0.99, clip_norm=1e9
    )


@dataclass(frozen=True)
class SpeechTokenizerTrainConfig(TokenizerTrainConfig):
    """The defaults are the published sizes and recipe; `media` and a teacher are yours.

    Attributes:
      layers: of codes that the finished tokenizer gives, the first ones of `settings.n_q` (MIO's 4 of 8).
      segment_frames: of a training example; published: 3 s.
      window_seconds: sounds of any rate and length are cut into pieces of this length; 0: all are equal already.
      teacher: a folder of features (`speech_teacher`), "log_mel", or "" where `loss.distillation` is 0.
      first_gain: of the first convolutions' weights, times the published ones. Those shrink a signal by 1.7 in each
        layer, so that the encoder's features hardly differ from one another; a short training never makes up for it.
      revive: replaced codes live. As published they do not: their averages are kept, which undo it (see `rvq`).
    """

    kind: str = "speechtokenizer"
    settings: CodecSpec = field(default_factory=lambda: CodecSpec(semantic_dimension=768))
    layers: int = 4
    segment_frames: int = 150
    window_seconds: float = 15.0
    teacher: str = ""
    loss: SpeechLossConfig = field(default_factory=SpeechLossConfig)
    codebook_decay: float = 0.99
    dead_below: float = 2.0
    revive: bool = False
    first_gain: float = 1.0
    eval_sounds: int = 64  # at most, of each set
    optim: TokenizerOptimConfig = field(default_factory=published_optim)

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"tokenizer config {self.name!r}"
        SpeechSpec(self.settings, self.layers)
        require(self.settings.tone is None, f"{where}: settings.tone is set; SpeechTokenizer has no tone branches")
        require(self.segment_frames > 0, f"segment_frames is {self.segment_frames}; it must be positive")
        require(0 < self.codebook_decay < 1, f"codebook_decay is {self.codebook_decay}; it must be in (0, 1)")
        require(self.dead_below >= 0, f"dead_below is {self.dead_below}; it must be 0 or more")
        require(self.first_gain > 0, f"first_gain is {self.first_gain}; it must be positive")
        require(self.eval_sounds > 0, f"eval_sounds is {self.eval_sounds}; it must be positive")
        require(
            self.window is None or self.window[1] >= self.samples,
            f"{where}: window_seconds is {self.window_seconds}; {self.segment_frames} frames of {self.settings.hop} "
            "samples are longer",
        )
        require(
            self.samples > max(self.loss.mel_sizes, default=0),
            f"{where}: segments have {self.samples} samples; the longest window of loss.mel_sizes needs more",
        )
        require(
            bool(self.teacher) == bool(self.loss.distillation),
            f"{where}: teacher is {self.teacher!r} and loss.distillation {self.loss.distillation:g}; set a teacher (a "
            "folder of features, or log_mel) and a weight, or neither (loss.distillation=0)",
        )

    @property
    def samples(self) -> int:
        """Of a training segment."""
        return self.segment_frames * self.settings.hop

    @property
    def window(self) -> tuple[int, int] | None:
        rate = self.settings.sample_rate
        return (rate, round(self.window_seconds * rate)) if self.window_seconds else None


Config = SpeechTokenizerTrainConfig


def _features(config: SpeechTokenizerTrainConfig, arrays: Sequence[np.ndarray], split: str) -> list[np.ndarray] | None:
    if not config.teacher:
        return None
    return features_of(config.teacher, [f"{split}/{name}" for name in config.media], arrays, config.settings)


def _louder(params: Any, gain: float) -> Any:
    """Parameters whose weight-normalised layers give `gain` times as much."""
    if not isinstance(params, dict):
        return params
    return {name: gain * value if name == "weight_g" else _louder(value, gain) for name, value in params.items()}


def fit_codec(config: SpeechTokenizerTrainConfig, media: Media) -> Fitted:
    """The training itself; `extra` of what it returns are the codebooks."""
    arrays = [
        check_sounds(array, config.samples, name)
        for name, array in zip(config.media, select(media, config, "train"), strict=True)
    ]
    told = f"distilled from {config.teacher}" if config.teacher else "no teacher: the first codebook is not distilled"
    print(f"{config.name}: {told}", flush=True)
    feed = Segments(
        arrays,
        _features(config, arrays, "train"),
        hop=config.settings.hop,
        frames=config.segment_frames,
        batch=config.optim.batch_size,
        seed=config.seed,
    )
    build = functools.partial(Codec, config.settings)
    graphdef, _ = split_model(build)
    root = jax.random.key(config.seed, impl="rbg")
    params = jax.jit(functools.partial(init_params, build))(jax.random.fold_in(root, 0))
    params = _louder(params, config.first_gain)
    count = sum(map(len, arrays))
    rows = np.linspace(0, count - 1, min(FIRST_SOUNDS, count)).astype(int)
    first = as_float(feed.cut(rows, np.random.default_rng(config.seed).random(len(rows)))["wave"])
    books = first_books(
        config, graphdef, params, first, jax.random.fold_in(jax.random.key(config.seed), 1), iterations=KMEANS_STEPS
    )
    discriminators, adversary = make_adversary(config)
    return fit_config(
        config,
        make_loss(config, graphdef, discriminators),
        params,
        {},
        to_batch,
        arrays,
        extra=books,
        adversary=adversary,
        feed=feed,
    )


def train(config: SpeechTokenizerTrainConfig, media: Media) -> SpeechTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    fitted = fit_codec(config, media)
    spec = SpeechSpec(config.settings, config.layers)
    SpeechTokenizer.from_codec(spec, fitted.params, fitted.extra).save(config.out, data_notice(config))
    return SpeechTokenizer.load(config.out)


def evaluate(config: SpeechTokenizerTrainConfig, tokenizer: SpeechTokenizer, media: Media) -> dict[str, Any]:
    """Figures on held-out sounds: those of `reconstruction_figures`, and

    `mel`: L1 of log-mels (the first window of the loss) of what is decoded, and as controls of the next sound's codes
    (`mel_shuffled`) and of silence. With a teacher, `distillation`: mean cosine (along the loss's axis) between the
    first codebook's semantic feature and the teacher's, and beside the next sound's (`distillation_shuffled`).
    """
    held_out = {}
    arrays = [check_sounds(a, 1, name) for name, a in zip(config.media, select(media, config, "test"), strict=True)]
    teachers = _features(config, arrays, "test")
    for i, (name, array) in enumerate(zip(config.media, arrays, strict=True)):
        rows = np.linspace(0, len(array) - 1, min(config.eval_sounds, len(array))).astype(int)
        rows = rows[np.abs(as_float(array[rows])).max(1) >= SILENCE]
        if not len(rows):
            raise MioError(f"media {name}: nothing is heard in the held-out sounds")
        waves = as_float(array[rows])
        figures = reconstruction_figures(tokenizer, waves, tokenizer.rate)
        codes = tokenizer.encode_batch([Audio(wave, tokenizer.rate) for wave in waves])
        made = np.stack([sound.samples[: waves.shape[1]] for sound in tokenizer.decode_batch(codes)])
        for control, other in (("", made), ("_shuffled", np.roll(made, 1, 0)), ("_silence", np.zeros_like(made))):
            figures[f"mel{control}"] = round(_mel(config, waves, other), 4)
        if teachers is not None:
            axis = 1 if config.loss.distill_axis == "dimension" else 2
            taught = np.asarray(teachers[i][rows], np.float32)
            feature = np.stack([tokenizer.semantic(item) for item in codes])[:, : taught.shape[1]]
            for control, other in (("", taught), ("_shuffled", np.roll(taught, 1, 0))):
                cosine = losses.cosine(jnp.asarray(feature), jnp.asarray(other), axis)
                figures[f"distillation{control}"] = round(float(jnp.mean(cosine)), 4)
        held_out[name] = figures
    return {"fingerprint": tokenizer.fingerprint, "teacher": config.teacher, "held_out": held_out}


def _mel(config: SpeechTokenizerTrainConfig, waves: np.ndarray, made: np.ndarray) -> float:
    c = config.loss
    size, hop = c.mel_sizes[:1], c.mel_hops[:1]
    return float(
        losses.mel_distances(
            jnp.asarray(waves), jnp.asarray(made), size, hop, c.mels, config.settings.sample_rate, c.mel_high
        )[0]
    )
