from __future__ import annotations

import errno
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mio_jax.data import prepare as module
from mio_jax.data import records, shards
from mio_jax.data.prepare import prepare, run_here
from mio_jax.data.records import RecordReader
from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.errors import MioError
from tests.data import toys


def all_bytes(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_records_hold_the_codes_of_their_media(records_dir):
    reader, tokenizers = RecordReader(records_dir, "toy", "train"), toys.tokenizers()
    for number, example in enumerate(toys.Toy().examples("train", 60, 70), 60):
        record = reader[number]
        np.testing.assert_array_equal(record["image"], tokenizers.image.encode(example["image"]))
        white_on_black = np.repeat(example["mask"][..., None] * np.uint8(255), 3, -1)
        np.testing.assert_array_equal(record["mask"], tokenizers.image.encode(white_on_black))
        np.testing.assert_array_equal(record["audio"], tokenizers.audio.encode(example["audio"]))
        assert record["audio"].shape == (2, 10)
        assert record["caption"] == example["caption"]
        assert json.loads(record["captions"]) == example["captions"]
        assert record["meta/parity"] == example["meta/parity"]


@pytest.mark.parametrize("batch", [shards.BATCH, 2], ids=["one batch", "several batches"])
def test_media_that_are_asked_for_stand_beside_their_codes(tmp_path, toy_source, monkeypatch, batch):
    monkeypatch.setattr(shards, "BATCH", batch)
    plain, keep = toys.config(tmp_path), toys.config(tmp_path, keep_media=("image", "mask", "audio"))
    prepare(keep, toys.tokenizers())
    reader = RecordReader(tmp_path, "toy", "test")
    assert len(reader) == toys.Toy().count("test")
    assert reader.manifest["schema"]["raw/image"] == {"kind": "media", "dtype": "uint8", "shape": [16, 16, 3]}
    for number, example in enumerate(toys.Toy().examples("test")):
        record = reader[number]
        np.testing.assert_array_equal(record["raw/image"], example["image"])
        np.testing.assert_array_equal(record["raw/mask"], example["mask"])
        assert np.abs(record["raw/audio"] / 32767 - example["audio"].samples).max() < 1 / 32767
        assert record["raw/audio_rate"] == "16000"
    assert prepare(plain, toys.tokenizers()) == {"toy": "kept"}  # more than is asked for does no harm
    prepare(plain, toys.tokenizers(), force=True)
    with pytest.raises(MioError, match=r"made with keep_media None, this would make \['audio', 'image', 'mask'\]"):
        prepare(keep, toys.tokenizers())


def test_the_manifest_says_how_the_records_were_made(tmp_path, toy_source):
    space = TokenSpace("toy", (Block("text", "text", 0, 256),), (), (), 1, 2, 0)
    assert prepare(toys.config(tmp_path), toys.tokenizers(), space=space) == {"toy": "made"}
    manifest = records.read_manifest(tmp_path, "toy")
    assert manifest["tokenizers"] == {name: toys.tokenizers().fingerprints[name] for name in ("image", "audio")}
    assert manifest["counts"] == {"train": 150, "test": 12}
    assert manifest["source"] == {"name": "toy", "licence": "CC0", "attribution": "nobody"}
    assert manifest["schema"]["audio"] == {"kind": "codes", "dtype": "int32", "shape": [2, 10]}
    assert manifest["schema"]["caption"] == {"kind": "text"}
    assert manifest["token_space"]["blocks"][0]["size"] == 256
    [shard] = manifest["shards"]["test"]
    assert shard["sha256"] == records.sha256_of(tmp_path / "toy" / shard["file"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy"]


def test_a_finished_set_is_left_alone_and_remade_only_by_force(records_dir, toy_source):
    before = all_bytes(records_dir / "toy")
    toy_source.made.clear()
    assert prepare(toys.config(records_dir), toys.tokenizers()) == {"toy": "kept"}
    assert toy_source.made == []
    assert prepare(toys.config(records_dir), toys.tokenizers(), force=True) == {"toy": "made"}
    assert toy_source.made == list(range(150))
    assert all_bytes(records_dir / "toy") == before  # same input, same bytes


def test_an_interrupted_set_goes_on_behind_its_finished_shards(tmp_path, toy_source, monkeypatch, records_dir):
    whole = all_bytes(records_dir / "toy")
    folder = tmp_path / "second"

    class Killed(BaseException):
        pass

    def stop_in_second_shard(record_set, done, total):
        if done > 60:
            raise Killed

    with pytest.raises(Killed):
        prepare(toys.config(folder), toys.tokenizers(), report=stop_in_second_shard)
    assert not (folder / "toy").exists()
    (folder / ".toy.partial" / f"x{records.PARTIAL}").write_text("what SIGKILL leaves behind")
    toy_source.made.clear()
    seen = []
    prepare(toys.config(folder), toys.tokenizers(), report=lambda *now: seen.append(now))
    assert toy_source.made == list(range(50, 150))
    assert seen[0] == ("toy", 50, 162)
    assert seen[-1] == ("toy", 162, 162)
    assert all_bytes(folder / "toy") == whole


def test_an_interrupted_set_of_another_plan_is_begun_anew(tmp_path, toy_source, monkeypatch):
    monkeypatch.setattr(module, "SHARD_EXAMPLES", 50)

    def run_one(jobs, config, tokenizers, advance):
        run_here(jobs[:1], config, tokenizers, advance)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(toys.config(tmp_path), toys.tokenizers(), runner=run_one)
    other = toys.tokenizers(image=toys.BlockMeans(levels=7))
    toy_source.made.clear()
    prepare(toys.config(tmp_path), other)
    assert toy_source.made == list(range(150))
    assert RecordReader(tmp_path, "toy", "train")[0]["image"].max() < 7


def test_records_of_other_tokenizers_or_another_source_are_not_taken(records_dir, toy_source, monkeypatch):
    other = toys.tokenizers(image=toys.BlockMeans(levels=7))
    with pytest.raises(MioError, match="made by another image tokenizer"):
        prepare(toys.config(records_dir), other)
    with pytest.raises(MioError, match="were made with counts"):
        prepare(toys.config(records_dir), toys.tokenizers(), limit=10)
    monkeypatch.setattr(toy_source, "version", "2")
    with pytest.raises(MioError, match=r"were made with source_version 1, this would make 2.*--force"):
        prepare(toys.config(records_dir), toys.tokenizers())


def test_a_damaged_finished_set_is_not_kept(records_dir):
    shard = sorted((records_dir / "toy").glob("train-*"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(MioError, match="truncated"):
        prepare(toys.config(records_dir), toys.tokenizers())


def test_limit_takes_the_first_examples_of_every_split(tmp_path, toy_source):
    prepare(toys.config(tmp_path), toys.tokenizers(), limit=5)
    assert [len(RecordReader(tmp_path, "toy", split)) for split in ("train", "test")] == [5, 5]


def read_aside(folder):
    return [json.loads(line) for line in (folder / "toy" / module.SET_ASIDE).read_text().splitlines()]


def test_a_bad_example_is_set_aside_with_its_reason(tmp_path, toy_source, monkeypatch, records_dir):
    monkeypatch.setattr(toy_source, "bad", 77)
    seen = []
    prepare(toys.config(tmp_path / "b"), toys.tokenizers(), report=lambda *now: seen.append(now))
    assert seen[-1] == ("toy", 162, 162)
    [bad] = read_aside(tmp_path / "b")
    assert (bad["split"], bad["position"], bad["id"]) == ("train", 77, "toy/train/77")
    assert "a picture is [height, width, 3]" in bad["reason"]
    manifest = records.read_manifest(tmp_path / "b", "toy")
    assert (manifest["counts"], manifest["set_aside"]) == ({"train": 149, "test": 12}, {"train": 1, "test": 0})
    whole, made = (RecordReader(folder, "toy", "train") for folder in (records_dir, tmp_path / "b"))
    ids = [made[n]["id"] for n in range(len(made))]
    assert ids == [whole[n]["id"] for n in range(150) if n != 77]
    np.testing.assert_array_equal(made[77]["audio"], whole[78]["audio"])
    assert prepare(toys.config(tmp_path / "b"), toys.tokenizers()) == {"toy": "kept"}  # asked for as many as before


def test_an_example_that_cannot_be_read_or_has_other_fields_is_set_aside(tmp_path, toy_source, monkeypatch):
    examples = toy_source.examples

    def broken(self, split, start=0, stop=None):
        for number, example in enumerate(examples(self, split, start, stop), start):
            if (split, number) == ("train", 3) or (split, number) == ("test", 11):
                raise OSError("the file ends too early")
            if (split, number) == ("train", 149):
                del example["caption"]
            yield example

    monkeypatch.setattr(toy_source, "examples", broken)
    seen = []
    prepare(toys.config(tmp_path), toys.tokenizers(), report=lambda *now: seen.append(now))
    assert seen[-1] == ("toy", 162, 162)
    found = [(one["split"], one["position"], one["id"], one["reason"][:28]) for one in read_aside(tmp_path)]
    assert found == [
        ("train", 3, None, "OSError: the file ends too e"),
        ("train", 149, "toy/train/149", "it has the fields ['audio', "),
        ("test", 11, None, "OSError: the file ends too e"),
    ]
    assert [len(RecordReader(tmp_path, "toy", split)) for split in ("train", "test")] == [148, 11]


def test_a_split_of_which_nothing_can_be_used_is_an_error(tmp_path, toy_source, monkeypatch):
    def none(self, *which):
        raise MioError("this needs the data in the package 'toys'")
        yield

    monkeypatch.setattr(toy_source, "examples", none)
    with pytest.raises(MioError, match=r"every example of 'train' is bad; the first because .* package 'toys'"):
        prepare(toys.config(tmp_path), toys.tokenizers())
    assert not (tmp_path / "toy").exists()


def test_what_is_not_an_examples_fault_is_not_blamed_on_it(tmp_path, toy_source, monkeypatch):
    def out_of_memory(self, media):
        raise RuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(toys.Loudness, "encode_batch", out_of_memory)
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        prepare(toys.config(tmp_path), toys.tokenizers())


def test_a_source_that_does_not_keep_its_count_is_refused(tmp_path, toy_source, monkeypatch):
    monkeypatch.setattr(toy_source, "count", lambda self, split: 20)
    monkeypatch.setattr(toy_source, "examples", lambda self, *a: iter([{"id": "1", "caption": "x"}]))
    with pytest.raises(MioError, match=r"yielded 1 examples .* not 20"):
        prepare(toys.config(tmp_path), toys.tokenizers())


def test_an_unknown_set_names_those_that_there_are(tmp_path, toy_source):
    with pytest.raises(MioError, match="unknown source 'cifar'; there are: toy"):
        prepare(toys.config(tmp_path), toys.tokenizers(), sets=["cifar"])


def test_a_full_disk_is_one_clear_line_and_leaves_no_set(tmp_path, toy_source):
    """A real refusal by the system: the process may not write files beyond a few kilobytes."""
    program = f"""
import resource, signal, sys
from mio_jax.data.prepare import prepare
from mio_jax.data.sources.base import SOURCES
from mio_jax.errors import MioError
from tests.data import toys
SOURCES["toy"] = "tests.data.toys:Toy"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    prepare(toys.config({str(tmp_path)!r}), toys.tokenizers(), sets=["toy"])
except MioError as error:
    print(error)
    sys.exit(2)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    [line] = done.stdout.strip().splitlines()
    assert "cannot write" in line
    assert "File too large" in line
    assert not (tmp_path / "toy").exists()
    assert [p.name for p in (tmp_path / ".toy.partial").iterdir()] == ["plan.json"]


def test_no_space_for_the_manifest_leaves_no_set(tmp_path, toy_source, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(MioError, match="No space left on device"):
        prepare(toys.config(tmp_path), toys.tokenizers())
    assert not (tmp_path / "toy").exists()


def test_beam_makes_the_same_bytes(tmp_path, toy_source, monkeypatch):
    pytest.importorskip("apache_beam")
    from mio_jax.data.prepare_beam import beam_runner

    monkeypatch.setattr(module, "SHARD_EXAMPLES", 50)
    monkeypatch.setattr("mio_tokenizers.load_set", lambda config: toys.tokenizers())
    monkeypatch.setattr(toy_source, "bad", 77)
    prepare(toys.config(tmp_path), toys.tokenizers())
    seen = []
    runner = beam_runner(["--runner=DirectRunner", "--direct_running_mode=in_memory"])
    folder = tmp_path / "beam"
    prepare(toys.config(folder), toys.tokenizers(), runner=runner, report=lambda *now: seen.append(now))
    assert seen[-1] == ("toy", 162, 162)
    assert all_bytes(folder / "toy") == all_bytes(tmp_path / "toy")
    assert len(read_aside(folder)) == 1


def test_beam_makes_only_the_shards_that_are_missing(tmp_path, toy_source, monkeypatch):
    pytest.importorskip("apache_beam")
    from mio_jax.data.prepare_beam import beam_runner

    monkeypatch.setattr(module, "SHARD_EXAMPLES", 50)
    prepare(toys.config(tmp_path), toys.tokenizers())
    monkeypatch.setattr("mio_tokenizers.load_set", lambda config: toys.tokenizers())
    runner = beam_runner(["--runner=DirectRunner", "--direct_running_mode=in_memory"])

    def run_one_and_die(jobs, config, tokenizers, advance):
        runner(jobs[1:2], config, tokenizers, advance)
        raise KeyboardInterrupt

    folder = tmp_path / "beam"
    with pytest.raises(KeyboardInterrupt):
        prepare(toys.config(folder), toys.tokenizers(), runner=run_one_and_die)
    toy_source.made.clear()
    prepare(toys.config(folder), toys.tokenizers(), runner=runner)
    assert sorted(toy_source.made) == [*range(50), *range(100, 150)]
    assert all_bytes(folder / "toy") == all_bytes(tmp_path / "toy")


def test_beams_own_options_reach_beam(tmp_path, toy_source, monkeypatch):
    beam = pytest.importorskip("apache_beam")
    from mio_jax.data import prepare_beam

    class Stopped(Exception):
        pass

    given = []

    def pipeline(options):
        given.append(options.get_all_options())
        raise Stopped

    monkeypatch.setattr(beam, "Pipeline", pipeline)
    for options in (
        {"runner": "DataflowRunner", "project": "p", "region": "r", "temp_location": "gs://b/t"},
        {"runner": "FlinkRunner", "flink_master": "localhost:8081", "environment_type": "LOOPBACK"},
        {"runner": "SparkRunner", "spark_master_url": "spark://host:7077"},
    ):
        runner = prepare_beam.beam_runner([f"--{name}={value}" for name, value in options.items()])
        with pytest.raises(Stopped):
            prepare(toys.config(tmp_path), toys.tokenizers(), runner=runner)
        assert options.items() <= given.pop().items()


def test_beam_that_is_not_installed_is_one_clear_line(monkeypatch):
    from mio_jax.data.prepare_beam import beam_runner

    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(MioError, match=r"pip install 'mio_jax\[beam\]'"):
        beam_runner()
