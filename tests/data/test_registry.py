from __future__ import annotations

import numpy as np
import pytest

from mio_jax.data import registry
from mio_jax.data.records import RecordReader
from mio_jax.data.registry import Task, add_mixture, add_task, lookup
from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from tests.data import toys

seqio = pytest.importorskip("seqio")


@pytest.fixture
def encoder():
    registry.use_encoder(toys.encode)
    yield
    registry.use_encoder(None)


def rows(dataset):
    return list(dataset.as_numpy_iterator())


def test_lookup_gives_shares_through_nested_mixtures(records_dir):
    assert [(task.name, share) for task, share in lookup("toy_words")] == [("toy_words", 1.0)]
    add_mixture("toy_nested", [("toy_mix", 1.0), ("toy_words", 1.0)])
    shares = {task.name: share for task, share in lookup("toy_nested")}
    assert shares == pytest.approx({"toy_picture": 0.375, "toy_sound": 0.125, "toy_words": 0.5})


def test_registering_again_replaces_tasks_and_mixtures_everywhere(records_dir):
    add_mixture("toy_again", [("toy_picture", 1.0)])
    new = Task("toy_picture", "toy", lambda record, rng, style: [Segment("text", "new")])
    add_task(new, "elsewhere")
    assert lookup("toy_again")[0][0] is new
    assert registry.records_dir_of("toy_picture") == "elsewhere"
    add_mixture("toy_again", [("toy_words", 1.0)])
    assert [task.name for task, _ in lookup("toy_again")] == ["toy_words"]


def test_unknown_names_come_with_the_nearest(records_dir):
    with pytest.raises(MioError, match="no task or mixture is called 'toy_pictures'; did you mean 'toy_picture'"):
        lookup("toy_pictures")
    with pytest.raises(MioError, match=r"mixture 'm'.*'toy_sounds'.*'toy_sound'"):
        add_mixture("m", [("toy_sounds", 1.0)])


@pytest.mark.parametrize(
    ("parts", "message"), [([], "has no parts"), ([("toy_words", 0.0)], "rate of 'toy_words' is 0.0")]
)
def test_impossible_mixtures_are_refused(records_dir, parts, message):
    with pytest.raises(MioError, match=message):
        add_mixture("toy_impossible", parts)


def test_tasks_and_mixtures_share_their_names(records_dir):
    with pytest.raises(MioError, match="already the name of a mixture"):
        add_task(Task("toy_mix", "toy", lambda *a: []), "x")
    with pytest.raises(MioError, match="already the name of a task"):
        add_mixture("toy_words", [("toy_sound", 1.0)])


def test_names_lists_this_projects_tasks_and_mixtures_only(records_dir):
    tasks, mixtures = registry.names()
    assert {"toy_picture", "toy_sound", "toy_words"} <= set(tasks)
    assert "toy_mix" in mixtures
    assert all(hasattr(seqio.TaskRegistry.get(name).source, "mio_task") for name in tasks)


def test_token_rates_become_example_rates():
    rates = dict(registry.example_rates({"a": 3.0, "b": 1.0}, {"a": 300.0, "b": 50.0}))
    assert rates["a"] * 300 / (rates["b"] * 50) == pytest.approx(3.0)
    with pytest.raises(MioError, match="no mean length is known for b"):
        registry.example_rates({"a": 1.0, "b": 1.0}, {"a": 1.0})


def test_seqio_reads_a_task_in_record_order(records_dir, encoder):
    task = seqio.get_mixture_or_task("toy_picture")
    assert task.num_input_examples("train") == 150
    assert set(task.splits) == {"train", "test"}
    got = rows(task.get_dataset(sequence_length=None, split="train", shuffle=False))
    reader = RecordReader(records_dir, "toy", "train")
    assert len(got) == 150
    for row, record in zip(got, (reader[i] for i in range(150)), strict=True):
        expected = toys.encode([Segment("text", record["caption"]), Segment("image", record["image"], True)])
        for name in registry.FEATURES:
            np.testing.assert_array_equal(row[name], getattr(expected, name))
            assert row[name].dtype == registry.FEATURES[name]


def test_seqio_shuffles_by_seed_shards_and_mixes(records_dir, encoder):
    task = seqio.get_mixture_or_task("toy_sound")

    def read(**options):
        return [row["tokens"].tobytes() for row in rows(task.get_dataset(sequence_length=None, **options))]

    plain, shuffled = read(shuffle=False), read(seed=7)
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)
    assert read(seed=7) == shuffled
    halves = [read(shuffle=False, shard_info=seqio.ShardInfo(i, 2)) for i in range(2)]
    assert sorted(halves[0] + halves[1]) == sorted(plain)
    mixed = seqio.get_mixture_or_task("toy_mix").get_dataset(
        sequence_length={"tokens": 96, "modality_ids": 96, "loss_weights": 96}, split="train", seed=3, num_epochs=None
    )
    modalities = [set(row["modality_ids"].tolist()) for row in rows(mixed.take(400))]
    pictures = sum(1 in found for found in modalities)
    assert pictures + sum(2 in found for found in modalities) == 400
    assert 250 < pictures < 350  # three in four


def test_seqio_without_an_encoder_says_what_to_call(records_dir):
    with pytest.raises(Exception, match="use_encoder"):
        rows(seqio.get_mixture_or_task("toy_words").get_dataset(sequence_length=None, split="train"))


def test_where_leaves_records_out_for_seqio_too(records_dir, encoder):
    odd = Task("toy_odd", "toy", lambda r, g, s: [Segment("text", r["id"])], where=lambda r: r["meta/parity"] == "odd")
    add_task(odd, str(records_dir))
    got = rows(seqio.get_mixture_or_task("toy_odd").get_dataset(sequence_length=None, split="test", shuffle=False))
    assert [bytes(row["tokens"].astype(np.uint8)).decode() for row in got] == [f"toy/test/{i}" for i in range(1, 12, 2)]
