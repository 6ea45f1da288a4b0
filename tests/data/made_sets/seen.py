"""Made-up folders of pictures with conditions, cuboids, other views, normals, dialogues and requests."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import numpy as np

from tests.data.made_sets.files import picture, picture_bytes, write, write_lines, write_parquet


def multigen(folder: Path) -> None:
    for kind in ("canny", "depth"):
        rows = []
        for number in range(3):
            picture(folder / f"images/group_0_0/{number}.png", number)
            picture(folder / f"conditions/group_0_{kind}/{number}.png", 90 + number)
            told = {"source": f"./group_0_0/{number}.png", f"control_{kind}": f"group_0_{kind}/{number}.png"}
            rows.append({**told, "prompt": f"A  Dog, {number}"})
        write_lines(folder / f"json_files/aesthetics_plus_all_group_{kind}_all.json", rows)


ROTATION = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]


def omni3d(folder: Path) -> None:
    for part, number in (("train", 1), ("val", 2)):
        file = f"KITTI_object/training/image_2/{number:06d}.png"
        picture(folder / file, number)
        images = [
            {"id": n, "width": 52, "height": 40, "file_path": path, "K": [[60, 0, 26], [0, 60, 20], [0, 0, 1]]}
            for n, path in ((number, file), (9, "SUNRGBD/kv1/gone.jpg"))
        ]
        car = {"image_id": number, "category_id": 1, "category_name": "car", "valid3D": True, "behind_camera": False}
        car |= {"bbox2D_tight": [-1, -1, -1, -1], "bbox2D_trunc": [20, 10, 40, 30], "R_cam": ROTATION}
        car |= {"center_cam": [0.5, 0.0, 8.0], "dimensions": [1.6, 1.5, 3.9]}
        annotations = [car, {**car, "valid3D": False}, {**car, "center_cam": [0, 0, 9e5]}, {**car, "image_id": 9}]
        write(folder / f"Omni3D/KITTI_{part}.json", {"images": images, "annotations": annotations})


def camera_at(theta: float, phi: float, radius: float) -> np.ndarray:
    """A camera [3, 4] at this place, written down without the reader's help; where it looks does not matter."""
    place = radius * np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    return np.concatenate([turn, -(turn @ place)[:, None]], axis=1)


PLACES = ((1.0, 3.0, 1.8), (0.8, -3.0, 2.0))  # theta, phi, radius: the way from one to the other crosses phi = pi


def objaverse(folder: Path) -> None:
    write(folder / "valid_paths.json", ["0a1b", "0a1c"])
    for name in ("0a1b", "0a1c"):
        for number, place in enumerate(PLACES):
            picture(folder / f"{name}/{number:03d}.png", number, 32, 32)
            np.save(folder / f"{name}/{number:03d}.npy", camera_at(*place))


def croco_habitat(folder: Path) -> None:
    lines = []
    for scene in ("00800-TEEsavR23oF", "00801-HaxA7YrQdEC"):
        for view in (1, 2):
            picture(folder / f"hm3d/train/{scene}/00000000_{view}.jpeg", view, 32, 32)
        lines.append(" ".join(f"hm3d/train/{scene}/00000000_{view}.jpeg" for view in (1, 2)))
    write(folder / "pairs.txt", "\n".join(lines))


def framenet(folder: Path) -> None:
    told = {}
    for part, scene in (("train", "scene0000_00"), ("test", "scene0011_00")):
        start = f"scannet-frames/{scene}/frame-000040-"
        picture(folder / f"{start}color.png", 7)
        picture(folder / f"{start}normal.png", 200)
        mask = np.zeros((40, 52), np.uint8)
        mask[:, 26:] = 255
        from PIL import Image

        Image.fromarray(mask).save(folder / f"{start}orient-mask.png")
        old = f"/orion/downloads/framenet/{scene}/frame-000040-"
        told[part] = [[f"{old}color.png"], [f"{old}normal.png"], [f"{old}orient-mask.png"]]
    (folder / "train_test_split.pkl").write_bytes(pickle.dumps(told))


def blendedmvs(folder: Path) -> None:
    """A wall that leans back: nearer on the left; and a hole in its depth."""
    project = "5a3ca9cb270f0e3f14d0eddb"
    write(folder / "BlendedMVS_list.txt", f"{project}\n")
    picture(folder / f"{project}/blended_images/00000000.jpg")
    numbers = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1"
    camera = f"extrinsic\n{numbers}\n\nintrinsic\n50 0 26\n0 50 20\n0 0 1\n\n1.0 0.01 128 2.3\n"
    write(folder / f"{project}/cams/00000000_cam.txt", camera)
    rays = (np.arange(52) - 26) / 50
    depth = np.tile(4.0 / (1.0 - rays), (40, 1)).astype("<f4")  # z = 4 + x
    depth[:3] = 0.0
    path = folder / f"{project}/rendered_depth_maps/00000000.pfm"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"Pf\n52 40\n-1\n" + np.flipud(depth).tobytes())


def visdial(folder: Path) -> None:
    for split, number in (("train", 5), ("val", 6)):
        files = {"train": f"val2014/COCO_val2014_{number:012d}.jpg"}
        files["val"] = f"VisualDialog_val2018/VisualDialog_val2018_{number:012d}.jpg"
        picture(folder / files[split], number)
        turns = [{"question": 1, "answer": 0, "answer_options": [0]}, {"question": 0, "answer": 1}]
        dialogs = [{"image_id": number, "caption": "a  Dog on grass", "dialog": turns}]
        data = {"questions": ["is it big", "what colour is it"], "answers": ["brown", "no"], "dialogs": dialogs}
        write(folder / f"visdial_1.0_{split}.json", {"version": "1.0", "split": split, "data": data})


def vcr(folder: Path) -> None:
    for split in ("train", "val"):
        start = f"lsmdc_3015/{split}@0"
        picture(folder / f"vcr1images/{start}.jpg")
        boxes = [[4.0, 4.0, 20.0, 24.0, 0.99], [30.0, 6.0, 60.0, 36.0, 0.9], [0.0, 0.0, 9.0, 9.0, 0.8]]
        told = {"boxes": boxes, "segms": [], "names": [], "width": 52, "height": 40}
        write(folder / f"vcr1images/{start}.json", told)
        one = {"img_fn": f"{start}.jpg", "metadata_fn": f"{start}.json", "objects": ["person", "person", "car"]}
        one |= {"question": ["Does", [1], "feel", "well", "?"], "answer_label": 1, "rationale_label": 0}
        one |= {"answer_choices": [["Yes", "."], ["No", ",", [0, 1], "do", "n't", "."]], "annot_id": f"{split}-0"}
        write_lines(folder / f"{split}.jsonl", [{**one, "rationale_choices": [["It", "rains", "."], ["Sun", "."]]}])


def stvqa(folder: Path) -> None:
    rows = []
    for number in range(3):
        file = f"COCO_train2014_{number:012d}.jpg"
        picture(folder / "train/coco-text" / file, number)
        one = {"dataset": "coco-text", "file_name": file, "file_path": f"coco-text/{file}", "set_name": "train"}
        rows.append({**one, "question": "Which  number?", "answers": ["22", "22"], "question_id": number})
    write(folder / "train_task_3.json", {"dataset_name": "st_vqa", "set_name": "train", "task": 3, "data": rows})


PICTURE = base64.b64encode(picture_bytes(3)).decode()


def m3it(folder: Path) -> None:
    for part in ("train", "validation"):
        columns = {"instruction": ["Look  at it."] * 2, "inputs": ["What is it?", ""]}
        columns |= {"outputs": ["A dog.\n", "Two dogs."], "image_base64_str": [[PICTURE]] * 2}
        write_parquet(folder / f"okvqa/{part}/0000.parquet", columns)


def mimic_it(folder: Path) -> None:
    def told(answer: str) -> dict[str, object]:
        asked = {"instruction": "What  is it?", "answer": answer, "rel_ins_ids": []}
        both = {**asked, "image_ids": ["LA_IMG_0", "LA_IMG_1"]}
        return {"meta": {}, "data": {"LA_INS_0": {**asked, "image_ids": ["LA_IMG_0"]}, "LA_INS_1": both}}

    write(folder / "json/LA/LADD_instructions.json", told("A dog."))
    write(folder / "json/LA/LACONV_instructions.json", told("A hound."))
    write_parquet(folder / "Parquets/LA.parquet", {"base64": [PICTURE], "__index_level_0__": ["LA_IMG_0"]})


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(multigen, omni3d, objaverse, croco_habitat, framenet, blendedmvs, visdial, vcr, stvqa, m3it, mimic_it),
    )
}
