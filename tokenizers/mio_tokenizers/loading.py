"""From the name of a tokenizer to the tokenizer."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mio_jax.config import TokenizersConfig
from mio_jax.errors import MioError
from mio_tokenizers.base import Tokenizer

WEIGHTS = Path(__file__).parent / "weights"
SUFFIXES = (".safetensors", ".model")
CLASSES = {  # kind in a weights file -> the class whose `load(path)` reads it
    "image_vq": "mio_tokenizers.image.tokenizer:ImageVQTokenizer",
    "vqgan": "mio_tokenizers.image.tokenizer:VQGANTokenizer",
    "audio_rvq": "mio_tokenizers.audio:AudioTokenizer",
    "speech_tokenizer": "mio_tokenizers.audio.speech:SpeechTokenizer",
    "vit_vqgan": "mio_tokenizers.audio.mel_tokenizer:MelTokenizer",
    "hifigan": "mio_tokenizers.audio.vocoder:Vocoder",
    "seed": "mio_tokenizers.image.seed:SeedTokenizer",
    "seed_qformer": "mio_tokenizers.image.seed.contrastive:SeedAligner",
    "seed_decoder": "mio_tokenizers.image.seed:SeedDecoder",
}
FOLDERS = {  # pattern of a file in a folder of published weights -> the class whose `load_folder(path)` reads it
    "seed_quantizer.*": "mio_tokenizers.image.seed:SeedTokenizer",
}
CODEC2 = "mio_tokenizers.audio:Codec2Tokenizer"
WAVEFORM = "mio_tokenizers.audio.mel_tokenizer:WaveformTokenizer"
FORMS = (
    "bundled:NAME, a path to a .safetensors or .model file, a folder of published weights, codec2:MODE, "
    "location:BINS[:point], unified_io2:FILE.model or waveform:MEL_TOKENIZER[,VOCODER]"
)


def bundled() -> dict[str, Path]:
    """Names and files of the tokenizers that come with this package; NAME.decoder.safetensors is part of NAME."""
    files = [path for path in sorted(WEIGHTS.iterdir()) if path.suffix in SUFFIXES]
    return {path.stem: path for path in files if "." not in path.stem}


def load(spec: str) -> Tokenizer:
    """The tokenizer that `spec` names: "bundled:NAME", a path, "codec2:700C", "location:BINS", "unified_io2:FILE" or
    "waveform:FILE[,FILE]".

    A tokenizer is loaded once for each file and kept as long as the file does not change.

    Raises:
      MioError: an unknown form or name, or a file that is absent, damaged or of no kind known here.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme == "bundled" and colon:
        files = bundled()
        if rest not in files:
            near = difflib.get_close_matches(rest, files, n=1)
            hint = f"did you mean bundled:{near[0]}?" if near else f"there are: {', '.join(files) or 'none'}"
            raise MioError(f"there is no bundled tokenizer {rest!r}; {hint}")
        return load(str(files[rest]))
    if scheme == "codec2" and colon:
        return cast(Tokenizer, _class(CODEC2)(rest))
    if scheme == "location" and colon:
        from mio_tokenizers.structured import LocationTokenizer

        bins, _, kind = rest.partition(":")
        if not bins.isdecimal():
            raise MioError(f"tokenizer {spec!r}: BINS must be a whole number, as in location:1000")
        return LocationTokenizer(int(bins), kind or "box")
    if scheme == "unified_io2" and colon:  # a SentencePiece file, edited on loading
        from mio_tokenizers.text import ExtendedTextTokenizer

        name = rest.removeprefix("bundled:")
        return ExtendedTextTokenizer.load(bundled()[name] if name != rest and name in bundled() else rest)
    if scheme == "waveform" and colon:
        mel, comma, vocoder = rest.partition(",")
        return cast(Tokenizer, _class(WAVEFORM)(load(mel), load(vocoder) if comma else None))
    path = Path(spec)
    if path.is_dir():
        held = sorted(file for file in path.iterdir() if file.is_file())
        stamps = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in held)
        return _load_folder(str(path.resolve()), stamps)
    if path.suffix not in SUFFIXES:
        raise MioError(f"unknown tokenizer {spec!r}; it must be {FORMS}")
    if not path.is_file():
        raise MioError(f"there is no tokenizer file {spec}")
    stat = os.stat(path)
    return _load_file(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


def files_of(spec: str) -> list[Path]:
    """Files of a user's own that `load(spec)` reads; none for what comes with a package."""
    scheme, colon, rest = spec.partition(":")
    if not colon:
        return [Path(spec)]
    if scheme == "unified_io2":
        return [] if rest.startswith("bundled:") else [Path(rest)]
    if scheme == "waveform":
        return [path for part in rest.split(",") for path in files_of(part)]
    return []


def _class(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.lru_cache(maxsize=16)
def _load_file(path: str, modified: int, size: int) -> Tokenizer:
    """`modified` and `size` are part of the cache key only: a file written anew is read anew."""
    if path.endswith(".model"):
        from mio_tokenizers.text import TextTokenizer

        return TextTokenizer.load(path)
    from mio_tokenizers.weights_file import read_kind

    kind = read_kind(path)
    if kind not in CLASSES:
        what = f"holds a tokenizer of unknown kind {kind!r}" if kind else "holds no tokenizer"
        raise MioError(f"{path} {what}; kinds known here: {', '.join(CLASSES)}")
    return cast(Tokenizer, _class(CLASSES[kind]).load(path))


@functools.lru_cache(maxsize=4)
def _load_folder(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> Tokenizer:
    """`stamps`, of its files, are part of the cache key: a folder that changed is read anew."""
    for pattern, where in FOLDERS.items():
        if any(fnmatch.fnmatchcase(name, pattern) for name, _, _ in stamps):
            return cast(Tokenizer, _class(where).load_folder(folder))
    raise MioError(f"{folder} is no folder of tokenizer weights known here; it needs one of {', '.join(FOLDERS)}")


@dataclass(frozen=True)
class TokenizerSet:
    """One tokenizer for each modality of a run."""

    text: Any
    image: Any
    audio: Any
    sentinels: int = 0  # extra ids that a recipe puts at the end of its vocabulary; they encode nothing
    added_tokens: str = ""  # where a checkpoint's list of added tokens lies, for recipes that read their layout from it

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: getattr(self, name).fingerprint for name in ("text", "image", "audio")}


def load_set(config: TokenizersConfig) -> TokenizerSet:
    """The tokenizers of a run. Raises MioError if one cannot be loaded or serves another modality than its place."""
    made = {name: load(getattr(config, name)) for name in ("text", "image", "audio")}
    for name, tokenizer in made.items():
        if tokenizer.modality != name:
            raise MioError(
                f"tokenizers.{name} is {getattr(config, name)!r}, which is a tokenizer of {tokenizer.modality}"
            )
    return TokenizerSet(**made, sentinels=config.sentinels, added_tokens=config.added_tokens)
