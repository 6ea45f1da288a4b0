"""Reading ids as they come gives what the recipe's parser makes of the whole."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.generate.reading import Frames, Picture, Reader, Unreadable, Words
from mio_jax.protocols import Segment
from mio_jax.recipes.mio.features import audio_ids, image_ids, parse
from tests.generate.spaces import SPACE, STOP

LAYERS = SPACE.block("speech").layers
LETTERS = SimpleNamespace(text=SimpleNamespace(decode=lambda ids: "".join(chr(65 + int(i)) for i in ids)))


def pieces_of(ids: np.ndarray, cuts: list[int]) -> list:
    reader, found = Reader(SPACE, LETTERS.text.decode), []
    for part in np.split(ids, sorted(min(cut, len(ids)) for cut in cuts)):
        found += list(reader.read(part))
    return [*found, *reader.finish()]


def segments_of(pieces: list) -> list[Segment]:
    """Pieces put together again."""
    segments: list[Segment] = []
    open_text = False
    for piece in pieces:
        if isinstance(piece, Words):
            if open_text:
                segments[-1] = Segment("text", segments[-1].value + piece.text)
            else:
                segments.append(Segment("text", piece.text))
        elif isinstance(piece, Picture):
            segments.append(Segment("image", piece.codes))
        elif isinstance(piece, Frames):
            if piece.first:
                segments.append(Segment("audio", piece.codes))
            else:
                segments[-1] = Segment("audio", np.concatenate([segments[-1].value, piece.codes], axis=1))
        open_text = isinstance(piece, Words)
    return segments


def comparable(segments: object) -> list:
    return [(s.kind, s.value if s.kind == "text" else s.value.tolist()) for s in segments]  # type: ignore[attr-defined]


words = st.lists(st.integers(8, 19), min_size=1, max_size=6).map(lambda ids: np.asarray(ids, np.int32))
pictures = st.lists(st.integers(0, 6), min_size=5, max_size=5).map(lambda codes: image_ids(np.asarray(codes), SPACE))
sounds = st.lists(st.tuples(*[st.integers(0, 3)] * LAYERS), min_size=1, max_size=5).map(
    lambda frames: audio_ids(np.asarray(frames).T, SPACE)
)
cuts = st.lists(st.integers(0, 60), max_size=6)


@given(st.lists(st.one_of(words, pictures, sounds), max_size=5), cuts)
def test_a_well_formed_answer_in_any_pieces(parts: list[np.ndarray], cuts: list[int]) -> None:
    ids = np.concatenate([*parts, [STOP]]).astype(np.int32)
    pieces = pieces_of(ids, cuts)
    assert not [p for p in pieces if isinstance(p, Unreadable)]
    assert [p.last for p in pieces if isinstance(p, Frames)].count(True) == sum(
        s.kind == "audio" for s in parse(ids, LETTERS, SPACE).segments
    )
    assert comparable(segments_of(pieces)) == comparable(parse(ids, LETTERS, SPACE).segments)


@given(st.lists(st.integers(0, SPACE.vocab_size - 1), max_size=40), cuts)
def test_any_ids_at_all(ids: list[int], cuts: list[int]) -> None:
    array = np.asarray(ids, np.int32)
    pieces = pieces_of(array, cuts)
    parsed = parse(array, LETTERS, SPACE)
    assert bool(parsed.error) == any(isinstance(p, Unreadable) for p in pieces)
    if not parsed.error:
        assert comparable(segments_of(pieces)) == comparable(parsed.segments)


def test_a_frame_is_given_out_with_the_code_of_its_last_layer() -> None:
    codes = np.asarray([[0, 1, 2], [3, 2, 1], [1, 1, 0]])
    ids = audio_ids(codes, SPACE)
    reader, came = Reader(SPACE, LETTERS.text.decode), []
    for i, token in enumerate(ids):
        for piece in reader.read([token]):
            assert isinstance(piece, Frames)
            came.append((i, piece.codes.T.tolist(), piece.first, piece.last))
    assert came == [
        (7, [[0, 3, 1]], True, False),
        (8, [[1, 2, 1]], False, False),
        (9, [[2, 1, 0]], False, False),
        (10, [], False, True),
    ]


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        ([0, 4, 8, 9], "out of order or of unequal length"),
        ([0, 4], "no equal layers"),
        ([0, 8], "out of order"),
        ([], "no equal layers"),
    ],
)
def test_sounds_that_cannot_be_decoded(codes: list[int], why: str) -> None:
    span = SPACE.span("audio")
    ids = [span.open, *(SPACE.block("speech").start + c for c in codes), span.close, 9]
    *_, fault, after = pieces_of(np.asarray(ids), [])
    assert isinstance(fault, Unreadable)
    assert why in fault.why
    assert after == Words("J")


def test_a_character_in_two_ids_comes_whole() -> None:
    reader = Reader(SPACE, lambda ids: "é" if len(ids) == 2 else "\ufffd")
    assert list(reader.read([8])) == []
    assert list(reader.read([9])) == [Words("é")]
