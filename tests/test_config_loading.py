"""Configs: round trips, overrides, and one clear line for every kind of wrong input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax import config_loading as loading
from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
)
from mio_jax.errors import MioError

ROOT = Path(__file__).parents[1]

words = st.text("abcdefgh_", min_size=1, max_size=8).filter(lambda w: w.strip("_") != "")
counts = st.integers(1, 10_000)
optional_counts = st.none() | counts
shares = st.floats(0, 0.99, allow_nan=False)

optims = st.builds(
    OptimConfig,
    learning_rate=st.floats(1e-9, 1, allow_nan=False),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_ratio=shares,
    final_ratio=shares,
    z_loss=shares,
)
by_mixture = st.builds(
    StageConfig, name=words, steps=counts, mixture=words, batch_size=counts, style=st.just("base"), optim=optims
)
by_parts = st.builds(
    StageConfig,
    name=words,
    steps=counts,
    composition=st.lists(st.builds(Part, words, counts), min_size=1, max_size=3).map(tuple),
    style=st.just("chat"),
    supervise=st.sampled_from(["all", "responses"]),
    optim=optims,
)
configs = st.builds(
    RunConfig,
    name=words,
    seed=st.integers(0, 2**31),
    model=st.builds(
        ModelConfig, dim=optional_counts, depth=optional_counts, tie_embeddings=st.none() | st.booleans(),
        rope_theta=st.none() | st.floats(1, 1e7), dtype=st.sampled_from(["float32", "bfloat16"])
    ),
    data=st.builds(DataConfig, length=st.integers(2, 4096), system_prompt=st.text(max_size=20)),
    mesh=st.builds(MeshConfig, data=st.just(-1) | counts, tensor=counts),
    stages=st.lists(by_mixture | by_parts, min_size=1, max_size=3, unique_by=lambda s: s.name).map(tuple),
    checkpoint=st.builds(CheckpointConfig, every_steps=counts),
    log=st.builds(LogConfig, tensorboard=st.booleans()),
    eval=st.builds(EvalConfig, directions=st.lists(words, max_size=3).map(tuple)),
)  # fmt: skip


@given(configs)
def test_every_way_out_and_back_gives_the_same_config(config: RunConfig) -> None:
    assert loading.from_dict(RunConfig, loading.to_dict(config)) == config
    assert loading.from_dict(RunConfig, json.loads(json.dumps(loading.to_dict(config)))) == config
    assert loading.from_dict(RunConfig, loading.to_config_dict(config)) == config


@given(configs)
def test_overrides_set_what_they_say(config: RunConfig) -> None:
    """Every scalar of the config, written as an override of a default config, gives that config's value back."""
    start = RunConfig(stages=config.stages)
    flat = dict(_scalars(loading.to_dict(config)))
    texts = [f"{path}={_as_text(value)}" for path, value in flat.items()]
    assert loading.apply_overrides(start, texts) == dataclasses.replace(
        config, stages=config.stages, eval=dataclasses.replace(config.eval, directions=())
    )


def _scalars(data: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(data, dict):
        return [item for k, v in data.items() for item in _scalars(v, f"{path}.{k}" if path else k)]
    if isinstance(data, list):
        return [item for i, v in enumerate(data) if isinstance(v, dict) for item in _scalars(v, f"{path}.{i}")]
    return [(path, data)]


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_json_file_round_trip(tmp_path: Path) -> None:
    config = RunConfig(seed=7, model=ModelConfig(depth=3))
    loading.save_json(config, tmp_path / "deep" / "config.json")
    assert loading.load_json(RunConfig, tmp_path / "deep" / "config.json") == config
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["config.json"]  # no half-written file left


def test_config_dict_is_locked() -> None:
    made = loading.to_config_dict(RunConfig())
    with pytest.raises(AttributeError):
        made.modle = 1


# Override -> what the one line must say.
REFUSED = {
    "model.dept=3": ["model.dept", "did you mean model.depth?"],
    "learning_rate=1e-3": ["learning_rate", "stages.N.optim.learning_rate"],
    "stages.0.optim.learning_rat=1": ["stages.0.optim.learning_rat;", "did you mean stages.0.optim.learning_rate?"],
    "qqqq=1": ["unknown key qqqq", "model, tokenizers, data"],
    "model.depth=abc": ["model.depth is 'abc' (str)", "must be int"],
    "model.depth=2.5": ["model.depth is 2.5 (float)", "must be int"],
    "model.depth=true": ["model.depth is True (bool)", "must be int"],
    "log.tensorboard=1": ["log.tensorboard", "must be bool"],
    "data.length=none": ["data.length", "must be int"],
    "data.length=1": ["data.length is 1", "at least 2"],
    "data.budgets=[3,4]": ["data.budgets (3, 4) are 7 in all", "must make up data.length, 384"],
    "data.row_examples=0": ["data.row_examples is 0", "must be positive"],
    "data.text_length=1": ["data.text_length is 1", "at least 2"],
    "data.keep_media=['video']": ["data.keep_media is 'video'", "image, audio, mask"],
    "stages.0.style=chta": ["'chta'", "base, chat"],
    "stages.trian.steps=5": ["no item 'trian'", "did you mean stages.train?"],
    "stages.7.steps=5": ["no item '7'", "it has 1 (train)"],
    "model.depth.x=3": ["model.depth", "no key 'x'"],
    "stages.0.mixture=": ["mixture", "composition"],
    "eval.directions=[1]": ["eval.directions.0 is 1 (int)", "must be str"],
    "model={'depht': 2}": ["model.depht", "did you mean model.depth?"],
    "model": ["--config.model", "KEY=VALUE"],
}


@pytest.mark.parametrize(("override", "said"), REFUSED.items(), ids=REFUSED)
def test_a_wrong_override_is_one_line_that_names_the_mend(override: str, said: list[str]) -> None:
    with pytest.raises(MioError) as caught:
        loading.apply_overrides(RunConfig(), [override])
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_overrides_of_lists_options_and_whole_items() -> None:
    config = RunConfig()
    changed = loading.apply_overrides(
        config,
        [
            "eval.directions=image->text, text->image",
            "model.dim=none",
            "stages.0.optim.learning_rate=1",
            'stages=[{"name": "a", "mixture": "m", "batch_size": 2}, {"name": "b", "mixture": "m", "batch_size": 4}]',
            "stages.b.steps=3",
        ],
    )
    assert changed.eval.directions == ("image->text", "text->image")
    assert changed.model.dim is None
    assert [(s.name, s.steps, s.batch_size) for s in changed.stages] == [("a", 100, 2), ("b", 3, 4)]
    assert config == RunConfig()  # the original is untouched


def test_parts_are_named_by_their_source() -> None:
    config = RunConfig(stages=(StageConfig(composition=(Part("pairs", 6), Part("text", 2))),))
    assert loading.apply_overrides(config, ["stages.train.composition.text.rows=1"]).stages[0].rows == 7


def test_impossible_combination_is_found_before_anything_is_built() -> None:
    with pytest.raises(MioError, match="needs style='chat'"):
        loading.apply_overrides(RunConfig(), ["stages.0.supervise=responses"])
    denoise = "stages.0.objective=denoising"
    words = [denoise, "tokenizers.sentinels=100"]
    with pytest.raises(MioError, match="needs style='base'"):
        loading.apply_overrides(RunConfig(), [*words, "stages.0.style=chat"])
    made = loading.apply_overrides(RunConfig(), [*words, "stages.0.denoising.text.x64.weight=0"])
    assert [d.weight for d in made.stages[0].denoising.text] == [1, 1, 1, 1, 1, 0, 1]


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    kind: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (1, "x")
    table: dict[str, float] = dataclasses.field(default_factory=dict)


def test_other_config_classes_and_annotations() -> None:
    data = {"inner": {"size": 2}, "many": [{"size": 1, "kind": "b"}], "pair": [3, "y"], "table": {"z": 1}}
    made = loading.from_dict(Outer, data)
    assert made == Outer(Inner(2), (Inner(1, "b"),), (3, "y"), {"z": 1.0})
    assert loading.from_dict(Outer, loading.to_dict(made)) == made
    assert loading.apply_overrides(Outer(), ["inner.size=4"]).inner == Inner(4)
    for wrong, said in (
        ({"inner": {"kind": "b"}}, "inner.size is required"),
        ({"inner": {"size": 1, "kind": "c"}}, "'a', 'b'"),
        ({"inner": {"size": 1, "sise": 2}}, "did you mean inner.size?"),
        ({"inner": 3}, "inner is 3 (int); it must be Inner or None"),
        ({"pair": [1]}, "must have 2"),
        ({"table": {"z": "q"}}, "table.z is 'q'"),
        ({"many": {"size": 1}}, "a list of Inner"),
    ):
        with pytest.raises(MioError) as caught:
            loading.from_dict(Outer, wrong)
        assert said in str(caught.value)


# ------------------------------------------------------------------------------------------------- files


def write(folder: Path, text: str) -> Path:
    path = folder / "case.py"
    path.write_text(text)
    return path


IMPORT = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import to_config_dict\n"


def test_file_may_return_a_config_dict_or_the_dataclass(tmp_path: Path) -> None:
    plain = write(tmp_path, IMPORT + "def get_config():\n    return RunConfig(seed=3)\n")
    assert loading.load_config_file(plain).seed == 3
    locked = write(tmp_path, IMPORT + "def get_config(arg='4'):\n    return to_config_dict(RunConfig(seed=int(arg)))\n")
    assert loading.load_config_file(locked).seed == 4
    assert loading.load_config_file(f"{locked}:9", ["model.depth=2"]) == RunConfig(seed=9, model=ModelConfig(depth=2))


BAD_FILES = {
    "def get_config():\n    return {'sed': 1}\n": ["unknown key sed", "did you mean seed?"],
    "x = 1\n": ["no get_config()"],
    "def get_config(:\n": ["line 1", "SyntaxError"],
    "def get_config():\n    y = 1\n    return 1 / 0\n": ["line 3", "ZeroDivisionError"],
    "import nothing_of_this_name\n": ["line 1", "nothing_of_this_name"],
    "def get_config():\n    return 3\n": ["returned int", "RunConfig"],
    IMPORT + "def get_config():\n    return RunConfig(stages=())\n": ["stages is empty"],
    IMPORT + "from mio_jax.config import DataConfig\ndef get_config():\n    return DataConfig()\n": ["DataConfig"],
}


@pytest.mark.parametrize(("text", "said"), BAD_FILES.items(), ids=range(len(BAD_FILES)))
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, said: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MioError) as caught:
        loading.load_config_file(path)
    for part in [str(path), *said]:
        assert part in str(caught.value)


def test_missing_files_are_named_with_their_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(MioError, match=r"did you mean .*case\.py"):
        loading.load_config_file(tmp_path / "caes.py")
    with pytest.raises(MioError, match="no folder"):
        loading.load_config_file(tmp_path / "no" / "x.py")
    with pytest.raises(MioError, match="no config at"):
        loading.load_json(RunConfig, tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(MioError, match="is not a config"):
        loading.load_json(RunConfig, tmp_path / "config.json")


RUN_CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if "tokenizers" not in p.parts)


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=[str(p.relative_to(ROOT)) for p in RUN_CONFIGS])
def test_shipped_config_loads_and_has_a_lab_note(path: Path) -> None:
    config = loading.load_config_file(path)
    assert config.stages
    note = path.read_text(encoding="utf-8").split('"""')[1]
    for word in ("Command:", "Hardware:", "Result:"):
        assert word in note, f"the docstring of {path.name} does not say its {word}"
