"""Made-up folders of classes, of values for every pixel, and of tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.made_sets.files import picture, pixels, write


def imagenet(folder: Path) -> None:
    write(folder / "LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
    for synset in ("n01440764", "n01443537"):
        picture(folder / f"ILSVRC/Data/CLS-LOC/train/{synset}/{synset}_1.JPEG")
    picture(folder / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG")
    write(folder / "LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001,n01443537 1 2 3 4 \n")


def cub200(folder: Path) -> None:
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    for name in names:
        picture(folder / f"images/{name}/a.jpg")
    write(folder / "classes.txt", "".join(f"{k} {name}\n" for k, name in enumerate(names, 1)))
    write(folder / "images.txt", "".join(f"{k} {name}/a.jpg\n" for k, name in enumerate(names, 1)))
    write(folder / "image_class_labels.txt", "1 1\n2 2\n")
    write(folder / "train_test_split.txt", "1 1\n2 0\n")


def inaturalist(folder: Path) -> None:
    categories = [{"id": 0, "name": "Lumbricus terrestris", "common_name": "Common Earthworm"}]
    for part in ("train", "val"):
        file = f"{part}/00000_Animalia/a.jpg"
        picture(folder / file)
        told = {"images": [{"id": 3, "file_name": file}], "annotations": [{"image_id": 3, "category_id": 0}]}
        write(folder / f"{part}.json", {**told, "categories": categories})


def sun397(folder: Path) -> None:
    for part, file in (("Training", "a/abbey/sun_a.jpg"), ("Testing", "a/apse/indoor/sun_b.jpg")):
        picture(folder / file)
        write(folder / f"{part}_01.txt", f"/{file}\n")


def places365(folder: Path) -> None:
    write(folder / "categories_places365.txt", "/a/airfield 0\n/a/apartment_building/outdoor 1\n")
    write(folder / "places365_train_standard.txt", "/a/airfield/00000001.jpg 0\n")
    write(folder / "places365_val.txt", "Places365_val_00000001.jpg 1\n")
    picture(folder / "data_256_standard/a/airfield/00000001.jpg")
    picture(folder / "val_256/Places365_val_00000001.jpg")


def nyuv2(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.stack([pixels(n).T for n in range(11)])
        depth = np.linspace(0.5, 9.5, 40 * 52).reshape(40, 52)
        file["depths"] = np.stack([depth.T.astype(np.float32)] * 11)


def taskonomy(folder: Path) -> None:
    for point in (0, 1):
        picture(folder / f"rgb/allensville/point_{point}_view_0_domain_rgb.png", point)
        picture(folder / f"normal/allensville/point_{point}_view_0_domain_normal.png", 200)


def flow_file(path: Path, motion: np.ndarray) -> None:
    height, width = motion.shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    size = np.asarray([width, height], "<i4").tobytes()
    path.write_bytes(np.float32(202021.25).tobytes() + size + motion.astype("<f4").tobytes())


MOTION = np.stack(np.broadcast_arrays(np.full((40, 52), 6.5), np.linspace(-3, 3, 52)), axis=-1)


def flying_chairs(folder: Path) -> None:
    for number in (1, 2):
        for k in (1, 2):
            picture(folder / f"data/{number:05d}_img{k}.ppm", k)
        flow_file(folder / f"data/{number:05d}_flow.flo", MOTION)
    write(folder / "FlyingChairs_train_val.txt", "1\n2\n")


def mpi_sintel(folder: Path) -> None:
    for scene in ("alley_1", "alley_2"):
        for number in (1, 2):
            picture(folder / f"training/final/{scene}/frame_{number:04d}.png", number)
        flow_file(folder / f"training/flow/{scene}/frame_0001.flo", MOTION)


def _track(frames: Path, told: Path) -> None:
    boxes = [(4 + n, 6, 16, 20) for n in range(7)]
    boxes[2] = (0, 0, 0, 0)  # out of sight
    for n in range(7):
        picture(frames / f"{n + 1:08d}.jpg", n)
    write(told, "".join(",".join(map(str, box)) + "\n" for box in boxes))


def got10k(folder: Path) -> None:
    for part, name in (("train", "GOT-10k_Train_000001"), ("val", "GOT-10k_Val_000001")):
        _track(folder / part / name, folder / part / name / "groundtruth.txt")
        write(folder / part / name / "meta_info.ini", "[METAINFO]\nobject_class: Wild Boar\nanno_fps: 10Hz\n")
        write(folder / part / "list.txt", f"{name}\n")


def lasot(folder: Path) -> None:
    for name in ("airplane-1", "airplane-2"):
        _track(folder / f"airplane/{name}/img", folder / f"airplane/{name}/groundtruth.txt")
    write(folder / "testing_set.txt", "airplane-2\n")


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(imagenet, cub200, inaturalist, sun397, places365),
        *(nyuv2, taskonomy, flying_chairs, mpi_sintel, got10k, lasot),
    )
}
