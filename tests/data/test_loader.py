from __future__ import annotations

import json
import threading
import time
from collections import Counter

import numpy as np
import pytest

from mio_jax.config import Part, StageConfig
from mio_jax.data import registry
from mio_jax.data.loader import held_out, make_loader
from mio_jax.data.packing import ROW_DTYPES
from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from tests.data import toys

MIXTURE = StageConfig(name="s", mixture="toy_mix", batch_size=4)
COMPOSITION = StageConfig(
    name="c", composition=(Part("toy_mix", 2), Part("toy_words", 1), Part("toy_sound", 0), Part("toy_sound", 1))
)


@pytest.fixture
def load(records_dir):
    made = []

    def load(stage=COMPOSITION, seed=5, mine=None, **data):
        loader = make_loader(
            toys.config(records_dir, **data),
            stage,
            toys.encode,
            seed=seed,
            mine=mine,
            fingerprints=toys.tokenizers().fingerprints,
        )
        made.append(loader)
        return loader

    yield load
    for loader in made:
        loader.close()


def take(loader, n):
    return [next(loader) for _ in range(n)]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def segments(batches):
    """(row, tokens) of every example in these batches."""
    for batch in batches:
        for row in range(len(batch["tokens"])):
            for number in range(1, batch["segment_ids"][row].max() + 1):
                yield row, batch["tokens"][row][batch["segment_ids"][row] == number]


def kind(tokens):
    return "picture" if (tokens // 100 == 3).any() else "sound" if (tokens >= 400).any() else "words"


def test_batches_have_the_promised_arrays(load):
    for batch in take(load(), 3):
        assert {name: array.dtype for name, array in batch.items()} == {n: np.dtype(d) for n, d in ROW_DTYPES.items()}
        assert all(array.shape == (4, 96) for array in batch.values())
        assert ((batch["segment_ids"] > 0).mean(1) > 0.5).all()


def test_every_row_of_a_composition_comes_from_its_own_source(load):
    found = Counter((row, kind(tokens)) for row, tokens in segments(take(load(), 40)))
    assert set(found) == {
        (0, "picture"),
        (0, "sound"),
        (1, "picture"),
        (1, "sound"),
        (2, "words"),
        (3, "sound"),
    }
    for row in (0, 1):  # each row keeps the rates: three to one
        share = found[row, "picture"] / (found[row, "picture"] + found[row, "sound"])
        assert 0.7 < share < 0.8


def test_one_epoch_of_a_task_shows_every_record_once_and_the_next_in_another_order(load, monkeypatch):
    loader = load(StageConfig(name="p", mixture="toy_picture", batch_size=1), packing_bins=1)
    texts = []
    while len(texts) < 300:
        texts += [bytes(t[t < 256].astype(np.uint8)).decode() for _, t in segments([next(loader)])]
    first, second = texts[:150], texts[150:300]
    assert sorted(first) == sorted(second) == sorted(f"number {i}" for i in range(150))
    assert first != second
    assert first != sorted(first)


def test_same_seed_same_batches_other_seed_others(load):
    assert_same(take(load(), 5), take(load(), 5))
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(take(load(), 3), take(load(seed=6), 3), strict=True))


def test_prefetching_does_not_change_the_batches(load):
    assert_same(take(load(prefetch=0), 6), take(load(prefetch=3), 6))


@pytest.mark.parametrize("packing", ["first_fit", "window"])
@pytest.mark.parametrize("stage", [MIXTURE, COMPOSITION])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_resumed_loader_sees_exactly_the_batches_that_would_have_followed(load, stage, prefetch, packing):
    data = {"prefetch": prefetch, "packing": packing, "packing_window": 20}
    whole = load(stage, **data)
    batches, states = [], [json.dumps(whole.get_state())]
    for _ in range(12):
        batches.append(next(whole))
        time.sleep(0.002)  # lets the thread run ahead of what was handed out
        states.append(json.dumps(whole.get_state()))
    for at in (0, 1, 5, 11):
        resumed = load(stage, **data)
        resumed.set_state(json.loads(states[at]))
        assert json.dumps(resumed.get_state()) == states[at]
        assert_same(take(resumed, 12 - at), batches[at:])
    # And back in the same loader.
    whole.set_state(json.loads(states[3]))
    assert_same(take(whole, 4), batches[3:7])


@pytest.mark.parametrize("packing", ["first_fit", "window"])
def test_processes_share_the_same_global_batch(load, packing):
    together = take(load(packing=packing), 4)
    # A mesh need not give a process neighbours.
    parts = [take(load(mine=rows, packing=packing), 4) for rows in ([0, 3], [1, 2])]
    joined = [{n: np.concatenate([a[n], b[n]])[[0, 2, 3, 1]] for n in a} for a, b in zip(*parts, strict=True)]
    assert_same(joined, together)


def test_the_state_is_small_and_of_constant_kind(load):
    loader = load()
    take(loader, 30)
    assert len(json.dumps(loader.get_state())) < 1000
    windowed = load(packing="window", packing_window=128)
    take(windowed, 30)
    assert len(json.dumps(windowed.get_state())) < 4 * 128 * 6  # four rows, so many numbers


def test_window_packing_holds_the_same_examples_in_fuller_rows(load):
    stage = StageConfig(name="w", mixture="toy_words", batch_size=2)
    fills, texts = {}, {}
    for packing in ("first_fit", "window"):
        batches = take(load(stage, packing=packing, packing_window=64, length=288), 20)
        fills[packing] = np.mean([batch["segment_ids"] > 0 for batch in batches])
        texts[packing] = {(row, bytes(t.astype(np.uint8))) for row, t in segments(batches)}
    assert fills["window"] > 0.98 > fills["first_fit"]
    assert len(texts["window"] & texts["first_fit"]) > 0.5 * len(texts["first_fit"])


def test_a_state_of_another_packing_is_refused(load):
    state = load().get_state()
    with pytest.raises(MioError, match=r"saved with data\.packing 'first_fit', and the config says 'window'"):
        load(packing="window").set_state(state)


def test_a_state_of_other_rows_or_version_is_refused(load):
    state = load().get_state()
    with pytest.raises(MioError, match="has version 0"):
        load().set_state({**state, "version": 0})
    rows = {number: row for number, row in state["rows"].items() if number != "2"}
    with pytest.raises(MioError, match="no row 2: it was saved for 3 rows"):
        load().set_state({**state, "rows": rows})


def test_style_reaches_the_formatter(load):
    loader = load(StageConfig(name="w", mixture="toy_words", batch_size=1, style="chat"))
    assert all(bytes(t.astype(np.uint8)).startswith(b"chat ") for _, t in segments(take(loader, 3)))


def test_too_long_examples_are_dropped_and_counted(load):
    loader = load(StageConfig(name="w", mixture="toy_words", batch_size=1), length=60, prefetch=0)
    lengths = [len(tokens) for _, tokens in segments(take(loader, 30))]
    assert max(lengths) <= 60
    assert loader.dropped["toy_words"] > 5


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_task_of_which_nothing_fits_is_named(load, prefetch):
    loader = load(StageConfig(name="s", mixture="toy_mix", batch_size=1), length=20, prefetch=prefetch)
    for _ in range(2):  # and named again for who tries again
        with pytest.raises(MioError, match=r"task 'toy_(sound|picture)': none of \d+ examples fits in a row of 20"):
            next(loader)


def test_a_task_that_can_use_no_record_is_named(load, records_dir):
    task = registry.Task("toy_never", "toy", lambda *a: [], where=lambda record: False)
    registry.add_task(task, str(records_dir))
    with pytest.raises(MioError, match=r"task 'toy_never': none of .* records"):
        next(load(StageConfig(name="n", mixture="toy_never", batch_size=1)))


class Halves:
    """A row format of two budgets whose arrays have other shapes: how long the words are, and up to four of them."""

    budgets = (40, 6)

    def sizes(self, example):
        return len(example), 2

    def row(self, examples):
        lengths = np.zeros((4, 2), np.int32)
        lengths[: len(examples)] = [self.sizes(example) for example in examples]
        return {"lengths": lengths, "segment_ids": (np.arange(40) < lengths[:, 0].sum()).astype(np.int32)}


@pytest.mark.parametrize("packing", ["first_fit", "window"])
def test_a_recipe_says_what_a_row_is(records_dir, packing):
    def loader():
        return make_loader(
            toys.config(records_dir, packing=packing),
            StageConfig(name="h", mixture="toy_words", batch_size=3),
            lambda segments: "".join(segment.value for segment in segments if segment.kind == "text"),
            seed=1,
            row_format=Halves(),
            fingerprints=toys.tokenizers().fingerprints,
        )

    first, again = loader(), loader()
    batches = take(first, 4)
    assert all(batch["lengths"].shape == (3, 4, 2) and batch["segment_ids"].shape == (3, 40) for batch in batches)
    for batch in batches:
        assert (batch["lengths"].sum(1) <= Halves.budgets).all()
        assert (batch["lengths"][:, 0] > 0).all()
    take(again, 2)
    state = again.get_state()
    resumed = loader()
    resumed.set_state(state)
    assert_same(take(resumed, 2), batches[2:])
    for one in (first, again, resumed):
        one.close()


def test_where_leaves_records_out(load, records_dir):
    def odd(record):
        return record["meta/parity"] == "odd"

    task = registry.Task("toy_odd", "toy", lambda r, g, s: [Segment("text", r["meta/parity"])], where=odd)
    registry.add_task(task, str(records_dir))
    loader = load(StageConfig(name="o", mixture="toy_odd", batch_size=1))
    assert {bytes(t.astype(np.uint8)) for _, t in segments(take(loader, 3))} == {b"odd"}


def test_an_empty_set_is_named(tmp_path, toy_source, monkeypatch):
    from mio_jax.data.prepare import prepare

    monkeypatch.setattr(toy_source, "count", lambda self, split: 0)
    prepare(toys.config(tmp_path), toys.tokenizers())
    registry.add_task(registry.Task("toy_empty", "toy", lambda *a: []), str(tmp_path))
    with pytest.raises(MioError, match=r"'toy_empty': the 'toy' records in .* have no training examples"):
        make_loader(
            toys.config(tmp_path),
            StageConfig(name="e", mixture="toy_empty", batch_size=1),
            toys.encode,
            seed=0,
            fingerprints=toys.tokenizers().fingerprints,
        )


def test_records_of_other_tokenizers_are_refused(records_dir):
    other = toys.tokenizers(image=toys.BlockMeans(levels=5)).fingerprints
    with pytest.raises(MioError, match="made by another image tokenizer"):
        make_loader(toys.config(records_dir), MIXTURE, toys.encode, seed=0, fingerprints=other)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_damaged_record_ends_the_run_with_its_name(load, records_dir, prefetch):
    for shard in (records_dir / "toy").glob("train-*"):
        data = bytearray(shard.read_bytes())
        data[4000:4064] = bytes(64)
        shard.write_bytes(bytes(data))
    loader = load(prefetch=prefetch)
    with pytest.raises(MioError, match=r"record \d+ of shard train-.* is damaged"):
        take(loader, 100)


def test_a_closed_loader_leaves_no_thread(load):
    loader = load()
    next(loader)
    assert any(thread.name == "mio-loader" for thread in threading.enumerate())
    loader.close()
    assert not any(thread.name == "mio-loader" for thread in threading.enumerate())
    with pytest.raises(ValueError, match="closed"):
        next(loader)


def test_held_out_records_are_a_fixed_draw_of_the_test_split(records_dir):
    drawn = held_out("toy_sound", str(records_dir), 8, seed=1)
    ids = [record["id"] for record in drawn]
    assert len(set(ids)) == 8
    assert all(name.startswith("toy/test/") for name in ids)
    assert [r["id"] for r in held_out("toy_sound", str(records_dir), 8, seed=1)] == ids
    assert [r["id"] for r in held_out("toy_sound", str(records_dir), 8, seed=2)] != ids
    with pytest.raises(MioError, match="has 12 held-out examples in 'test', not 13"):
        held_out("toy_sound", str(records_dir), 13, seed=1)
    with pytest.raises(MioError, match="'toy_mix' is a mixture"):
        held_out("toy_mix", str(records_dir), 1, seed=1)
