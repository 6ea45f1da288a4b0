"""Made-up folders of documents, conversations and captioned pictures and videos that MIO is trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.data.made_sets.files import picture, picture_bytes, write, write_lines, write_parquet
from tests.data.made_sets.media import video


def mmc4_core_ff(folder: Path) -> None:
    names = [f"pic{n}.png" for n in range(3)]
    for number, name in enumerate(names[:2]):
        picture(folder / "images" / name, number, 30 + number, 40)
    rows = []
    for _ in range(52):
        info = [
            {"image_name": name, "raw_url": "x", "matched_text_index": index, "matched_sim": sim}
            for name, index, sim in zip(names, (1, 0, 1), (0.3, 0.2, 0.4), strict=True)
        ]
        rows.append({"text_list": ["A dog  came.", "It sat."], "image_info": info, "url": "x"})
    write_lines(folder / "docs_no_face_shard_0_v3.jsonl", rows)


def obelics(folder: Path) -> None:
    addresses = [f"https://x.org/{n}.jpg" for n in range(2)]
    name = hashlib.sha1(addresses[0].encode()).hexdigest()
    picture(folder / f"images/{name}.png", 5)
    images = [[None, addresses[0], None, addresses[1]]] * 52
    texts = [["Before it.", None, "Behind  it.", None]] * 52
    write_parquet(folder / "data/train-00000-of-00001-abc.parquet", {"images": images, "texts": texts})


def vist(folder: Path) -> None:
    for split in ("train", "test"):
        for number in (1, 2):
            picture(folder / f"images/{split}/{number}.jpg", number)
        annotations = []
        for story, photos in (("7", ("2", "1")), ("8", ("1", "99"))):
            for place, photo in enumerate(photos):
                one = {"story_id": story, "photo_flickr_id": photo, "worker_arranged_photo_order": place}
                annotations.append([{**one, "original_text": f"Then  {place}.", "text": "then"}])
        images = [{"id": n, "album_id": "44"} for n in ("1", "2")]
        told = {"images": images, "albums": [{"id": "44", "title": "A  trip"}], "annotations": annotations[::-1]}
        write(folder / f"sis/{split}.story-in-sequence.json", told)


def journeydb(folder: Path) -> None:
    for part, file in (("train", "train_anno_realease_repath"), ("valid", "valid_anno_repath")):
        picture(folder / f"data/{part}/imgs/000/a.jpg", 4)
        one = {"img_path": "./000/a.jpg", "prompt": "a dog,  oil --v 5", "Task2": {"Caption": "A dog."}}
        write_lines(folder / f"data/{part}/{file}.jsonl", [one])


def flickr30k(folder: Path) -> None:
    lines = []
    for number in range(60):
        file = f"{number}.jpg"
        picture(folder / "flickr30k-images" / file, number, 8, 8)
        lines += [f"{file}#{n}\tA dog  {n} ." for n in range(2)]
    write(folder / "results_20130124.token", "\n".join(lines) + "\n")


def _chat(
    *said: str, who: tuple[str, str] = ("from", "value"), names: tuple[str, str] = ("human", "gpt")
) -> list[dict]:
    return [{who[0]: names[n % 2], who[1]: text} for n, text in enumerate(said)]


def openhermes(folder: Path) -> None:
    system = {"from": "system", "value": "Be brief."}
    rows = [{"conversations": _chat(f"What is {n}?", "A number.", "And?", "So."), "source": "x"} for n in range(8)]
    rows[1]["conversations"] = [system, *rows[1]["conversations"]]
    write(folder / "openhermes2_5.json", rows)


def geo170k(folder: Path) -> None:
    picture(folder / "images/geo3k/train/0/img_diagram.png", 1)
    one = {"image": "geo3k/train/0/img_diagram.png", "conversations": _chat("<image>\nFind x.", "x is 2.")}
    write(folder / "alignment.json", [one])
    write(folder / "qa_tuning.json", [one, one])


def vision_flan(folder: Path) -> None:
    picture(folder / "images_191task_1k/a.jpg", 1)
    one = {"id": "a", "image": "a.jpg", "task_name": "t", "conversations": _chat("What is it?\n<image>", "A dog.")}
    write(folder / "annotation_191-task_1k.json", [one])


def llavar(folder: Path) -> None:
    picture(folder / "images/b.jpg", 1)
    chat = _chat("<image>\nWhat does it say?", "Stop.", "In which colour?", "Red.")
    write(folder / "llavar_instruct_16k.json", [{"id": "b", "image": "b.jpg", "conversations": chat}])


def mantis_instruct(folder: Path) -> None:
    picture(folder / "nlvr2/train_images/c.png", 1)
    chat = _chat("<image> <image> Are both red?", "No.", who=("role", "content"), names=("user", "assistant"))
    images = [{"bytes": None, "path": "c.png"}, {"bytes": picture_bytes(2), "path": "d.png"}]
    table = {"id": ["x"], "images": [images], "conversation": [chat], "source": ["nlvr2"]}
    write_parquet(folder / "nlvr2/train-00000-of-00001.parquet", table)


def mmicl(folder: Path) -> None:
    """An example before the question, and a picture that nothing marks."""
    for number in range(3):
        picture(folder / f"data/vqa/{number}.png", number)
    shots = "image 0 is <image0>图.\nWhat is in <image0>? A dog.\n\nimage 1 is <image1>图.\nWhat is in image 1?"
    rows = [
        {"input_text": shots, "input_image": ["./data/vqa/2.png", "data/vqa/1.png"], "output_text": " A cat. "},
        {"input_text": "Describe it.", "input_image": ".data/vqa/0.png", "output_text": "A mat."},
    ]
    write_lines(folder / "prompts/vqa-promot-0-train_nature.json", [{**row, "output_image": ""} for row in rows])


def msvd(folder: Path) -> None:
    names = [f"clip{n}_0_5" for n in range(1301)]
    lines = ["# MSVD", *(f"{name} a man  runs" for name in names), f"{names[0]} somebody runs"]
    write(folder / "AllVideoDescriptions.txt", "\n".join(lines) + "\n")
    for name in (names[0], names[1300]):
        video(folder / f"YouTubeClips/{name}.avi")
    one = names[0]
    for name in names[1:1200]:  # the same file a thousand times
        (folder / f"YouTubeClips/{name}.avi").symlink_to(f"{one}.avi")


def videochat2_it(folder: Path) -> None:
    video(folder / "videos/videochat2/v1.mp4")
    qa = [{"i": "Look at the video.", "q": "What is he doing?", "a": " He runs. "}, {"q": "Where?", "a": "Outside."}]
    told = [{"video": "v1.mp4", "QA": qa}, {"video": "gone.mp4", "QA": qa}]
    write(folder / "video/conversation/videochat2/train.json", told)


def howto100m(folder: Path) -> None:
    video(folder / "videos/2CN8.mp4", 40)
    starts = list(range(10))
    told = {"start": [s * 0.8 for s in starts], "end": [s * 0.8 + 0.8 for s in starts]}
    told |= {"text": [f"then  step {s}" for s in starts]}
    write(folder / "caption.json", {"2CN8": told, "gone": told})


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(mmc4_core_ff, obelics, vist, journeydb, flickr30k, openhermes, geo170k, vision_flan, llavar),
        *(mantis_instruct, mmicl, msvd, videochat2_it, howto100m),
    )
}
