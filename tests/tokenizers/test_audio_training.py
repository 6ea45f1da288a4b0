"""Training of the audio codec: it learns and resumes, its parts join in, and its figures mean what they say."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.config_loading import load_config_file
from mio_jax.errors import MioError
from mio_jax.nn.base import split_model, to_pure_dict
from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.codec import Codec, CodecSpec, ToneSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.base import Audio
from mio_tokenizers.training import audio, audio_losses
from mio_tokenizers.training.audio_discriminators import STFTDiscriminatorSpec
from mio_tokenizers.training.audio_evaluation import reconstruction_figures
from mio_tokenizers.training.config import TokenizerOptimConfig

RATE, HOP = 4000, 80
CONFIG = Path(__file__).parents[2] / "configs" / "tokenizers" / "audio_rvq_tiny.py"


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def notes(count: int, seed: int) -> np.ndarray:
    """Clips of a quarter of a second, each of one of five pitches and two timbres."""
    rng = np.random.default_rng(seed)
    t = np.arange(1000) / RATE
    clips = []
    for _ in range(count):
        hz, bright = rng.choice([110, 147, 196, 262, 349]), rng.choice([0.3, 0.8])
        clips.append(sum(bright**k * np.sin(2 * np.pi * hz * k * t) for k in (1, 2, 3)) * np.exp(-3 * t))
    clips = np.stack(clips)
    return (0.5 * clips / np.abs(clips).max(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def config(tmp_path) -> audio.AudioRVQTrainConfig:
    seanet = SEANetSpec(n_filters=2, strides=(8, 10), dimension=8, lstm_layers=0, activation="ELU", weight_norm=False)
    tone = ToneSpec(harmonics=4, noise_bands=2, width=16, long_window=480, short_window=160, octaves=5, short_bands=8)
    return audio.AudioRVQTrainConfig(
        name="test",
        out=str(tmp_path / "codec.safetensors"),
        work_dir=str(tmp_path / "work"),
        media=("made.audio",),
        settings=CodecSpec(seanet=seanet, n_q=2, codebook_size=16, sample_rate=RATE, tone=tone),
        segment_frames=12,
        loss=audio.AudioLossConfig(
            mel=0.0, stft=2.0, stft_sizes=(256,), wave=0.0, commitment=0.5, pitch=1.0,
            discriminator=STFTDiscriminatorSpec(filters=2, sizes=(64,), dilations=(1,)),
        ),
        codebook_decay=0.9,
        dead_below=0.1,
        optim=TokenizerOptimConfig(steps=60, batch_size=8, learning_rate=5e-3, warmup_steps=5),
        checkpoint_every=60,
        log_every=20,
    )  # fmt: skip


@pytest.fixture
def media() -> dict[str, np.ndarray]:
    return {"train/made.audio": notes(40, 0), "test/made.audio": notes(10, 1)}


def rows(config: audio.AudioRVQTrainConfig) -> list[dict[str, float]]:
    text = (Path(config.work_dir) / "metrics.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "wall_s"} for line in text.splitlines()]


def test_a_short_training_learns_and_what_it_wrote_decodes(config, media):
    tokenizer = audio.train(config, media)
    log = rows(config)
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert log[-1]["stft"] < log[0]["stft"]
    assert log[-1]["used_0"] > 0.2
    figures = audio.evaluate(config, tokenizer, media)["held_out"]["made.audio"]
    assert figures["n"] == 10
    # Sixty steps do not tell the notes apart by this distance; that the bundled codec does is tested below.
    assert figures["log_spectral_distance"] != figures["log_spectral_distance_shuffled"]
    assert set(figures["first_layers"]) == {"1"}
    json.dumps(figures)
    assert tokenizer.decode(tokenizer.encode(Audio(media["test/made.audio"][0], RATE))).samples.shape == (13 * HOP,)


def test_discriminators_join_the_loss_and_are_judged_themselves(config, media):
    """Shapes only: nothing is compiled. That the loop trains a second group is tested with the loop."""
    config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, adversarial=0.1))
    graphdef, adversary = audio.make_adversary(config)
    build = functools.partial(Codec, audio.training_spec(config.settings))
    codec, abstract = split_model(build)
    data, sample = audio.make_sampler(config, audio.clips_of(media["train/made.audio"], 960, "made.audio"))
    batch = jax.eval_shape(sample, data, jax.random.key(0))
    assert batch["wave"].shape == (8, 960)
    assert batch["f0"].shape == (8, 12)
    loss = audio.make_loss(config, codec, graphdef)
    books = rvq.new_state(2, 16, 8, jax.random.key(0))
    params = to_pure_dict(abstract)
    value, aux = jax.eval_shape(loss, params, books, batch, jax.random.key(0), adversary.params)
    assert value.shape == ()
    assert {"adversarial", "feature_matching", "stft", "pitch", "commitment"} <= set(aux.metrics)
    _, metrics = jax.eval_shape(adversary.loss, adversary.params, aux.outputs, jax.random.key(0))
    assert set(metrics) == {"real_score", "made_score"}
    _, aux = jax.eval_shape(loss, params, books, batch, jax.random.key(0), None)
    assert "adversarial" not in aux.metrics


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        (np.zeros((3, 2000), np.float32), "silent"),
        (np.ones((3, 100), np.float32), "training segments have 960"),
        (np.ones((3, 2000), np.int64), "clips are float or int16"),
        (np.ones(2000, np.float32), "clips are float or int16"),
    ],
)
def test_media_that_cannot_be_trained_on(config, clips, says):
    with pytest.raises(MioError, match=says):
        audio.train(config, {"train/made.audio": clips})


def test_impossible_configs(config):
    with pytest.raises(MioError, match=r"loss\.pitch needs settings\.tone"):
        dataclasses.replace(config, settings=dataclasses.replace(config.settings, tone=None))
    with pytest.raises(MioError, match="one entry each"):
        dataclasses.replace(config.loss, mel_hops=(1,))


def test_bundled_config_is_valid_and_as_described():
    config = load_config_file(CONFIG, cls=audio.AudioRVQTrainConfig)
    assert (config.settings.hop, config.settings.n_q, config.settings.codebook_size) == (640, 4, 256)
    assert config.settings.sample_rate / config.settings.hop == 25


def test_spectral_losses_are_zero_only_for_equal_sounds():
    x = jnp.asarray(notes(2, 0))
    assert float(audio_losses.stft_distance(x, x, (256,))) == 0
    assert float(audio_losses.stft_distance(x, 0.5 * x, (256,))) > 0.1
    gradient = jax.grad(lambda y: audio_losses.stft_distance(x, y, (256,)))(jnp.zeros_like(x))
    assert bool(jnp.isfinite(gradient).all())
    uniform = jnp.full((1, 4), 0.25)
    assert float(audio_losses.soft_cross_entropy(jnp.zeros((1, 4)), uniform)) == pytest.approx(0, abs=1e-6)


class Copies:
    """An almost perfect tokenizer: samples of eight bits, one a frame."""

    layer_sizes = (256,)

    def encode(self, sound: Audio) -> np.ndarray:
        return np.round(sound.samples * 127 + 128).astype(np.int32)[None]

    def decode(self, codes: np.ndarray) -> Audio:
        return Audio(((codes[0] - 128) / 127).astype(np.float32), RATE)


def test_figures_of_a_perfect_codec():
    figures = reconstruction_figures(Copies(), notes(6, 3), RATE)
    assert figures["in_tune"] == 1
    assert figures["log_spectral_distance"] < 0.5 * figures["log_spectral_distance_shuffled"]
    assert figures["in_tune_shuffled"] < 1
