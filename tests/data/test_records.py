from __future__ import annotations

import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mio_jax.data import records
from mio_jax.data.records import RecordReader, RecordWriter, decode_record, encode_record
from mio_jax.errors import MioError

dtypes = st.sampled_from([np.dtype(np.int32), np.dtype(np.uint8), np.dtype(np.int16)])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(), arrays), max_size=6))
def test_a_record_comes_back_as_it_was(record):
    back = decode_record(encode_record(record))
    assert back.keys() == record.keys()
    for name, value in record.items():
        if isinstance(value, str):
            assert back[name] == value
        else:
            assert back[name].dtype == value.dtype
            np.testing.assert_array_equal(back[name], value)


@given(st.data())
def test_any_truncation_and_any_flipped_bit_is_noticed(data):
    whole = encode_record({"id": "x", "image": np.arange(7, dtype=np.int32)})
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MioError, match="truncated or damaged"):
        decode_record(whole[:cut])
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MioError, match="truncated or damaged"):
        decode_record(bytes(damaged))


@pytest.mark.parametrize("value", [3, np.zeros(3, np.int64), None, [1]])
def test_a_field_that_is_no_string_or_known_array_is_refused_by_name(value):
    with pytest.raises(MioError, match="'codes'"):
        encode_record({"codes": value})


def test_records_read_back_in_order_over_shards(records_dir: pathlib.Path):
    reader = RecordReader(records_dir, "toy", "train")
    assert len(reader) == 150
    assert [reader[i]["id"] for i in range(150)] == [f"toy/train/{i}" for i in range(150)]
    assert len({entry["file"] for entry in reader.manifest["shards"]["train"]}) == 3
    reader.verify()
    with pytest.raises(IndexError):
        reader[150]


def shard_of(records_dir: pathlib.Path) -> pathlib.Path:
    return sorted((records_dir / "toy").glob("train-*"))[1]


def test_a_truncated_shard_is_named_when_the_set_is_opened(records_dir):
    shard = shard_of(records_dir)
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(MioError, match=rf"{shard.name} is truncated .* mio data prepare --sets toy .*--force"):
        RecordReader(records_dir, "toy", "train")


def test_a_damaged_record_is_named_when_it_is_read(records_dir):
    shard = shard_of(records_dir)
    data = bytearray(shard.read_bytes())
    at = 4000  # within the records; the rest of the last block of a shard is padding
    data[at : at + 64] = bytes(64)
    shard.write_bytes(bytes(data))
    reader = RecordReader(records_dir, "toy", "train")
    with pytest.raises(MioError, match=rf"'toy': record \d+ of shard {shard.name} is damaged"):
        [reader[i] for i in range(len(reader))]
    with pytest.raises(MioError, match=f"{shard.name} differs from its checksum"):
        reader.verify()


def test_a_shard_that_is_another_file_of_the_same_size_is_refused(records_dir):
    shard = shard_of(records_dir)
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(MioError, match="is damaged: 50 records expected"):
        RecordReader(records_dir, "toy", "train")


def test_missing_things_are_named_with_the_command_that_makes_them(records_dir):
    shard_of(records_dir).unlink()
    with pytest.raises(MioError, match="is missing; remake them"):
        RecordReader(records_dir, "toy", "train")
    with pytest.raises(MioError, match="no split 'dev'; they have"):
        RecordReader(records_dir, "toy", "dev")
    with pytest.raises(MioError, match=r"no token records of 'other' .* mio data prepare --sets other"):
        RecordReader(records_dir, "other", "train")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}'])
def test_a_bad_manifest_is_one_clear_line(records_dir, content):
    (records_dir / "toy" / records.MANIFEST).write_text(content)
    with pytest.raises(MioError, match=r"manifest.json.*remake it: mio data prepare"):
        RecordReader(records_dir, "toy", "train")


def test_other_tokenizers_are_refused(records_dir):
    manifest = records.read_manifest(records_dir, "toy")
    records.check_manifest(manifest, {**manifest["tokenizers"], "text": "anything"})
    with pytest.raises(MioError, match=r"'toy' records were made by another image tokenizer \(block_means.*--force"):
        records.check_manifest(manifest, {**manifest["tokenizers"], "image": "image_vq:0000"}, records_dir)


def test_a_shard_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "train-00000-of-00001.array_record"
    with RecordWriter(path) as writer:
        writer.write({"id": "good"})
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_shard_that_could_not_be_finished_leaves_nothing(tmp_path):
    with pytest.raises(MioError, match="'x'"), RecordWriter(tmp_path / "shard") as writer:  # noqa: PT012
        writer.write({"id": "good"})
        writer.write({"x": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_refuses_is_one_clear_line(tmp_path):
    with (
        pytest.raises(MioError, match=r"cannot write .*nothing half-written"),
        RecordWriter(tmp_path / "no" / "x") as w,
    ):
        w.write({"id": "1"})
