"""`mio data` on the real sets, with untrained tokenizers of the real classes."""

from __future__ import annotations

import functools
import pathlib
import re
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.config import TokenizersConfig
from mio_jax.config_loading import load_config_file
from mio_jax.data.loader import make_loader
from mio_jax.nn.base import split_model, to_pure_dict
from mio_jax.protocols import load_recipe
from mio_tokenizers import load_set
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.io import read_audio
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.audio.tokenizer import AudioTokenizer
from mio_tokenizers.image.model import ImageVQ, ImageVQSettings
from mio_tokenizers.image.tokenizer import ImageVQTokenizer

CONFIG = "configs/quickstart.py"


def untrained(build: Any) -> dict[str, Any]:
    """Parameters of a model, random without compiling its initialisation."""
    rng = np.random.default_rng(0)
    abstract = to_pure_dict(split_model(build)[1])
    return jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), abstract)


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder, rng = tmp_path_factory.mktemp("tokenizers"), np.random.default_rng(0)
    about = {"name": "nothing", "licence": "none", "attribution": "nobody"}
    settings = ImageVQSettings(image_size=32, channels=(4, 4), encoder_blocks=(0, 0), decoder_blocks=(0, 0))
    book = rng.normal(size=(settings.codes, settings.code_dim)).astype(np.float32)
    image = ImageVQTokenizer.from_training(settings, untrained(functools.partial(ImageVQ, settings)), book)
    image.save(folder / "image.safetensors", about)
    seanet = SEANetSpec(n_filters=2, strides=(8, 5, 4, 4), dimension=8, lstm_layers=0, weight_norm=False)
    spec = CodecSpec(seanet=seanet, n_q=4, codebook_size=256)
    books = rng.normal(size=(4, 256, 8)).astype(np.float32)
    audio = AudioTokenizer.from_training(spec, untrained(functools.partial(Codec, spec)), books)
    audio.save(folder / "audio.safetensors", about)
    return str(folder / "image.safetensors"), str(folder / "audio.safetensors")


@pytest.fixture(scope="module")
def flags(tokenizer_files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Config overrides for records that `mio data prepare --limit 6` has made."""
    image, audio = tokenizer_files
    folder = tmp_path_factory.mktemp("records") / "tiny"
    overrides = [
        f"--config.data.records_dir={folder}",
        f"--config.tokenizers.image={image}",
        f"--config.tokenizers.audio={audio}",
    ]
    assert main(["data", "prepare", "--config", CONFIG, "--limit", "6", *overrides]) == 0
    return ["--config", CONFIG, *overrides]


def test_prepare_says_what_it_made_and_keeps_it(flags, capfd):
    assert main(["data", "prepare", "--limit", "6", *flags]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["kept"] * 4
    assert main(["data", "prepare", "--limit", "6", "--force", "--sets", "text", *flags]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("made ")
    assert main(["data", "verify", *flags]) == 0
    assert "openmoji: whole, 18 records" in capfd.readouterr().out


def test_list_shows_every_task_and_mixture_with_counts(flags, capfd):
    assert main(["data", "list", *flags]) == 0
    out, err = capfd.readouterr()
    mixtures = re.findall(r"^(mio_\w+) +mio_\w+ \d+%", out, re.MULTILINE)
    assert re.search(r"mio_openmoji_text_to_image +text -> image +openmoji +6 +6 ", out)
    assert {"mio_pairs", "mio_sft", "mio_all"} <= set(mixtures)
    assert not re.search(r"^mio_.*not prepared", out, re.MULTILINE)  # other tests may have registered other recipes
    assert err == ""  # TensorFlow's greetings are kept back


def test_list_says_what_is_not_prepared(tmp_path, capfd):
    assert main(["data", "list", "--config", CONFIG, f"--config.data.records_dir={tmp_path / 'none'}"]) == 0
    assert "not prepared" in capfd.readouterr().out


@pytest.mark.parametrize("style", ["base", "chat"])
def test_show_prints_examples_and_writes_their_media(flags, tmp_path, capfd, style):
    for task, suffix in (("mio_openmoji_image_to_mask", ".png"), ("mio_instruments_audio_to_text", ".wav")):
        out = tmp_path / task
        assert main(["data", "show", task, "--n", "2", "--out", str(out), "--style", style, *flags]) == 0
        shown = capfd.readouterr().out
        files = sorted(out.iterdir())
        assert len(files) == (4 if suffix == ".png" else 2)
        assert all(str(path) in shown and path.suffix == suffix for path in files)
        if suffix == ".png":
            assert Image.open(files[0]).size == (32, 32)
        else:
            assert read_audio(files[0]).samples.shape == (16000,)
            assert " playing " in shown
        assert re.search(r"\[1\] " + task + r", \S+: \d+ tokens, \d+ with loss", shown)


def test_show_takes_a_mixture_and_a_seed(flags, tmp_path, capfd):
    command = ["data", "show", "mio_all", "--n", "6", "--out", str(tmp_path), *flags]
    shown = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        shown.append(capfd.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
    assert len(set(re.findall(r"^\[\d\] (\w+),", shown[0], re.MULTILINE))) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "needs the name of a task"),
        (["show", "mio_openmoji_txt_to_image"], "did you mean 'mio_openmoji_text_to_image'"),
        (["list", "openmoji"], "did you mean --sets openmoji"),
        (["prepare", "--sets", "openmojis"], "unknown source 'openmojis'"),
        (["prepare", "--limit", "0"], "--limit is 0"),
        (["prepare", "--limit", "5"], "were made with counts"),
        (["prepare", "--beam", "x=1"], "only with --runner beam"),
        (["show", "mio_text", "--split", "dev"], "no split 'dev'"),
    ],
)
def test_bad_requests_are_one_line(flags, capfd, words, message):
    assert main(["data", *words, *flags]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_records_of_other_tokenizers_are_one_line(flags, tokenizer_files, tmp_path, capfd):
    image = ImageVQTokenizer.load(tokenizer_files[0])
    other = pathlib.Path(tmp_path / "other.safetensors")
    arrays = dict(image._arrays)
    arrays["codebook"] = arrays["codebook"] + 1
    ImageVQTokenizer(image.settings, arrays).save(other, {"name": "n", "licence": "l", "attribution": "a"})
    for words in (["prepare", "--limit", "6"], ["show", "mio_openmoji_image_to_text", "--out", str(tmp_path)]):
        assert main(["data", *words, *flags, f"--config.tokenizers.image={other}"]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert "'openmoji' records were made by another image tokenizer" in line
        assert "--force" in line


def test_the_quickstarts_batches_come_out_of_the_prepared_records(flags):
    """The whole way: real media, real tokenizer classes, the recipe's tasks, packed rows inside the token space."""
    config = load_config_file(CONFIG, [flag.removeprefix("--config.") for flag in flags[2:]])
    assert isinstance(config.tokenizers, TokenizersConfig)
    recipe, tokenizers = load_recipe(config.recipe), load_set(config.tokenizers)
    recipe.register_tasks(config.data.records_dir)
    space = recipe.token_space(tokenizers)
    for stage, modalities in ((config.stages[0], {0, 1, 2}), (config.stages[1], {0, 1, 2}), (config.stages[3], {0, 1})):
        encode = functools.partial(recipe.encode, tokenizers=tokenizers, space=space, supervise=stage.supervise)
        loader = make_loader(config, stage, encode, seed=0)
        batch = next(loader)
        loader.close()
        filled = batch["segment_ids"] > 0
        assert batch["tokens"].shape == (stage.rows, config.data.length)
        assert filled.mean() > 0.8
        np.testing.assert_array_equal(batch["modality_ids"][filled], space.modality_ids(batch["tokens"])[filled])
        assert (batch["loss_weights"][filled] > 0).mean() > 0.15
        # A fixed composition has every modality in every batch; a mixture has pictures at least.
        assert modalities <= set(np.unique(batch["modality_ids"]))
