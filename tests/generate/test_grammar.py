"""Whatever is drawn under the grammar can be read, and its check agrees with a reader that knows nothing of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.generate import Grammar, SamplingConfig
from mio_jax.generate.grammar import Position, advance, allowed
from mio_jax.recipes.mio.features import parse
from tests.generate.spaces import CONTEXT, SPACE, STOP, read, tiny_engine

ROWS = 4
GRAMMARS = st.builds(
    Grammar,
    space=st.just(SPACE),
    begin=st.sampled_from(["", "text", "image", "audio"]),
    after=st.sampled_from(["any", "stop"]),
    frames=st.sampled_from([0, 0, 1, 3]),
    max_frames=st.sampled_from([0, 3, 5]),
)


@jax.jit
def one_step(tables, at, remaining, noise):
    mask = allowed(tables, at, remaining)
    token = jnp.argmax(jnp.where(mask, noise, -1), -1)
    return mask, token, advance(tables, at, token)


def draw_responses(grammar: Grammar, budget: int, seed: int, text: float = 0.1) -> list[np.ndarray]:
    """ROWS responses by drawing evenly among the allowed ids, plain text ids less often."""
    tables = jax.tree.map(jnp.asarray, grammar.tables((STOP,)))
    rng = np.random.default_rng(seed)
    start = np.repeat(np.asarray(grammar.start(np.asarray([1, 9]), (STOP,)), np.int32)[:, None], ROWS, 1)
    at, rows, done = Position(*start), [[] for _ in range(ROWS)], [False] * ROWS
    for i in range(budget):
        noise = rng.random((ROWS, SPACE.vocab_size))
        noise[:, :20] *= text
        mask, token, at = one_step(tables, at, np.full(ROWS, budget - i, np.int32), noise)
        for r in range(ROWS):
            if not done[r]:
                assert np.asarray(mask)[r].any(), "nothing is allowed"
                rows[r].append(int(token[r]))
                done[r] = rows[r][-1] == STOP
    return [np.asarray(row, np.int32) for row in rows]


@settings(max_examples=25)
@given(grammar=GRAMMARS, budget=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_what_is_drawn_can_be_read(grammar: Grammar, budget: int, seed: int) -> None:
    fewest = grammar.fewest(grammar.start(np.asarray([1, 9]), (STOP,)))
    if budget < fewest:
        return
    for row in draw_responses(grammar, budget, seed):
        found, fault = read(row)
        assert not fault, (fault, row)
        assert grammar.check(row, (STOP,)) is None
        kinds = [kind for kind, _ in found]
        if grammar.begin:
            assert kinds[0] == grammar.begin
        frames = [n for kind, n in found if kind == "audio"]
        assert all(n == grammar.frames for n in frames if grammar.frames)
        assert all(n <= grammar.max_frames for n in frames if grammar.max_frames)
        if grammar.after == "stop" and set(kinds) - {"text"}:
            assert kinds[-1] != "text"
            assert len(set(kinds) - {"text"}) == 1
            assert sum(kind != "text" for kind in kinds) == 1


def test_the_draws_above_meet_everything() -> None:
    found = [part for seed in range(12) for row in draw_responses(Grammar(SPACE), 40, seed) for part in read(row)[0]]
    assert {kind for kind, _ in found} == {"text", "image", "audio"}
    assert len({n for kind, n in found if kind == "audio"}) > 2, "sounds of several lengths"


@settings(max_examples=25)
@given(budget=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_check_finds_what_a_reader_finds(budget: int, seed: int, data: st.DataObject) -> None:
    row = list(draw_responses(Grammar(SPACE), budget, seed)[0])
    for _ in range(data.draw(st.integers(0, 2))):
        i = data.draw(st.integers(0, max(len(row) - 1, 0)))
        kind = data.draw(st.sampled_from(["drop", "change", "insert"]))
        other = data.draw(st.integers(0, SPACE.vocab_size - 1))
        row[i : i + (kind != "insert")] = [] if kind == "drop" else [other]
    if STOP in row:
        row = row[: row.index(STOP) + 1]
    error = Grammar(SPACE).check(np.asarray(row, np.int32), (STOP,))
    assert (error is None) == (read(np.asarray(row))[1] == ""), (error, row)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (["<image>"], ("image", 5)),
        (["<image>", 26, 27], ("image", 5)),
        (["<spch>"], ("audio", None)),
        (["<spch>", 33, 34], ("audio", None)),
        (["<spch>", 33, 34, 37], ("audio", 2)),
        (["<spch>", 33, 37, 41], ("audio", 1)),
        (["<image>", 26, 26, 26, 26, 26, "</image>", "<spch>", 36], ("audio", None)),
    ],
)
def test_a_prompt_may_end_inside_a_span(prompt: list, words: tuple) -> None:
    ids = [9, *(SPACE.special(t) if isinstance(t, str) else t for t in prompt)]
    grammar = Grammar(SPACE, begin="text")
    state = grammar.start(np.asarray(ids), (STOP,))
    budget = grammar.fewest(state)
    tables = jax.tree.map(jnp.asarray, grammar.tables((STOP,)))
    at = Position(*np.repeat(np.asarray(state, np.int32)[:, None], ROWS, 1))
    new, rng = [], np.random.default_rng(0)
    for i in range(budget):  # in the fewest tokens, so that free runs are cut short as well
        noise = rng.random((ROWS, SPACE.vocab_size))
        _, token, at = one_step(tables, at, np.full(ROWS, budget - i, np.int32), noise)
        new.append(int(token[0]))
    found, fault = read(np.asarray([*ids[1:], *new]))
    assert not fault
    assert found[-1][0] == words[0]
    assert words[1] is None or found[-1][1] == words[1]


def test_a_prompt_with_a_closed_span_in_the_listening_form_is_text() -> None:
    """MIO listens to the first layer alone, which it may not speak."""
    ids = np.asarray([9, SPACE.special("<spch>"), 33, 34, SPACE.special("</spch>"), 10])
    assert Grammar(SPACE).start(ids) == (0, 0, 0)
    assert "sound" not in (Grammar(SPACE).check(ids) or "")
    assert Grammar(SPACE).check(ids) is not None


def test_a_prompt_whose_open_span_is_broken() -> None:
    with pytest.raises(MioError, match="prompt ends inside a media span that is not well formed"):
        Grammar(SPACE).start(np.asarray([SPACE.special("<image>"), 9]))


def test_errors_say_what_and_where() -> None:
    grammar = Grammar(SPACE)
    image = [SPACE.special("<image>"), *[26] * 5, SPACE.special("</image>")]
    assert grammar.check(np.asarray(image)) is None
    assert grammar.check(np.asarray([*image[:4], 9])) == "id 9 (text 9) at place 4 in an unclosed image span"
    assert grammar.check(np.asarray(image[:-1])) == "it ends within an unclosed image span, all codes in place"
    assert "</image>" in (grammar.check(np.asarray([9, image[-1]])) or "")
    assert "must begin with" in (grammar.replace(begin="audio").check(np.asarray(image)) or "")
    assert "outside the vocabulary" in (grammar.check(np.asarray([SPACE.vocab_size])) or "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"begin": "video"}, "cannot begin with 'video'"),
        ({"begin": "image", "media": ("audio",)}, "cannot begin with 'image'"),
        ({"media": ("smell",)}, "no 'smell' spans"),
        ({"after": "never"}, "after is 'never'"),
        ({"frames": 9, "max_frames": 3}, "9 frames and at most 3"),
    ],
)
def test_settings_that_make_no_sense(changes: dict, words: str) -> None:
    with pytest.raises(MioError, match=words):
        Grammar(SPACE, **changes)


def test_after_stop_needs_a_stop_id() -> None:
    with pytest.raises(MioError, match="there are no stop ids"):
        Grammar(SPACE, after="stop").tables()
    only = Grammar(SPACE, begin="image", media=("image",), after="stop")
    only.tables((SPACE.special("</image>"),))  # the closing tag may itself be what ends the response


class Letters:
    """A text tokenizer as far as `parse` needs one."""

    class text:
        @staticmethod
        def decode(ids: np.ndarray) -> str:
            return "".join(chr(97 + int(i)) for i in ids)


@pytest.mark.parametrize("begin", ["", "audio"])
def test_a_random_model_under_the_grammar_speaks_in_whole_spans(begin: str) -> None:
    engine = tiny_engine()
    prompts = [np.asarray([1, 9, 10 + i]) for i in range(4)]
    rows = engine.generate(
        prompts,
        SamplingConfig(temperature=1.5),
        max_new_tokens=40,
        stop_ids=(STOP,),
        grammar=Grammar(SPACE, begin=begin),
        seeds=range(4),
    )
    for row in rows:
        generated = parse(row, Letters, SPACE)
        assert generated.error == ""
        assert read(row)[1] == ""
        assert not begin or generated.segments[0].kind == begin
        assert row[-1] == STOP or len(row) == 40


def test_without_the_grammar_the_same_model_does_not() -> None:
    rows = tiny_engine().generate(
        [np.asarray([1, 9, 10 + i]) for i in range(4)], SamplingConfig(temperature=1.5), max_new_tokens=40
    )
    assert any(read(row)[1] for row in rows)


def test_a_forced_span_that_does_not_fit_is_refused() -> None:
    engine, grammar = tiny_engine(), Grammar(SPACE, begin="image")
    prompt = np.asarray([1, 9])
    assert grammar.fewest(grammar.start(prompt)) == 7
    with pytest.raises(MioError, match="at least 7 tokens, but there is room for 6: raise max_new_tokens"):
        engine.generate([prompt], max_new_tokens=6, grammar=grammar)
    with pytest.raises(MioError, match="shorten the prompt"):
        engine.generate([np.full(CONTEXT - 6, 9)], max_new_tokens=40, grammar=grammar)
