"""Word error rate of transcripts, by the packages that papers use: jiwer, after Whisper's English normaliser.

Errors are pooled over the set: substitutions, deletions and insertions of all, over the words of all references.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError
from mio_jax.evaluate.distances import extractor
from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio

PROTOCOL = "jiwer, pooled over the set, after Whisper's English normaliser on both sides"
RECOGNISER = "recogniser"
FILE = "{file}"


def _packages() -> tuple[Any, Callable[[str], str]]:
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise MioError(
            f"word error rates need the packages jiwer and whisper-normalizer ({error}): pip install 'mio_jax[eval]'"
        ) from None
    return jiwer, EnglishTextNormalizer()


def wer_metric(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """SeqIO metric function of transcripts: {"wer": errors over the words of the references, from 0 on}.

    Raises MioError without the packages.
    """
    jiwer, normalise = _packages()

    def run(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
        if len(targets) != len(predictions):
            raise MioError(f"{len(predictions)} transcripts for {len(targets)} references")
        references = [normalise(one) for one in targets]
        if not any(references):
            raise MioError("a word error rate needs a reference with at least one word")
        found = jiwer.process_words(references, [normalise(one) for one in predictions])
        errors = found.substitutions + found.deletions + found.insertions
        return {"wer": errors / (found.hits + found.substitutions + found.deletions)}

    return run


def spoken_wer_metric(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """SeqIO metric function of sounds against the texts that they are to read out, through the user's recogniser.

    Raises MioError without the extractor "recogniser", the packages, or where it does not give a text for each sound.
    """
    recognise = extractor(extractors, RECOGNISER, "the word error rate of speech")
    score = wer_metric(extractors)

    def run(targets: Sequence[str], predictions: Sequence[Audio]) -> dict[str, float]:
        said = list(recognise(list(predictions)))
        if len(said) != len(predictions) or not all(isinstance(one, str) for one in said):
            raise MioError(
                f"the recogniser gave {len(said)} results for {len(predictions)} sounds; each must be a text"
            )
        return score(targets, said)

    return run


def recogniser_of(written: str) -> Callable[[Sequence[Audio]], list[str]]:
    """A command with `{file}` in it, which prints what is said in that WAV file, as a recogniser.

    Raises MioError without `{file}`; the recogniser raises it where the command fails.
    """
    if FILE not in written:
        raise MioError(
            f"--recogniser is {written!r}; it must be MODULE:FUNCTION, or a command with {FILE} where the sound goes,"
            f" such as 'whisper-cli -nt -f {FILE}'"
        )
    words = shlex.split(written)

    def recognise(sounds: Sequence[Audio]) -> list[str]:
        texts = []
        with tempfile.TemporaryDirectory() as folder:
            for number, sound in enumerate(sounds):
                file = Path(folder) / f"{number}.wav"
                write_wav(file, sound)
                command = [word.replace(FILE, str(file)) for word in words]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                except OSError as error:
                    raise MioError(f"the recogniser cannot be run: {error}") from error
                if done.returncode:
                    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
                    raise MioError(f"the recogniser failed with exit status {done.returncode}: {last}")
                texts.append(re.sub(r"\s+", " ", done.stdout).strip())
                file.unlink()
        return texts

    return recognise
