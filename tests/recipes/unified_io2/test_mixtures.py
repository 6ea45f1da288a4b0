"""The published mixtures: rates, prompts, augmentations, what is said of absent sets, and a set of one's own."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.cli.main import main
from mio_jax.config import AddedSet, DataConfig, RunConfig, TokenizersConfig
from mio_jax.config_loading import from_dict, load_config_file, to_dict
from mio_jax.data import registry
from mio_jax.data.availability import usable
from mio_jax.data.loader import make_loader
from mio_jax.data.media.dense_changes import complement, facing, inside, swapped_channels, union, within_box
from mio_jax.data.sources import FOLDER_SOURCES, SOURCES
from mio_jax.errors import MioError
from mio_jax.protocols import load_recipe
from mio_jax.recipes.mio.mixtures.tables import MIXTURES as MIO_MIXTURES
from mio_jax.recipes.unified_io2 import augment
from mio_jax.recipes.unified_io2.kinds import KINDS
from mio_jax.recipes.unified_io2.mixtures import catalogue, instruction, pretraining
from mio_jax.recipes.unified_io2.mixtures.rows import Category, Row, by_root_of_size, rate_of
from mio_jax.recipes.unified_io2.prompt_library import draw, wordings
from mio_jax.recipes.unified_io2.prompt_tables import TABLES
from mio_jax.recipes.unified_io2.prompts import PREFIXES, fill, placeholders
from mio_jax.recipes.unified_io2.tasks import register_tasks
from mio_tokenizers import load_set
from mio_tokenizers.structured.extra_ids import read_points, read_values
from tests.data.made_sets import make
from tests.data.made_sets.files import picture

ROOT = Path(__file__).parents[3]
TABLES_OF = {pretraining.NAME: pretraining.ROWS, instruction.NAME: instruction.ROWS}
SEED = st.integers(0, 2**32 - 1)


# ------------------------------------------------------------------------------------------------------------- rates


def test_rates_of_pretraining_are_the_published_ones() -> None:
    assert math.isclose(sum(pretraining.GROUPS.values()), 100.0)
    for group, published in pretraining.GROUPS.items():
        assert abs(rate_of(row for row in pretraining.ROWS if row.group == group) - published) < 0.08, group
    assert len({row.set for row in pretraining.ROWS}) == len(pretraining.ROWS)


def test_rates_of_instruction_tuning_are_the_published_ones() -> None:
    totals = {"image_generation": 17.6, "audio_generation": 7.5, "image_understanding": 17.8, "image_sparse": 7.25}
    totals |= {"image_dense": 4.06, "video_understanding": 10.6, "video_sparse": 3.42, "audio_understanding": 2.5}
    totals |= {"natural_language": 25.0, "embodied": 4.33}
    for group, published in totals.items():
        inside_it = [name for name, category in instruction.CATEGORIES.items() if category.group == group]
        assert abs(rate_of(row for row in instruction.ROWS if row.group in inside_it) - published) < 0.08, group
    for name, category in instruction.CATEGORIES.items():
        assert math.isclose(rate_of(row for row in instruction.ROWS if row.group == name), category.rate), name
    flan = {row.set.removeprefix("flan_"): row.rate for row in instruction.ROWS if row.set.startswith("flan_")}
    for part, weight in instruction.FLAN_WEIGHTS.items():
        assert math.isclose(flan[part] / sum(flan.values()), weight)


def test_sets_share_a_category_by_the_root_of_their_size() -> None:
    categories = {"a": Category("g", 6.0, 2), "b": Category("g", 1.0, 1)}
    rows = [Row("x", "X", "a", (), 0.0, 100.0), Row("y", "Y", "a", (), 0.0, 400.0), Row("z", "Z", "b", (), 0.0, 5.0)]
    assert [row.rate for row in by_root_of_size(rows, categories)] == [2.0, 4.0, 1.0]
    with pytest.raises(MioError, match="no set is in the category 'b'"):
        by_root_of_size(rows[:2], categories)
    with pytest.raises(MioError, match="the row of 'x' has category 'c'"):
        by_root_of_size([dataclasses.replace(rows[0], group="c")], categories)


def test_every_row_is_readable_or_says_that_it_is_not(tmp_path: Path) -> None:
    register_tasks(str(tmp_path))
    for name, rows in TABLES_OF.items():
        entries = registry.lookup(name)
        assert {task.record_set for task, _ in entries} == {row.set for row in rows}
        for row in rows:
            assert set(row.kinds) <= set(KINDS)
            tasks = [(task, share) for task, share in entries if task.record_set == row.set]
            assert all(bool(task.unreadable) != catalogue.is_readable(row) for task, _ in tasks if row.kinds)
            for task, _ in tasks:
                if not catalogue.is_readable(row) and not row.kinds:
                    with pytest.raises(MioError, match=r"there is no (reader of|kind of task for)"):
                        task.formatter({}, np.random.default_rng(0), "base")
        total = sum(row.rate for row in rows)
        for row in rows:
            expected = sum(other.rate for other in rows if other.set == row.set) / total
            share = sum(share for task, share in entries if task.record_set == row.set)
            assert math.isclose(share, expected)
    named = {row.set for rows in TABLES_OF.values() for row in rows if row.kinds}
    named |= {row.set for rows in MIO_MIXTURES.values() for row in rows}
    # Speech, which this recipe's sounds are not, is read for others.
    others = {name for name in FOLDER_SOURCES if ".speech" in FOLDER_SOURCES[name]}
    assert set(FOLDER_SOURCES) - others <= named, "a reader that no mixture names"


def test_the_page_tells_what_can_be_read(tmp_path: Path) -> None:
    register_tasks(str(tmp_path))
    page = (ROOT / "docs/unified_io2_data.md").read_text(encoding="utf-8")
    for name in TABLES_OF:
        entries = registry.lookup(name)
        readable = [(task, share) for task, share in entries if not task.unreadable]
        counts = [len({task.record_set for task, _ in some}) for some in (entries, readable)]
        line = f"| `{name}` | {counts[0]} | {counts[1]}, {sum(share for _, share in readable):.1%} |".replace("%", " %")
        assert line in page, line


# ------------------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_wordings(kind: str) -> None:
    modality, known = wordings(kind)
    assert len(known) == len(set(known)) >= 5
    names = {tuple(sorted(placeholders(wording))) for wording in known}
    assert len(names) == 1, "all wordings of a kind have the same places"
    [places] = names
    values = {name: f"<VALUE {name}>" for name in places if name}
    asked = {
        draw(kind, np.random.default_rng(seed), *(["<VALUE>"] if "" in places else []), **values) for seed in range(99)
    }
    assert len(asked) == len(known)
    for text in asked:
        assert text.startswith(PREFIXES[modality, "S"] + " ")
        assert "{" not in text
        assert text.count("<VALUE") == len(places)
    for wording in known:
        for place in ("{box}", "{subject}", "{object}", "{first}", "{second}"):  # location tokens count after a space
            at = wording.find(place)
            assert at < 0 or (wording[:at].endswith(" ") or at == 0)
            assert at < 0 or wording[at + len(place) :][:1] in ("", " ")


def test_kinds_have_wordings() -> None:
    unprompted = {"language", "document", "pair", "seen_pair", "sound_pair", "video_pair", "interleaved"}
    unprompted |= {"heard_video", "sounding_video"}
    unprompted |= {"interleaved_document", "pair_of_views"}
    assert set(KINDS) - unprompted <= set(TABLES)
    with pytest.raises(MioError, match="no wordings of 'dance'"):
        draw("dance", np.random.default_rng(0))
    assert fill("Find {}", "{cat}") == "Find {cat}"


# ------------------------------------------------------------------------------------------------------- augmentations


@st.composite
def boxes(draw_: Any) -> np.ndarray:
    y, x = (sorted((draw_(st.integers(0, 98)), draw_(st.integers(0, 98)))) for _ in range(2))
    return np.array([y[0], x[0], y[1] + 1, x[1] + 1]) / 100


@given(boxes(), boxes())
def test_relations_turn_round(first: np.ndarray, second: np.ndarray) -> None:
    opposite = {"above": "below", "to the left of": "to the right of", "inside": "around"}
    opposite |= {v: k for k, v in opposite.items()} | {n: n for n in ("overlapping", "in the same place as")}
    one, other = augment.relation(first, second), augment.relation(second, first)
    assert other == opposite[one]
    assert augment.relations([first, second], ["a", "b"]) == [("a", one, "b")]
    assert augment.distance(first, second) == augment.distance(second, first) <= 1
    if one == "above":
        assert first[2] <= second[0] + 1e-3


@given(boxes())
def test_properties_of_boxes(box: np.ndarray) -> None:
    y1, x1, y2, x2 = box
    values = {name: augment.box_property(box, name) for name in augment.BOX_PROPERTIES}
    for name, wanted in (("width", x2 - x1), ("height", y2 - y1), ("area", (y2 - y1) * (x2 - x1))):
        np.testing.assert_allclose(read_values(values[name], 1).items, [[wanted]], atol=1.1e-3)
    np.testing.assert_allclose(read_points(values["top_left"]).items, [[y1, x1]], atol=1.1e-3)
    [[y, x, height, width]] = read_values(values["centre_and_size"], 4).items
    np.testing.assert_allclose([y - height / 2, x - width / 2, y + height / 2, x + width / 2], box, atol=2.1e-3)
    with pytest.raises(MioError, match="has no property 'colour'"):
        augment.box_property(box, "colour")


@given(st.lists(st.sampled_from(["a", "fish", "sun.", "holiday", "x"]), min_size=1, max_size=9), SEED)
def test_captions_meet_their_condition(words: list[str], seed: int) -> None:
    caption = " ".join(words)
    hint, answer = augment.caption_constraint(caption, np.random.default_rng(seed))
    length, quoted = re.search(r"with (\d+) word", hint), re.search(r'"(.*)"', hint)
    if length:
        assert len(answer.split()) == int(length[1])
    elif "goes on" in hint:
        assert quoted is not None
        assert f"{quoted[1]} {answer}" == caption
    else:
        assert quoted is not None
        assert quoted[1] in answer
    with pytest.raises(MioError, match="empty caption"):
        augment.caption_constraint(" ", np.random.default_rng(0))


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9), SEED)
def test_one_to_four_classes(labels: list[str], seed: int) -> None:
    chosen = augment.some_classes(labels, np.random.default_rng(seed))
    assert 1 <= len(chosen) == len(set(chosen)) <= 4
    assert set(chosen) <= set(labels)


def test_masks_and_normals() -> None:
    left, top = inside(4, 6, [0, 0, 4, 3]), inside(4, 6, [0, 0, 2, 6])
    assert (left.sum(), top.sum(), union([left, top]).sum(), complement(left).sum()) == (12, 12, 18, 12)
    np.testing.assert_array_equal(within_box(left, [0, 0, 2, 6]), left & top)
    assert inside(4, 6, [1.2, 5.5, 1.3, 5.6]).sum() == 1
    with pytest.raises(MioError, match="must be of one picture"):
        union([left, left[:2]])
    picture_of_normals = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(swapped_channels(picture_of_normals, (2, 0, 1))[..., 0], picture_of_normals[..., 2])
    assert not swapped_channels(picture_of_normals, (0, -1, -1))[..., 1:].any()
    with pytest.raises(MioError, match="three of 0, 1, 2"):
        swapped_channels(picture_of_normals, (0, 1, 3))
    vectors = np.zeros((1, 3, 3), np.float32)
    vectors[0] = [[0, 1, 0], [0.5, 0.5, 0.7071], [0, 1, 0]]
    valid = np.array([[True, True, False]])
    assert facing(vectors, valid, "up").tolist() == [[True, False, False]]
    with pytest.raises(MioError, match="do not face 'north'"):
        facing(vectors, valid, "north")


# --------------------------------------------------------------------------------------------------- what a user lacks


TOKENIZERS = TokenizersConfig(text="unified_io2:bundled:text_tiny")


def config_of(tmp_path: Path, **data: Any) -> RunConfig:
    fields = {"raw_dir": str(tmp_path / "raw"), "records_dir": str(tmp_path / "records")} | data
    overrides = [f"data.{name}={value}" for name, value in fields.items()]
    return load_config_file(str(ROOT / "configs/unified_io2/quickstart.py"), overrides)


def words_of(config: RunConfig) -> list[str]:
    data = config.data
    paths = [f"--config.data.raw_dir={data.raw_dir}", f"--config.data.records_dir={data.records_dir}"]
    return ["--config", str(ROOT / "configs/unified_io2/quickstart.py"), *paths]


def test_a_mixture_says_which_folder_is_missing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    register_tasks(config.data.records_dir)
    with pytest.raises(MioError) as caught:
        usable(instruction.NAME, registry.lookup(instruction.NAME), config.data)
    line = str(caught.value)
    assert "\n" not in line
    assert f"put Alpaca in {tmp_path}/raw/alpaca, which is missing, and run mio data prepare --sets alpaca" in line
    assert "leave_out" not in line  # of nothing at all no training can be made
    with pytest.raises(MioError, match="there is no reader of FrankaKitchen here yet"):
        usable("x", [(task, 1.0) for task, _ in registry.lookup("uio2_franka_kitchen")], config.data)
    with pytest.raises(MioError, match=r"data.absent_sets is 'ignore'; it must be one of refuse, leave_out"):
        DataConfig(absent_sets="ignore")


def test_training_with_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sets of the instruction mixture, prepared by the command: refused, or trained with and said."""
    config = config_of(tmp_path)
    for name in ("alpaca", "coco", "imagenet", "got10k"):
        make(name, tmp_path / "raw")
    assert main(["data", "prepare", "--sets", "coco", "imagenet", *words_of(config)]) == 0
    assert main(["data", "list", *words_of(config)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"uio2_coco_detection +image -> text +coco +3 +3 ", shown)
    assert "uio2_alpaca" not in shown
    assert re.search(r"unified_io2_instruct +\d+ sets, \d+ of them readable, 2 prepared, which make up \d", shown)
    assert "published sets are not prepared here" in shown
    assert main(["data", "list", "--all", *words_of(config)]) == 0
    whole = capsys.readouterr().out
    assert re.search(r"uio2_alpaca_instruction +text -> text +alpaca +- +- ", whole)
    assert re.search(r"uio2_franka_kitchen +-> +franka_kitchen +unreadable", whole)
    out = tmp_path / "shown"
    assert main(["data", "show", "uio2_coco_inpainting", "--n", "1", "--out", str(out), *words_of(config)]) == 0
    assert len(list(out.iterdir())) == 3  # the picture, what is hidden of it, and what is to be made

    videos = config_of(tmp_path, records_dir=str(tmp_path / "videos"))  # of media without codes
    assert main(["data", "prepare", "--sets", "got10k", *words_of(videos)]) == 0
    assert main(["data", "show", "uio2_got10k_tracking", "--n", "1", "--out", str(out / "v"), *words_of(videos)]) == 0
    assert len(list((out / "v").iterdir())) == 5

    recipe, tokenizers = load_recipe("unified_io2"), load_set(config.tokenizers)
    encode = partial(recipe.encode, tokenizers=tokenizers, space=recipe.token_space(tokenizers))
    [stage] = [dataclasses.replace(config.stages[-1], mixture=instruction.NAME, batch_size=2)]
    recipe.register_tasks(config.data.records_dir)
    rows = recipe.rows(config)
    with pytest.raises(
        MioError, match=r"or train with the 2 sets there are: --config.data.absent_sets=leave_out"
    ) as caught:
        make_loader(config, stage, encode, seed=0, row_format=rows)
    assert f"{tmp_path}/raw/alpaca is there, so run mio data prepare --sets alpaca" in str(caught.value)

    some = dataclasses.replace(config, data=dataclasses.replace(config.data, absent_sets="leave_out", text_length=120))
    capsys.readouterr()
    loader = make_loader(some, stage, encode, seed=0, row_format=recipe.rows(some))
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "goes without" in line
    assert "scaled to 100%" in line
    shares = dict(re.findall(r"(uio2_\w+) ([\d.]+)%", line))
    assert abs(sum(map(float, shares.values())) - 100) < 0.1
    entries = {task.name: share for task, share in registry.lookup(instruction.NAME)}
    ratio = entries["uio2_coco_inpainting"] / entries["uio2_imagenet_classification"]
    assert math.isclose(
        float(shares["uio2_coco_inpainting"]) / float(shares["uio2_imagenet_classification"]), ratio, rel_tol=0.02
    )
    batch = next(loader)
    loader.close()
    assert batch["rows/inputs"].any()


# --------------------------------------------------------------------------------------------------- a set of one's own


def blocks_of_the_tutorial() -> dict[str, str]:
    page = (ROOT / "docs/tutorial_add_a_dataset.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    return dict(blocks)


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name, code in blocks_of_the_tutorial().items():
        (tmp_path / name).write_text(code.replace('"configs/', f'"{ROOT}/configs/'), encoding="utf-8")
    (tmp_path / "birds").mkdir()
    lines = ["file,bird,caption,part"]
    for number in range(6):
        picture(tmp_path / f"birds/pictures/{number}.jpg", number)
        lines.append(
            f"{number}.jpg,{'Robin' if number % 2 else 'Wren'},A bird on a twig,{'test' if number > 3 else 'train'}"
        )
    (tmp_path / "birds/labels.csv").write_text("\n".join(lines), encoding="utf-8")

    config = ["--config", "birds_config.py"]
    assert main(["data", "prepare", "--sets", "birds", *config]) == 0
    assert main(["data", "list", *config]) == 0
    assert re.search(r"uio2_birds_classification +image -> text +birds +4 +2 ", capsys.readouterr().out)
    assert main(["data", "show", "uio2_birds_classification", *config]) == 0
    assert re.search(r"\* text +'(robin|wren)'", capsys.readouterr().out)

    resolved = load_config_file("birds_config.py", [])
    assert from_dict(RunConfig, to_dict(resolved)) == resolved
    recipe, tokenizers = load_recipe("unified_io2"), load_set(resolved.tokenizers)
    recipe.register_tasks(resolved.data.records_dir, resolved.data.added)
    entries = {task.name: share for task, share in registry.lookup(instruction.NAME)}
    birds = sum(share for name, share in entries.items() if name.startswith("uio2_birds_"))
    assert math.isclose(birds, 5.0 / (rate_of(instruction.ROWS) + 5.0))
    encode = partial(recipe.encode, tokenizers=tokenizers, space=recipe.token_space(tokenizers))
    loader = make_loader(resolved, resolved.stages[0], encode, seed=0, row_format=recipe.rows(resolved))
    assert next(loader)["rows/targets"].any()
    loader.close()


def test_what_is_wrong_with_a_set_of_ones_own(tmp_path: Path) -> None:
    def added(**changes: Any) -> AddedSet:
        fields = {"name": "birds", "source": "no.such:Birds", "mixture": instruction.NAME, "kinds": ("classification",)}
        return AddedSet(**(fields | changes))

    def register(one: AddedSet) -> None:
        register_tasks(str(tmp_path), (one,))

    with pytest.raises(MioError, match=r"its source is 'Birds'; it must be module:Class"):
        added(source="Birds")
    with pytest.raises(MioError, match=r"rate is -1.0; it must be positive"):
        added(rate=-1.0)
    with pytest.raises(MioError, match="one name stands there twice"):
        DataConfig(added=(added(), added()))
    with pytest.raises(MioError, match=r"no kind of task 'naming'; there are: .*classification"):
        register(added(kinds=("naming",)))
    with pytest.raises(MioError, match="has a set 'coco' of its own"):
        register(added(name="coco"))
    register(added(name="franka_kitchen", kinds=("vqa",)))  # takes the place of a set that nothing here reads
    assert [t.name for t, _ in registry.lookup(instruction.NAME) if t.record_set == "franka_kitchen"] == [
        "uio2_franka_kitchen_vqa"
    ]
    register(added(mixture="my_own"))
    assert [t.name for t, _ in registry.lookup("my_own")] == ["uio2_birds_classification"]
    register(added(mixture="uio2_all"))
    assert len(registry.lookup("uio2_all")) > 5
    register_tasks(str(tmp_path))
    assert all(task.record_set != "birds" for task, _ in registry.lookup("uio2_all"))
    config = dataclasses.replace(config_of(tmp_path), data=DataConfig(added=(added(),)))
    from mio_jax.data.prepare import prepare

    with pytest.raises(MioError, match=r"the reader 'no.such:Birds' cannot be imported"):
        prepare(config, load_set(TOKENIZERS), sets=["birds"])
    with pytest.raises(MioError, match="there is no kind of task 'classification'; there are: caption, chat_caption"):
        load_recipe("mio").register_tasks(str(tmp_path), (added(),))
    assert "birds" not in SOURCES
