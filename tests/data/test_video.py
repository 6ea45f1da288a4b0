"""The reader of videos over its decoders, and the frames that stand for a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mio_jax.data.media.key_frames import key_frames, scene_scores, scenes, shown_frames, thinned, uniform_frames
from mio_jax.data.media.video_reader import Video, natural, open_video, video_of
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio

SCENES = ((0, 20), (20, 47), (47, 70))  # of the made-up video: cuts before frames 20 and 47
COLOURS = ((200, 30, 30), (30, 60, 220), (240, 230, 40))


def made_up() -> np.ndarray:
    """uint8 [70, 24, 32, 3]: three scenes of one colour each, in which a small square wanders."""
    frames = np.zeros((SCENES[-1][1], 24, 32, 3), np.uint8)
    for (start, stop), colour in zip(SCENES, COLOURS, strict=True):
        frames[start:stop] = colour
    for number, frame in enumerate(frames):
        frame[4:8, number % 28 : number % 28 + 4] = 128
    return frames


def write_film(path: Path, frames: np.ndarray, rate: int = 25) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_animation(path: Path, frames: np.ndarray, duration: int = 40) -> Path:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    more = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0, **more)
    return path


def write_folder(path: Path, frames: np.ndarray) -> Path:
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame{number}.png")
    return path


@pytest.mark.parametrize("kind", ["film.mp4", "film.avi", "a.webp", "a.gif", "a.png", "frames"])
def test_every_decoder_gives_the_same_frames(kind: str, tmp_path: Path) -> None:
    frames = made_up()[::5]
    path = tmp_path / kind
    write = write_film if "film" in kind else write_animation if path.suffix else write_folder
    video = open_video(write(path, frames))
    assert len(video) == len(list(video)) == len(frames) == 14
    found = video[[13, 0, 2, 2]]
    assert found.shape == (4, 24, 32, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found[2], found[3])
    # A film is lossy, and halves the colour's resolution.
    np.testing.assert_allclose(found.mean((1, 2)), frames[[13, 0, 2, 2]].mean((1, 2)), atol=6 if "film" in kind else 1)
    seconds = 1.0 if kind == "frames" else 0.04
    np.testing.assert_allclose(video.times, np.arange(14) * seconds, atol=1e-6)


def test_frames_of_a_folder_stand_in_natural_order(tmp_path: Path) -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame2b.png"]
    assert sorted(names, key=natural) == ["Frame1.png", "frame2.png", "frame2b.png", "frame10.png"]
    frames = np.zeros((12, 4, 4, 3), np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None, None]
    video = open_video(write_folder(tmp_path / "f", frames))
    assert [int(frame[0, 0, 0]) for frame in video] == list(range(12))


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    clear = [Image.new("RGBA", (4, 4), (0, 0, 0, alpha)) for alpha in (0, 255)]
    clear[0].save(tmp_path / "a.webp", save_all=True, append_images=clear[1:], duration=40, lossless=True)
    assert open_video(tmp_path / "a.webp")[[0, 1]][:, 0, 0, 0].tolist() == [255, 0]


def test_scene_cuts_are_found_where_they_are(tmp_path: Path) -> None:
    for video in (video_of(made_up()), open_video(write_film(tmp_path / "film.mp4", made_up()))):
        assert tuple(scenes(scene_scores(video))) == SCENES
        assert key_frames(video).tolist() == key_frames(video, "scenes").tolist() == [10, 33, 58]
    still = video_of(made_up()[:20])
    assert key_frames(still).tolist() == key_frames(still, "uniform").tolist() == list(range(0, 20, 2))
    with pytest.raises(MioError, match="the video has no scene cut"):
        key_frames(still, "scenes")
    with pytest.raises(MioError, match="one of auto, scenes, uniform, all"):
        key_frames(still, "best")


def test_the_measure_is_the_mean_change_of_hue_saturation_and_value() -> None:
    black, white, red = (np.full((2, 2, 3), colour, np.uint8) for colour in (0, 255, (255, 0, 0)))
    wide = np.full((300, 600, 3), 255, np.uint8)
    # black to white: value 255 of 255; white to red: saturation 255.
    np.testing.assert_allclose(scene_scores([black, white, red]), [0, 255 / 3, 255 / 3])
    np.testing.assert_allclose(scene_scores([wide * 0, wide]), [0, 255 / 3])


def test_a_scene_is_not_shorter_than_the_shortest() -> None:
    scores = np.zeros(60)
    scores[[5, 20, 30, 40]] = 50
    assert scenes(scores) == [(0, 20), (20, 40), (40, 60)]  # 5 is too near the beginning, 30 too near 20
    assert scenes(np.zeros(60)) == []


@given(st.integers(1, 400), st.integers(0, 30))
def test_evenly_spaced_frames(count: int, most: int) -> None:
    chosen = uniform_frames(count)
    assert chosen[0] == 0
    assert len(set(np.diff(chosen).tolist())) <= 1
    if count >= 100:
        assert len(chosen) in (10, 11)
    fewer = thinned(chosen, most)
    assert len(fewer) == (min(most, len(chosen)) if most else len(chosen))
    assert (np.diff(fewer) > 0).all()


def test_frames_that_somebody_chose_are_all_shown() -> None:
    frames = made_up()
    assert len(shown_frames(frames[:30])) == 30
    assert np.array_equal(shown_frames(frames[:30], most=3), frames[[5, 15, 25]])
    assert np.array_equal(shown_frames(video_of(frames)), frames[[10, 33, 58]])
    assert len(shown_frames(frames, "uniform")) == 10


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    frames = made_up()[:20]
    (folder / "nothing").mkdir()
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "zero.webp").write_bytes(b"")
    (folder / "words.mp4").write_text("this is no video\n" * 9)
    film = write_film(folder / "cut.mp4", frames)
    film.write_bytes(film.read_bytes()[:300])
    webp = write_animation(folder / "cut.webp", frames)
    webp.write_bytes(webp.read_bytes()[: webp.stat().st_size // 2])
    gif = write_animation(folder / "words.gif", frames)
    gif.write_text("no picture")
    write_wav(folder / "sound.wav", Audio(np.sin(np.arange(8000) / 9).astype(np.float32), 16000))
    write_folder(folder / "uneven", frames[:1])
    Image.new("RGB", (5, 5)).save(folder / "uneven" / "frame1.png")
    write_film(folder / "no_frames.mp4", frames[:0])
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.mp4", "there is no video"),
        ("nothing", "has no frames"),
        ("zero.mp4", "is empty"),
        ("zero.webp", "is empty"),
        ("words.mp4", "damaged or no video"),
        ("words.gif", "damaged or no animated picture"),
        ("cut.mp4", "damaged or no video"),
        ("cut.webp", "damaged or no animated picture"),
        ("sound.wav", "holds no video"),
        ("uneven", "not all of one size"),
        ("no_frames.mp4", "no_frames.mp4"),
    ],
)
def test_one_clear_line(name: str, message: str, bad: Path) -> None:
    with pytest.raises(MioError, match=message) as caught:
        list(open_video(bad / name))
    assert "\n" not in str(caught.value)


def test_a_video_that_loses_frames_is_damaged() -> None:
    frames = made_up()
    short = Video("film", 10, lambda: iter(frames[:7]), lambda: np.arange(10.0))
    assert len(short[[6]]) == 1
    with pytest.raises(MioError, match="film is damaged: its frame 9 of 10"):
        short[[1, 9]]
    with pytest.raises(MioError, match="which has 10"):
        short[[10]]
    for wrong in (frames[0], frames.astype(np.float32), "film"):
        with pytest.raises(MioError, match="a video must be uint8"):
            video_of(wrong)  # type: ignore[arg-type]
    with pytest.raises(MioError, match="has no frames"):
        video_of(frames[:0])
