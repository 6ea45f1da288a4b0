"""Captions against several references, by the package that papers use: CIDEr-D, BLEU, ROUGE-L (`mio_jax[eval]`).

Texts go through the Penn Treebank tokenizer of that package, which is a Java program. CIDEr weighs words by the
references of the evaluated set: scores of different sets, or of a part of one, are not comparable.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mio_jax.errors import MioError

PROTOCOL = "pycocoevalcap, PTB tokenizer; document frequencies of the evaluated references; CIDEr of 0 to 10"


def _scorers() -> dict[str, Any]:
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError as error:
        raise MioError(
            f"captions are scored with the package pycocoevalcap ({error}): pip install 'mio_jax[eval]'"
        ) from None
    if shutil.which("java") is None:
        raise MioError("captions are tokenized by a Java program, and there is no java here: install a Java runtime")
    return {"bleu": Bleu, "cider": Cider, "rouge": Rouge, "tokenizer": PTBTokenizer}


def metric(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """`caption_metrics`. Raises MioError without the package or Java, before anything is captioned."""
    _scorers()
    return caption_metrics


def caption_metrics(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """SeqIO metric function: references [n][several], captions [n] -> cider, bleu1 to bleu4, rouge_l.

    Raises MioError without the package or Java, with fewer than two captions, or one without a reference.
    """
    if len(targets) != len(predictions) or len(targets) < 2:
        raise MioError(f"{len(predictions)} captions for {len(targets)} sets of references; there must be two or more")
    bare = next((i for i, some in enumerate(targets) if isinstance(some, str) or not len(some)), None)
    if bare is not None:
        raise MioError(f"example {bare} has no list of reference captions")
    made = _scorers()
    # A caption is one line to the tokenizer.
    truth = {i: [{"caption": _line(one)} for one in some] for i, some in enumerate(targets)}
    said = {i: [{"caption": _line(one)}] for i, one in enumerate(predictions)}
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints as it goes
        tokenizer = made["tokenizer"]()
        truth, said = tokenizer.tokenize(truth), tokenizer.tokenize(said)
        cider, _ = made["cider"]().compute_score(truth, said)
        bleus, _ = made["bleu"](4).compute_score(truth, said, verbose=0)
        rouge, _ = made["rouge"]().compute_score(truth, said)
    bleu = {f"bleu{n}": float(value) for n, value in enumerate(bleus, 1)}
    return {"cider": float(cider), **bleu, "rouge_l": float(rouge)}


def _line(text: str) -> str:
    return " ".join(text.split()) or "."
