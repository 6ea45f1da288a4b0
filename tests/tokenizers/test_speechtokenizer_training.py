"""Training of SpeechTokenizer: each loss reaches what it should, resuming is exact, a SpeechTokenizer comes out."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from mio_jax.cli.main import main
from mio_jax.config_loading import load_config_file
from mio_jax.data.media_arrays import save_media
from mio_jax.errors import MioError
from mio_jax.nn.base import init_params, split_model
from mio_tokenizers import load
from mio_tokenizers.audio import SpeechTokenizer, rvq, write_wav
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.base import Audio
from mio_tokenizers.training import audio_losses, loop, speech_loss, speechtokenizer
from mio_tokenizers.training.audio_discriminators import STFTDiscriminatorSpec, spectral_norm
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminatorSpec
from mio_tokenizers.training.checkpoint import save_state
from mio_tokenizers.training.config import TokenizerOptimConfig, TokenizerTrainConfig
from mio_tokenizers.training.speech_segments import Segments
from mio_tokenizers.training.speech_teacher import features_of, read_features, write_features

RATE, HOP, FRAMES = 4000, 20, 24
CONFIGS = Path(__file__).parents[2] / "configs" / "tokenizers"
TERMS = ("mel", "wave", "commitment", "distillation", "adversarial", "feature_matching")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes: little of it, and once for all."""
    wanted = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
    }
    before = {name: jax.config.values[name] for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def voices(count: int, seed: int) -> np.ndarray:
    """int16 [count, 1200]: gliding tones, some of which end early in silence."""
    rng = np.random.default_rng(seed)
    t = np.arange(1200) / RATE
    waves = [0.4 * np.sin(2 * np.pi * t * (rng.uniform(100, 400) + 300 * t)) for _ in range(count)]
    waves = np.stack(waves) * rng.uniform(0.3, 1, (count, 1))
    waves[::3, 700:] = 0
    return np.round(waves * 32767).astype(np.int16)


@pytest.fixture
def config(tmp_path: Path) -> speechtokenizer.SpeechTokenizerTrainConfig:
    seanet = SEANetSpec(n_filters=2, strides=(20,), dimension=6, lstm_layers=1)
    return speechtokenizer.SpeechTokenizerTrainConfig(
        name="test",
        out=str(tmp_path / "speech.safetensors"),
        work_dir=str(tmp_path / "work"),
        media=("made.audio",),
        settings=CodecSpec(seanet=seanet, n_q=2, codebook_size=8, sample_rate=RATE, semantic_dimension=80),
        layers=2,
        segment_frames=FRAMES,
        window_seconds=0.0,
        teacher="log_mel",
        loss=speech_loss.SpeechLossConfig(
            mel_weights=(45.0,), mel_sizes=(128,), mel_hops=(32,), mels=8, mel_high=2000.0,
            stft=STFTDiscriminatorSpec(filters=2, sizes=(64,), dilations=(1,)),
            waves=WaveDiscriminatorSpec(periods=(3,), scales=1, divide=32),
        ),
        optim=TokenizerOptimConfig(steps=2, batch_size=3, learning_rate=1e-3, warmup_steps=0, clip_norm=1e9),
        checkpoint_every=1,
        log_every=1,
    )  # fmt: skip


@pytest.fixture
def media() -> dict[str, np.ndarray]:
    return {"train/made.audio": voices(12, 0), "test/made.audio": voices(4, 1)}


def rows(config: TokenizerTrainConfig) -> list[dict[str, float]]:
    text = (Path(config.work_dir) / "metrics.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "wall_s"} for line in text.splitlines()]


def test_two_steps_then_the_same_after_a_break_and_a_tokenizer_comes_out(config, media, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "runs/tokenizers/speechtokenizer_tiny/speechtokenizer_tiny.safetensors"  # the page's
    # All kinds of discriminators are in the test of gradients; fewer of them compile sooner.
    few = dataclasses.replace(config.loss, waves=WaveDiscriminatorSpec(periods=(3,), scales=0, divide=32))
    config = dataclasses.replace(config, out=name, loss=few)
    # A state as a process that was killed after the first step would have left it.
    broken = dataclasses.replace(config, out=str(tmp_path / "b.safetensors"), work_dir=str(tmp_path / "b"))

    def save(directory: Path, step: int, *state: Any) -> None:
        save_state(directory, step, *state)
        if step == 1:
            shutil.copytree(directory, broken.work_dir)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_state", save)
        tokenizer = speechtokenizer.train(config, media)
    assert "distilled from log_mel" in capsys.readouterr().out
    log = rows(config)
    assert [row["step"] for row in log] == [1, 2]
    for row in log:
        assert all(np.isfinite(value) for value in row.values())
        assert set(TERMS) | {"adversary_loss", "real_score", "made_score", "used_0", "used_1"} <= set(row)
    again = speechtokenizer.train(broken, media)
    assert again.fingerprint == tokenizer.fingerprint, "resumed: equal to the last bit"
    assert rows(broken) == log
    # The codebooks have moved between the steps, by averages alone.
    assert log[0]["commitment"] != log[1]["commitment"]
    # What was written is a SpeechTokenizer that encodes, and goes out and back in.
    loaded = load(config.out)
    assert isinstance(loaded, SpeechTokenizer)
    codes = loaded.encode(Audio(media["test/made.audio"][1] / 32767.0, RATE))
    assert codes.shape == (2, 60)
    published = loaded.published()
    assert {"transform.weight", "encoder.model.0.conv.conv.weight_g"} <= set(published)
    back = SpeechTokenizer.from_published(published, config.settings, 2)
    assert back.fingerprint == loaded.fingerprint
    assert {name: a.tobytes() for name, a in back.published().items()} == {n: a.tobytes() for n, a in published.items()}
    write_wav("a.wav", Audio(media["test/made.audio"][1] / np.float32(32767), RATE))
    page = (CONFIGS.parents[1] / "docs" / "speechtokenizer.md").read_text(encoding="utf-8")
    made: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], made)
    assert made["codes"].shape == (2, 60)
    np.testing.assert_allclose(np.concatenate([made["first"], *made["rest"]]), made["sound"].samples, atol=1e-5)
    assert len(made["first"]), "sound comes before the last codes do"
    assert made["meaning"].shape == (60, 80)
    assert set(made["arrays"]) == set(published)
    figures = speechtokenizer.evaluate(config, loaded, media)["held_out"]["made.audio"]
    wanted = {f"{name}{c}" for name in ("mel", "distillation") for c in ("", "_shuffled")} | {"mel_silence"}
    assert wanted <= set(figures)
    assert len(figures["codes_used"]) == 2
    json.dumps(figures)


@pytest.mark.slow
def test_each_loss_reaches_what_it_should(config, media):
    """A gradient for each term alone; a jitted function of a one-hot vector of weights serves them all."""
    spec = config.settings
    codec, _ = split_model(functools.partial(Codec, spec))
    params = jax.jit(functools.partial(init_params, functools.partial(Codec, spec)))(jax.random.key(0, impl="rbg"))
    judges, adversary = speech_loss.make_adversary(config)
    assert adversary is not None
    arrays = [media["train/made.audio"]]
    teacher = features_of("log_mel", ["train/made.audio"], arrays, spec)
    feed = Segments(arrays, teacher, hop=HOP, frames=FRAMES, batch=3, seed=0)
    batch = speech_loss.to_batch(feed(0), jax.random.key(0))
    unit = dataclasses.replace(config.loss, mel=1.0, wave=1.0, commitment=1.0, distillation=1.0)
    loss = speech_loss.make_loss(dataclasses.replace(config, loss=unit), codec, judges)
    books = rvq.new_state(2, 8, 6, jax.random.key(1))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(both: Any, weights: jax.Array) -> tuple[jax.Array, Any]:
        _, aux = loss(both["codec"], books, batch, jax.random.key(2), both["judges"])
        return jnp.dot(weights, jnp.stack([aux.metrics[name] for name in TERMS])), (aux.extra, aux.outputs)

    def parts(tree: Any) -> dict[str, bool]:
        return {name: any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(tree[name])) for name in tree}

    # What is decoded teaches all but the teacher's transform; commitment and distillation end at the encoder.
    everything = {"encoder": True, "decoder": True, "transform": False}
    expected = dict.fromkeys(TERMS, everything) | {
        "commitment": {"encoder": True, "decoder": False, "transform": False},
        "distillation": {"encoder": True, "decoder": False, "transform": True},
    }
    for i, name in enumerate(TERMS):
        both = {"codec": params, "judges": adversary.params}
        grads, (after, outputs) = gradient(both, jnp.eye(len(TERMS))[i])
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads)), name
        assert parts(grads["codec"]) == expected[name], name
    for before, now in zip(books, after, strict=True):
        assert bool(jnp.any(before != now)), "codebooks move without gradients"
    # The discriminators' own loss reaches every one of them.
    own = jax.jit(jax.grad(lambda p: adversary.loss(p, outputs, jax.random.key(0))[0]))(adversary.params)
    assert all(bool(jnp.any(leaf != 0)) for name, leaf in flat(own).items() if "weight" in name)


def flat(tree: Any) -> dict[str, jax.Array]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def test_segments_go_with_their_features_and_end_where_the_sound_does(media):
    waves = media["train/made.audio"]
    frames = np.broadcast_to(np.arange(58)[None, :, None], (12, 58, 2)).astype(np.float16)  # two frames fewer
    segments = Segments([waves], [frames], hop=HOP, frames=FRAMES, batch=30, seed=3)
    batch = segments(7)
    np.testing.assert_array_equal(batch["wave"], segments(7)["wave"])
    assert (batch["wave"] != segments(8)["wave"]).any()
    assert np.abs(batch["wave"]).max(1).min() > 0
    firsts, views = [], np.lib.stride_tricks.sliding_window_view(waves, 480, axis=1)
    for wave, taught in zip(batch["wave"], batch["teacher"], strict=True):
        assert (np.diff(taught[:, 0]) == 1).all()
        [row] = [r for r in range(12) if (views[r] == wave).all(1).any()]
        start = int(np.argmax((views[row] == wave).all(1)))
        assert row % 3 or start <= 220, "nothing but silence would follow"
        firsts.append((start, taught[0, 0]))
    assert all(first == min(start // HOP, 58 - FRAMES) for start, first in firsts)


def test_features_that_are_made_beforehand(config, media, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec, waves = config.settings, [media["train/made.audio"]]
    save_media("media.npz", media)
    told = write_features("made", "log_mel", media, spec)
    assert told == ["made/test/made.audio.npy: [4, 60, 80]", "made/train/made.audio.npy: [12, 60, 80]"]
    [features] = read_features("made", ["train/made.audio"], waves, spec)
    np.testing.assert_array_equal(features, features_of("log_mel", ["train/made.audio"], waves, spec)[0])
    assert isinstance(features, np.memmap)
    for wrong, says in (
        (("none", waves, spec), r"no readable features\.json"),
        (("made", [waves[0][:5]], spec), r"need float \[5, 60, 80\]"),
        (("made", waves, dataclasses.replace(spec, semantic_dimension=7)), r"\[12, 60, 7\]"),
        (("made", waves, dataclasses.replace(spec, sample_rate=8000)), "200 frames a second, the codec 400"),
    ):
        folder, arrays, other = wrong
        with pytest.raises(MioError, match=says):
            read_features(folder, ["train/made.audio"], arrays, other)
    with pytest.raises(MioError, match="teacher 'bert' is unknown"):
        write_features("x", "bert", media, spec)
    base = ["tokenizer", "features", "--config", str(CONFIGS / "speechtokenizer_tiny.py"), "--media", "media.npz"]
    assert main([*base, "--config.media=('made.audio',)", "--teacher", "log_mel", "--out", "cli"]) == 0
    assert json.loads(Path("cli/features.json").read_text()) == {"teacher": "log_mel", "frame_rate": 50.0}
    capsys.readouterr()
    assert main([*base, "--out", "cli"]) == 2
    assert "needs --teacher" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries below, which are not ours
def test_a_hubert_teaches(tmp_path):
    """Layers and their mean as the library gives them, at the frames that the codec has, but for the last."""
    pytest.importorskip("transformers", reason="pip install -e .[teacher]")
    import torch
    from transformers import HubertConfig, HubertModel

    model = HubertModel(
        HubertConfig(
            hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ).eval()  # fmt: skip
    model.save_pretrained(tmp_path / "hubert")
    spec = CodecSpec(semantic_dimension=12)
    waves = np.round(np.random.default_rng(0).normal(0, 3000, (3, 16000))).astype(np.int16)
    for name, chosen in (("", slice(None)), (":1", slice(1, 2))):
        write_features(tmp_path / "made", f"hubert:{tmp_path}/hubert{name}", {"train/x.audio": waves}, spec)
        [found] = read_features(str(tmp_path / "made"), ["train/x.audio"], [waves], spec)
        assert found.shape == (3, 49, 12)
        wave = waves[1] / 32767.0
        with torch.no_grad():
            normal = torch.tensor((wave - wave.mean()) / wave.std(), dtype=torch.float32)[None]
            states = model(normal, output_hidden_states=True).hidden_states
        assert len(states) == 3
        expected = torch.stack(states)[chosen].mean(0)[0].numpy()
        np.testing.assert_allclose(found[1], expected, atol=0.01)
    for teacher, says in ((f"hubert:{tmp_path}/hubert:3", "layer '3'"), (f"hubert:{tmp_path}/no", "no folder")):
        with pytest.raises(MioError, match=says):
            write_features(tmp_path / "x", teacher, {"train/x.audio": waves}, spec)
    with pytest.raises(MioError, match="frame every 320 samples"):
        write_features(
            tmp_path / "x",
            f"hubert:{tmp_path}/hubert",
            {"train/x.audio": waves},
            CodecSpec(SEANetSpec(strides=(4, 5, 4, 2))),
        )


@pytest.mark.parametrize("axis", speech_loss.AXES)
def test_distillation_is_least_where_the_feature_is_the_teacher(axis):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2, 9, 5)).astype(np.float32)
    loss = audio_losses.distill_by_dimension if axis == "dimension" else audio_losses.distill_by_frame
    assert float(loss(a, a)) < float(loss(a, b))


def test_a_spectral_norm_is_the_largest_singular_value():
    weight = np.random.default_rng(0).normal(size=(12, 3, 5)).astype(np.float32)
    normed = np.asarray(spectral_norm(jnp.asarray(weight))).reshape(12, -1)
    assert np.linalg.norm(normed, 2) == pytest.approx(1, abs=0.05)


def test_without_a_teacher(config, media):
    for change in ({"teacher": ""}, {"loss": dataclasses.replace(config.loss, distillation=0.0)}):
        with pytest.raises(MioError, match="set a teacher"):
            dataclasses.replace(config, **change)
    with pytest.raises(MioError, match="semantic_dimension is 7"):
        features_of("log_mel", ["x"], [], dataclasses.replace(config.settings, semantic_dimension=7))
    with pytest.raises(MioError, match="layers is 4"):
        dataclasses.replace(config, layers=4)
    with pytest.raises(MioError, match="training segments have 480"):
        speechtokenizer.train(config, {"train/made.audio": media["train/made.audio"][:, :300]})
    with pytest.raises(MioError, match="float or int16"):
        speechtokenizer.train(config, {"train/made.audio": media["train/made.audio"].astype(np.int64)})


@pytest.mark.parametrize(("name", "layers", "hop"), [("speechtokenizer", 4, 320), ("speechtokenizer_tiny", 4, 320)])
def test_configs_are_valid_and_as_described(name, layers, hop):
    config = load_config_file(CONFIGS / f"{name}.py", cls=TokenizerTrainConfig)
    assert isinstance(config, speechtokenizer.SpeechTokenizerTrainConfig)
    assert (config.layers, config.settings.hop, config.settings.seanet.bidirectional) == (layers, hop, True)
    if name == "speechtokenizer":
        assert config.settings == CodecSpec(semantic_dimension=768)
        assert config.loss == speech_loss.SpeechLossConfig()
