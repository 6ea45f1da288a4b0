"""Made-up folders of videos of actions, videos with sound, and robots."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.made_sets.files import picture, pixels, write, write_lines
from tests.data.made_sets.media import video

RATE = 8000  # of the sound of made-up videos


def sounding(path: Path, seconds: int, rate: int = 2) -> None:
    """Frames as of `video`, and a tone that is twice as high in every segment of four seconds."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        seen = container.add_stream("mpeg4", rate=rate)
        seen.width, seen.height, seen.pix_fmt, seen.bit_rate = 64, 48, "yuv420p", 2_000_000
        heard = container.add_stream("mp2", rate=48000)
        for number in range(seconds * rate):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels(5 * number, 48, 64)), format="rgb24")
            container.mux(seen.encode(frame))
        container.mux(seen.encode())
        times = np.arange(seconds * 48000) / 48000
        tone = 0.3 * np.sin(2 * np.pi * 220 * 2 ** (times // 4) * times)
        whole = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
        whole.sample_rate = 48000
        fifo = av.AudioFifo()
        fifo.write(whole)
        while (frame := fifo.read(1152, partial=True)) is not None:
            frame.pts = None
            container.mux(heard.encode(frame))
        container.mux(heard.encode())


def youtube_bb(folder: Path) -> None:
    for part, name in (("train", "AAB6lO-XiKE"), ("validation", "-BB")):
        rows = [f"{name},{1000 * n},23,zebra,0,present,0.25,0.5,0.125,0.{3 + n}" for n in range(6)]
        rows.insert(3, f"{name},2500,23,zebra,0,absent,-1.0,-1.0,-1.0,-1.0")
        rows += [f"{name},1000,0,person,1,present,0.1,0.2,0.1,0.2", "gone,1000,0,person,0,present,0.1,0.2,0.1,0.2"]
        write(folder / f"yt_bb_detection_{part}.csv", "\n".join(rows) + "\n")
        video(folder / f"videos/{name}.mp4", 12, 2)


def kinetics710(folder: Path) -> None:
    write(folder / "kinetics710/label_map_k710.txt", "riding a bike\nmarching\n")
    for part, k400 in (("train", "videos_train"), ("val", "videos_val")):
        write(folder / f"kinetics710/k400_{part}_list_videos.txt", f"{part} 1.mp4 1\ngone.mp4 0\n")
        write(folder / f"kinetics710/k700_{part}_list_videos.txt", f"vol_00/-P{part}_000009_000019.mp4 0\n")
        video(folder / f"kinetics400/{k400}/{part} 1.mp4")
        video(folder / f"kinetics700/videos/vol_00/-P{part}_000009_000019.mp4")


def epic_kitchens(folder: Path) -> None:
    head = "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    head += "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
    for part, name in (("train", "P01_01"), ("validation", "P01_11")):
        ends = "00:00:01.089,00:00:00.40,00:00:01.21,8,202"
        rows = "".join(f"{v}_0,P01,{v},{ends},open door,open,3,door,3,\"['door']\",[3]\n" for v in (name, "P01_99"))
        write(folder / f"EPIC_100_{part}.csv", head + rows)
        video(folder / f"EPIC-KITCHENS/P01/videos/{name}.MP4")


def star(folder: Path) -> None:
    for part, name in (("train", "001YG"), ("val", "6H78U")):
        choices = [{"choice_id": n, "choice": said} for n, said in enumerate(("The shoe.", "The door."))]
        asked = {"question": "Which object was  opened?", "answer": "The door.", "choices": choices}
        times = {"video_id": name, "start": 0.5, "end": 1.9}
        write(folder / f"STAR_{part}.json", [{"question_id": f"Interaction_T1_{part}", **times, **asked}])
        video(folder / f"Charades_v1_480/{name}.mp4")


def m4_vitevqa(folder: Path) -> None:
    for part, name in (("train", "05453"), ("val", "02766")):
        told = [("What day is it?", ["Day 1", "1", "Day 1"]), ("Who is he?", ["Salim"])]
        data = [{"question": q, "answers": a, "video_id": name, "question_id": n} for n, (q, a) in enumerate(told)]
        write(folder / f"Annotations/ViteVQA_0.0.2_t1s1{part}.json", {"dataset_type": f"t1s1{part}", "data": data})
        video(folder / f"video/{name}.mp4")


def ava(folder: Path) -> None:
    listed = ((14, "walk"), (17, "carry/hold (an object)"), (80, "watch (a person)"))
    entries = [f'label {{\n  name: "{name}"\n  label_id: {n}\n  label_type: X\n}}\n' for n, name in listed]
    write(folder / "ava_action_list_v2.2.pbtxt", "".join(entries))
    for part, name in (("train", "-5KQ66BBWC4"), ("val", "_145Aa_xkuE")):
        box, other = "0.250,0.500,0.500,1.000", "0.500,0.000,0.750,0.500"
        rows = [f"{name},0001,{box},14,1", f"{name},0001,{box},80,1", f"{name},0001,{other},17,2"]
        write(folder / f"ava_{part}_v2.2.csv", "\n".join([*rows, f"gone,0001,{box},14,1"]) + "\n")
        video(folder / f"trainval/{name}.mkv", 12, 4)


def subtitles() -> str:
    """Three lines that roll up, as YouTube writes them."""
    told = "WEBVTT\nKind: captions\nLanguage: en\n"
    said = [" ", "we<00:00:01.0><c> ride</c>", "a  bike", "to the end of the road"]
    for n in range(1, len(said)):
        time = f"00:00:{14 * (n - 1):02d}.000 --> 00:00:{14 * n:02d}.000 align:start"
        told += f"\n{time}\n{said[n - 1].replace('<00:00:01.0><c>', '').replace('</c>', '')}\n{said[n]}\n"
    return told


def yt_temporal_1b(folder: Path) -> None:
    name = "-QVtAHb90Vc"
    place = folder / "youtube_dump" / name
    sounding(place / f"{name}.mp4", 35)
    told = {"id": name, "title": "A ride", "duration": 35, "transcripts": {"en": subtitles()}}
    (place / f"{name}.v2.info.json.gz").write_bytes(gzip.compress(json.dumps(told).encode()))
    write(folder / "youtube_dump/gone/gone.v2.info.json.gz", "never fetched")


def yt_temporal_180m(folder: Path) -> None:
    heard = [{"word": f"word{n}" if n % 3 else "um", "time": 0.1 * n} for n in range(60)]
    clean = [f"Word{n}," for n in range(60) if n % 3]
    told = {"info": {"id": "WAaKRUoY6Io", "title": "A ride", "duration": 6}, "subtitles": heard}
    told["denoised"] = [{"noisyasr": "", "cleanasr": " ".join(clean[:20])}, {"cleanasr": " ".join(clean[20:])}]
    for name in ("some/WAaKRUoY6Io", "gone"):
        write(folder / f"{name}.grover.json", told)
    video(folder / "some/WAaKRUoY6Io.mp4", 12, 2)


def acav100m(folder: Path) -> None:
    rows = "# SHARD_NAME,FILENAME,YOUTUBE_ID,SEGMENT\n"
    for name in ("qpxektwhzra_292", "gone_3"):
        rows += f'shard-000009,{name}.mp4,{name.split("_")[0]},"[292.33, 302.33]"\n'
    write(folder / "output.csv", rows)
    sounding(folder / "videos/qpxektwhzra_292.mp4", 10)


def hd_vila(folder: Path) -> None:
    clips = [{"clip_id": f"QMi8x8o55Ns.{n}.mp4", "span": ["00:00:17.759", "00:00:23.279"]} for n in (1, 2)]
    one = {"video_id": "QMi8x8o55Ns", "url": "https://www.youtube.com/watch?v=QMi8x8o55Ns", "clip": clips}
    write_lines(folder / "metafiles/hdvila_part0.jsonl", [one, {**one, "video_id": "gone"}])
    sounding(folder / "video_clips/QMi8x8o55Ns/QMi8x8o55Ns.1.mp4", 3)


def kinetics_sounds(folder: Path) -> None:
    head = "label,youtube_id,time_start,time_end,split\n"
    for part, name in (("train", "-0L"), ("val", "-1M")):
        rows = f"playing harmonica,{name},3,13,{part}\nzumba,{name},20,30,{part}\nbowling,gone,0,10,{part}\n"
        write(folder / f"{part}.csv", head + rows)
        sounding(folder / f"{part}/{name}_000003_000013.mp4", 5)


def ego4d(folder: Path) -> None:
    said = ["#C C picks a bag", "#C C puts #unsure down", "#O man X waves", "#Summary C was at home"]
    told = [{"timestamp_sec": 0.5 + n, "timestamp_frame": 15, "narration_text": one} for n, one in enumerate(said)]
    passes = {"narration_pass_1": {"narrations": told, "summaries": []}, "narration_pass_2": {"narrations": told[:1]}}
    write(folder / "v2/annotations/narration.json", {"001e3e4e": passes, "gone": passes})
    video(folder / "v2/full_scale/001e3e4e.mp4", 10, 4)


def _rlds(folder: Path, name: str, counts: dict[str, int], step: Any, features: Any) -> None:
    """Episodes of seven steps in TFDS's files, two in a shard."""
    import tensorflow_datasets as tfds

    flag = tfds.features.Tensor(shape=(), dtype=np.bool_)
    steps = tfds.features.Dataset({"is_first": flag, "reward": tfds.features.Scalar(np.float32), **features})
    folder.mkdir(parents=True, exist_ok=True)
    identity = tfds.core.DatasetIdentity(name=name, version="1.0.0", data_dir=str(folder), module_name=name)
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict({"steps": steps}))
    writer = tfds.core.SequentialWriter(ds_info=info, max_examples_per_shard=2)
    writer.initialize_splits(list(counts))
    for split, count in counts.items():
        made = [[{"is_first": n == 0, "reward": 0.0, **step(e, n)} for n in range(7)] for e in range(count)]
        writer.add_examples({split: [{"steps": episode} for episode in made]})
    writer.close_all()


def language_table(folder: Path) -> None:
    import tensorflow_datasets as tfds

    def step(episode: int, number: int) -> dict[str, Any]:
        told = np.zeros(512, np.int32)
        said = f"push block {episode}  left".encode()
        told[: len(said)] = list(said)
        seen = {"rgb": pixels(10 * episode + number), "instruction": told}
        return {"action": np.array([0.01 * number, -0.25], np.float32), "observation": seen}

    seen = {
        "rgb": tfds.features.Image(shape=(40, 52, 3)),
        "instruction": tfds.features.Tensor(shape=(512,), dtype=np.int32),
    }
    features = {"action": tfds.features.Tensor(shape=(2,), dtype=np.float32), "observation": seen}
    _rlds(folder / "0.0.1", "language_table", {"train": 3}, step, features)


def bridge_v2(folder: Path) -> None:
    import tensorflow_datasets as tfds

    def step(episode: int, number: int) -> dict[str, Any]:
        seen = {"image_0": pixels(10 * episode + number), "state": np.zeros(7, np.float32)}
        said = "" if episode == 1 else "put the pot  on the stove"
        return {"action": np.full(7, 0.02 * number, np.float32), "observation": seen, "language_instruction": said}

    vector = tfds.features.Tensor(shape=(7,), dtype=np.float32)
    seen = {"image_0": tfds.features.Image(shape=(40, 52, 3), encoding_format="jpeg"), "state": vector}
    features = {"action": vector, "observation": seen, "language_instruction": tfds.features.Text()}
    _rlds(folder, "bridge_dataset", {"train": 2, "val": 1}, step, features)


class Foreign:
    """Something of another package in a pickle."""

    def __reduce__(self) -> Any:
        return Path, ("never made",)


def vima(folder: Path) -> None:
    quarter = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)], np.float32)  # a quarter of a turn
    for task, tool, prompt in (
        ("rearrange", "suction", "Put the {dragged_obj} into the {base_obj}, then the {dragged_obj} back."),
        ("sweep_without_touching", "spatula", "Sweep {swept_obj} away."),
    ):
        place = folder / task / "000000"
        for n in range(2):
            picture(place / f"rgb_top/{n}.jpg", n)
        names = ("dragged_obj", "base_obj") if tool == "suction" else ("swept_obj",)
        drawn = {name: pixels(100 + n, 20, 30).transpose(2, 0, 1) for n, name in enumerate(names)}
        assets = {n: {"rgb": {"top": drawn[n], "front": drawn[n]}, "placeholder_type": "object"} for n in names}
        told = {"prompt": prompt, "prompt_assets": assets, "end_effector_type": tool, "steps": 2, "seed": np.int64(4)}
        done = {f"pose{end}_position": np.array([[0.25 + 0.1 * end, -0.5], [0.75, 0.5]], np.float32) for end in (0, 1)}
        done |= {f"pose{end}_rotation": np.stack([np.array([0, 0, 0, 1], np.float32), quarter]) for end in (0, 1)}
        (place / "trajectory.pkl").write_bytes(pickle.dumps({**told, "obj_id_to_info": {4: Foreign()}}))
        (place / "action.pkl").write_bytes(pickle.dumps(done))


def makers() -> Iterator[tuple[str, Any]]:
    yield from ((maker.__name__, maker) for maker in (youtube_bb, kinetics710, epic_kitchens, star, m4_vitevqa, ava))
    yield from ((maker.__name__, maker) for maker in (yt_temporal_1b, acav100m, hd_vila, kinetics_sounds, ego4d))
    yield from ((maker.__name__, maker) for maker in (yt_temporal_180m,))
    yield from ((maker.__name__, maker) for maker in (language_table, bridge_v2, vima))


MAKERS = dict(makers())
