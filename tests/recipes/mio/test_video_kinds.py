"""Sets of videos of one's own in MIO's kinds of task: frames and texts, and documents in which they take turns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mio_jax.config import AddedSet
from mio_jax.data.shards import encode_examples
from mio_jax.data.sources.base import Source
from mio_jax.data.sources.fluent_anim import FluentAnimations
from mio_jax.data.sources.video_documents import VideoDocuments
from mio_jax.recipes.mio.mixtures.catalogue import KINDS, rows_of, task_name
from mio_jax.recipes.mio.tasks import Record
from tests.data.made_sets.animations import fluent_anim, video_documents

TOKENIZERS = SimpleNamespace(
    image=SimpleNamespace(tokens=2, encode=lambda picture: np.asarray(picture[0, 0, 1:], np.int32))
)
ADDED = (
    AddedSet("fluent_anim", "mio_jax.data.sources.fluent_anim:FluentAnimations", "own", ("chat_video_caption",)),
    AddedSet("video_documents", "mio_jax.data.sources.video_documents:VideoDocuments", "own", ("interleaved",)),
)


def record_of(reader: Source) -> Record:
    [record] = encode_examples(
        [next(one for split in reader.splits for one in reader.examples(split))], reader, TOKENIZERS
    )
    return record


def shown(kind: str, record: Record, style: str) -> str:
    """Text as it is, pictures as their first code."""
    made = KINDS[kind].formatter(record, np.random.default_rng(0), style)
    return "".join(s.value if s.kind == "text" else f"[{s.value[0]}]" for s in made)


def test_frames_and_their_name_both_ways(tmp_path: Path) -> None:
    record = record_of(FluentAnimations(fluent_anim(tmp_path)))
    assert shown("video_caption", record, "base").startswith(
        "Please describe the following video: [30][90][150][210] water wave"
    )
    drawn = shown("chat_text_to_video", record, "chat")
    assert "Please generate a video for ``water wave" in drawn
    assert "assistant\n[30][90][150][210]<|im_end|>" in drawn


def test_a_document_of_clips_and_what_is_told(tmp_path: Path) -> None:
    record = record_of(VideoDocuments(video_documents(tmp_path)))
    document = " ".join(shown("interleaved", record, "base").split())
    assert document == "[10] Cut the onions. Stir, [35] until it boils. <|endoftext|>"


def test_they_are_added_to_a_mixture() -> None:
    rows = rows_of("own", ADDED)
    names = {task_name(row.set, kind) for row, _ in rows for kind, _ in row.kinds}
    assert names == {"mio_fluent_anim_chat_video_caption", "mio_video_documents_interleaved"}


@pytest.mark.parametrize("one", ADDED, ids=[one.name for one in ADDED])
def test_their_readers_are_where_they_are_said_to_be(one: AddedSet) -> None:
    from mio_jax.data.sources.places import reader_class

    assert reader_class(one.source).name == one.name
