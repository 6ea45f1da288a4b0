"""Small made-up folders in the layouts of published sets: `make(set, folder)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mio_jax.data.sources import FOLDER_SOURCES, folder_name
from tests.data.made_sets import acting, boxes, documents, media, pictures, rows, seen, speech, transcribed, words

MAKERS: dict[str, Callable[[Path], None]] = {  # by the name of the folder, which several sets may share
    **acting.MAKERS,
    **boxes.MAKERS,
    **documents.MAKERS,
    **media.MAKERS,
    **pictures.MAKERS,
    **rows.MAKERS,
    **seen.MAKERS,
    **speech.MAKERS,
    **transcribed.MAKERS,
    **words.MAKERS,
}


def make(name: str, raw_dir: Path) -> Path:
    """Makes the folder of a set in `raw_dir` and returns it."""
    folder = raw_dir / folder_name(FOLDER_SOURCES[name], name)
    if not folder.exists():
        folder.mkdir(parents=True)
        MAKERS[folder.name](folder)
    return folder
