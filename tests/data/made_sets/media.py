"""Made-up folders of sounds and videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.made_sets.files import pixels, sound, write


def audiocaps(folder: Path) -> None:
    head = "audiocap_id,youtube_id,start_time,caption\n"
    write(folder / "train.csv", head + '1,aa,30,"A dog, barking"\n2,b-b,0,Rain\n3,gone,10,Wind\n')
    write(folder / "val.csv", head + "4,v,0,One\n5,v,0,Two\n")
    write(folder / "test.csv", head + "6,t,0,Three\n")
    for split, names in {"train": ("aa", "b-b"), "val": ("v",), "test": ("t",)}.items():
        for rate, name in enumerate(names):
            sound(folder / split / f"Y{name}.wav", 0.5, 8000 * (rate + 1))


def clotho(folder: Path) -> None:
    head = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
    for part in ("development", "evaluation"):
        write(folder / f"clotho_captions_{part}.csv", head + 'a b.wav,"Rain, falls",Rain,Rain,Rain,Drops  fall\n')
        sound(folder / part / "a b.wav", 10.0, 8000)


def musiccaps(folder: Path) -> None:
    head = "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,"
    head += "author_id,is_balanced_subset,is_audioset_eval\n"
    rows = "-0G,30,40,/m/x,['a'],A low  voice.,4,False,True\nb1,0,10,/m/x,['a'],Drums.,4,False,False\n"
    write(folder / "musiccaps-public.csv", head + rows + "gone,0,10,/m/x,['a'],Flute.,4,False,False\n")
    sound(folder / "clips/-0G.wav")
    sound(folder / "clips/b1.wav")


def macs(folder: Path) -> None:
    said = (
        "files:\n- filename: airport-a.wav\n  annotations:\n  - {annotator_id: 1, sentence: People  talk, tags: [a]}\n"
    )
    write(folder / "MACS.yaml", said)
    sound(folder / "audio/airport-a.wav")


def ljspeech(folder: Path) -> None:
    write(folder / "metadata.csv", "LJ001-0001|Dr. Smith|Doctor Smith\nLJ001-0002|It is so|It is so\n")
    sound(folder / "wavs/LJ001-0001.wav", 1.5, 22050)
    sound(folder / "wavs/LJ001-0002.wav", 9.0, 22050)


def vggsound(folder: Path) -> None:
    write(folder / "vggsound.csv", '---g,1,"people marching",train\n-t,30,dog barking,test\ngone,2,x,train\n')
    sound(folder / "clips/---g_000001.wav")
    sound(folder / "clips/-t_000030.wav")


def audioset(folder: Path) -> None:
    classes = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00088,"Gush, flow"\n'
    write(folder / "class_labels_indices.csv", classes)
    head = "# Segments csv created Sun Mar 5 10:54:31 2017\n# YTID, start_seconds, end_seconds, positive_labels\n"
    for part, name in (("balanced_train", "--P"), ("eval", "-e")):
        row = f'{name}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\ngone, 0.000, 10.000, "/m/09x0r"\n'
        write(folder / f"{part}_segments.csv", head + row)
        sound(folder / f"clips/{name}_000030.wav", 10.0)


def video(path: Path, count: int = 10, rate: int = 5) -> None:
    """Frames whose blue tells their number, 20 apart."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels(20 * number, 48, 64)), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def msrvtt(folder: Path) -> None:
    for file, part, split, name in (
        ("train_val", "TrainValVideo", "train", "video0"),
        ("test", "TestVideo", "test", "video7010"),
    ):
        video(folder / part / f"{name}.mp4")
        sentences = [{"video_id": name, "caption": text} for text in ("a man  runs", "somebody is running")]
        videos = [{"video_id": name, "split": split}]
        write(folder / f"{file}_videodatainfo.json", {"videos": videos, "sentences": sentences})


def vatex(folder: Path) -> None:
    for part, name in (("training", "Ptf_000122_000132"), ("validation", "Qtf_000001_000011")):
        video(folder / f"videos/{name}.mp4")
        told = [{"videoID": name, "enCap": ["A man runs."], "chCap": []}, {"videoID": "gone", "enCap": ["x"]}]
        write(folder / f"vatex_{part}_v1.0.json", told)


def webvid(folder: Path) -> None:
    head = "videoid,contentUrl,duration,page_dir,name\n"
    for part, number in (("train", 1), ("val", 2)):
        video(folder / f"videos/000_050/{number}.mp4")
        rows = f"{number},https://x,PT00H00M20S,000_050,A man  runs\n99,https://x,PT00H00M20S,000_050,gone\n"
        write(folder / f"results_10M_{part}.csv", head + rows)


def ucf101(folder: Path) -> None:
    write(folder / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n")
    for part, group in (("train", "08"), ("test", "01")):
        file = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{group}_c01.avi"
        video(folder / "UCF-101" / file)
        write(folder / f"ucfTrainTestlist/{part}list01.txt", f"{file} 1\n" if part == "train" else f"{file}\n")


def something_something_v2(folder: Path) -> None:
    for part, number in (("train", 78687), ("validation", 74225)):
        video(folder / f"20bn-something-something-v2/{number}.webm")
        told = {"id": str(number), "label": "holding potato", "template": "Holding [something]", "placeholders": []}
        write(folder / f"labels/{part}.json", [told])


def msrvtt_qa(folder: Path) -> None:
    for part, number in (("train", 0), ("test", 7010)):
        video(folder / f"videos/video{number}.mp4")
        write(
            folder / f"{part}_qa.json",
            [{"id": 0, "video_id": number, "question": "what is he doing?", "answer": "run"}],
        )


def msvd_qa(folder: Path) -> None:
    write(folder / "youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid1\n-7KMZQEsJW4_205_208 vid2\n")
    for part, number, name in (("train", 1, "-4wsuPCjDBc_5_15"), ("test", 2, "-7KMZQEsJW4_205_208")):
        video(folder / f"YouTubeClips/{name}.avi")
        write(folder / f"{part}_qa.json", [{"id": 0, "video_id": number, "question": "who runs?", "answer": "man"}])


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(audiocaps, clotho, musiccaps, macs, ljspeech, vggsound, audioset),
        *(msrvtt, vatex, webvid, ucf101, something_something_v2, msrvtt_qa, msvd_qa),
    )
}
