"""metrics.jsonl survives being cut anywhere; TensorBoard shows a resumed curve once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mio_jax.train.metrics import MetricsWriter, cut_rows, read_rows


def row(step: int, loss: float | None = None) -> dict[str, object]:
    return {
        "step": step,
        "global_step": 100 + step,
        "stage": "a",
        "loss": 1 / step if loss is None else loss,
        "loss/audio": None,
        "wall_s": 0.5 * step,
    }


def write(folder: Path, first: int, last: int, *, tensorboard: bool = False) -> None:
    writer = MetricsWriter(folder, first - 1, 100 + first - 1, tensorboard)
    for step in range(first, last + 1):
        writer.write(row(step))
    writer.sync()
    writer.close()


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    write(tmp_path, 1, 7)
    assert read_rows(tmp_path / "metrics.jsonl") == [row(step) for step in range(1, 8)]


@pytest.mark.parametrize("step", [0, 3, 7])
@pytest.mark.parametrize("lost", [0, 1, 20])
def test_cut_to_a_step_whatever_the_last_line_is(tmp_path: Path, step: int, lost: int) -> None:
    """`lost` bytes of an eighth row never reached the file."""
    path = tmp_path / "metrics.jsonl"
    write(tmp_path, 1, 8)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - lost])
    kept = cut_rows(path, step)
    assert kept == read_rows(path) == [row(s) for s in range(1, step + 1)]
    write(tmp_path, step + 1, 8)
    assert path.read_bytes() == data


def test_a_kill_before_the_replacement_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    write(tmp_path, 1, 5)
    data = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mio_jax.train.metrics.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            cut_rows(path, 2)
    assert path.read_bytes() == data
    assert len(cut_rows(path, 2)) == 2


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, 0, 0, False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        writer.write(row(1, float("nan")))
    writer.close()
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_tensorboard_has_each_step_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    write(tmp_path, 1, 6, tensorboard=True)
    write(tmp_path, 4, 8, tensorboard=True)  # restored at 3
    steps: list[int] = []
    files = sorted((tmp_path / "tensorboard").glob("events*"))
    assert len(files) == 2
    for path in files:
        data = path.read_bytes()
        while data:  # records: length, its checksum, the event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            if event.HasField("session_log") and event.session_log.status == event.session_log.START:
                steps = [s for s in steps if s < event.step]  # what TensorBoard does with a purge mark
            steps += [event.step for v in event.summary.value if v.tag == "loss"]
    assert steps == [101, 102, 103, 104, 105, 106, 107, 108]
