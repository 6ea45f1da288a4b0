"""`mio tokenizer import`, `export`, `encode`, `decode`, `features`: published speech tokenizers, sounds of any length,
and what a teacher makes of the sounds of a training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError

CONFIG, WEIGHTS = "config.json", "SpeechTokenizer.safetensors"  # of an exported folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speech: import, export, encode, decode")
    group.add_argument("--from", dest="origin", metavar="DIR", help="import: config.json and the published weights")
    group.add_argument(
        "--layers", type=int, default=4, metavar="N", help="import: layers of codes used (default: MIO's 4)"
    )
    group.add_argument("--audio", metavar="FILE", help="encode: a sound of any length, rate and number of channels")
    group.add_argument("--codes", metavar="NPY", help="decode: codes [layers, frames] that encode wrote")
    group.add_argument("--teacher", metavar="WHICH", help="features: log_mel, hubert:FOLDER or hubert:FOLDER:LAYER")


def _given(args: argparse.Namespace, name: str, flag: str) -> str:
    value = getattr(args, name)
    if not value:
        raise MioError(f"mio tokenizer {args.action} needs {flag}")
    return str(value)


def features(args: argparse.Namespace, config: Any, media: dict[str, np.ndarray]) -> int:
    """Writes what a teacher makes of all sounds of a training, as `config.teacher` reads it."""
    from mio_tokenizers.training.speech_teacher import write_features
    from mio_tokenizers.training.speechtokenizer import SpeechTokenizerTrainConfig

    if not isinstance(config, SpeechTokenizerTrainConfig):
        raise MioError(f"features are for the kind 'speechtokenizer'; this config is of kind {config.kind!r}")
    teacher, out = _given(args, "teacher", "--teacher WHICH"), _given(args, "out", "--out FOLDER")
    for line in write_features(out, teacher, media, config.settings):
        print(line)
    return 0


def _import(args: argparse.Namespace) -> int:
    """A published SpeechTokenizer -> a tokenizer file. What does not fit its config is listed."""
    from mio_jax.recipes.weights import open_weights
    from mio_tokenizers.audio import SpeechTokenizer
    from mio_tokenizers.audio.checkpoint import read_spec

    folder, out = Path(_given(args, "origin", "--from DIR")), _given(args, "out", "--out FILE.safetensors")
    spec = read_spec(folder / CONFIG)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".pt", ".pth", ".bin")]
    if len(files) != 1:
        named = ", ".join(path.name for path in files) or "none"
        raise MioError(f"{folder} must hold one file of weights (.safetensors or .pt) beside {CONFIG}; it has: {named}")
    arrays = {name: stored.read() for name, stored in open_weights(files[0]).items()}
    tokenizer = SpeechTokenizer.from_published(arrays, spec, args.layers)
    tokenizer.save(
        out, {"name": f"imported from {files[0].name}", "licence": "its own", "attribution": "SpeechTokenizer"}
    )
    print(f"wrote {out}: {tokenizer.n_q} layers of {tokenizer.vocab_size} codes, {tokenizer.fingerprint}")
    return 0


def _export(args: argparse.Namespace) -> int:
    """A speech tokenizer -> a folder in the published form."""
    from mio_tokenizers.audio.checkpoint import config_of
    from mio_tokenizers.training.checkpoint import write_safetensors

    tokenizer, out = _speech_tokenizer(args), Path(_given(args, "out", "--out DIR"))
    write_safetensors(out / WEIGHTS, tokenizer.published(), {})
    (out / CONFIG).write_text(json.dumps(config_of(tokenizer.spec.codec), indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out / WEIGHTS} and {CONFIG}")
    return 0


def _speech_tokenizer(args: argparse.Namespace) -> Any:
    from mio_tokenizers import load
    from mio_tokenizers.audio import SpeechTokenizer

    name = _given(args, "tokenizer", "--tokenizer FILE")
    tokenizer = load(name)
    if not isinstance(tokenizer, SpeechTokenizer):
        raise MioError(f"{name} is no speech tokenizer; `mio tokenizer {args.action}` is for those")
    return tokenizer


def _encode(args: argparse.Namespace) -> int:
    tokenizer, out = _speech_tokenizer(args), _given(args, "out", "--out FILE.npy")
    codes = tokenizer.encode_file(_given(args, "audio", "--audio FILE"))
    _write(out, lambda file: np.save(file, codes))
    seconds = codes.shape[1] * tokenizer.hop / tokenizer.rate
    print(f"wrote {out}: {codes.shape[0]} layers of {codes.shape[1]} frames, {seconds:.1f} s")
    return 0


def _decode(args: argparse.Namespace) -> int:
    from mio_tokenizers.audio import write_wav

    tokenizer, out = _speech_tokenizer(args), _given(args, "out", "--out FILE.wav")
    path = _given(args, "codes", "--codes FILE.npy")
    try:
        codes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MioError(f"{path} holds no readable codes: {error}") from error
    sound = tokenizer.decode(codes)
    write_wav(out, sound)
    print(f"wrote {out}: {len(sound.samples) / sound.rate:.1f} s")
    return 0


def _write(path: str, save: Callable[[Any], None]) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            save(file)
    except OSError as error:
        raise MioError(f"cannot write {path}: {error.strerror or error}") from error


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "import": _import,
    "export": _export,
    "encode": _encode,
    "decode": _decode,
}
