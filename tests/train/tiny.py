"""A run small enough to be killed many times: real recipe, loader, records, tokenizers; media codes at random."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    GroupConfig,
    GuardConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)
from mio_jax.data.records import FORMAT, MANIFEST, RecordWriter, sha256_of, shard_name, write_json

STEPS = 12
COUNT = 24
NOTES = ("C4", "D4", "E4", "G4")
NAMES = ("flute", "violin", "marimba", "trumpet", "celesta", "oboe")
COLOURS = ("red", "teal", "blue", "grey", "black", "brown")


def config(run_dir: Path, records_dir: Path) -> RunConfig:
    optim = OptimConfig(learning_rate=3e-3, warmup_ratio=0.2, final_ratio=0.1)
    # The last stage trains with what else there is, so that being killed is tried with that too.
    other = OptimConfig(
        learning_rate=3e-3,
        optimizer="adafactor",
        schedule="wsd",
        ema_decay=0.8,
        groups=(GroupConfig("*/query", frozen=True), GroupConfig("embed", rate=0.5)),
        guard=GuardConfig(max_in_a_row=3),
    )
    pairs = (Part("mio_pairs", 1), Part("mio_audio", 1))
    return RunConfig(
        name="tiny",
        run_dir=str(run_dir),
        model=ModelConfig(dim=16, depth=2, heads=2, kv_heads=1, head_dim=8, mlp_dim=16),
        data=DataConfig(records_dir=str(records_dir), length=192, packing_bins=4),
        mesh=MeshConfig(data=1),
        stages=(
            StageConfig("alignment", STEPS, composition=pairs, optim=optim),
            StageConfig("interleaved", STEPS, composition=(Part("mio_interleaved", 2),), optim=optim),
            StageConfig("sft", STEPS, "mio_sft", 2, style="chat", supervise="responses", optim=other, micro_batches=2),
        ),
        checkpoint=CheckpointConfig(every_steps=5, keep_last=2),
    )


def stage(name: str, steps: int, rows: int) -> StageConfig:
    """A stage of pairs and sounds in equal parts."""
    parts = (Part("mio_pairs", rows // 2), Part("mio_audio", rows // 2))
    return StageConfig(name, steps, composition=parts, optim=OptimConfig(learning_rate=3e-3, warmup_ratio=0.2))


def records() -> dict[str, Iterator[dict[str, Any]]]:
    """Every set that the tasks of `mio` read, a few records each."""
    rng = np.random.default_rng(0)

    def codes(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, dtype=np.int32)

    def name(n: int) -> str:
        return f"a {COLOURS[n % 6]} {NAMES[n // 6 % 6]}"

    return {
        "openmoji": (
            {
                "id": f"e{n}",
                "image": codes(64),
                "mask": codes(64),
                "caption": name(n),
                "captions": json.dumps({"en": name(n), "de": f"{name(n)} auf Deutsch"}),
            }
            for n in range(COUNT)
        ),
        "instruments": (
            {"id": f"i{n}", "audio": codes(4, 10), "caption": f"{NAMES[n % 6]} playing {NOTES[n % 4]}"}
            for n in range(COUNT)
        ),
        "easy_vqa": (
            {
                "id": f"q{n}",
                "image": codes(64),
                "caption": name(n),
                "questions": json.dumps([["what colour is it?", COLOURS[n % 6]], ["is it red?", "no"]]),
            }
            for n in range(COUNT)
        ),
        "text": ({"id": f"t{n}", "text": " ".join(name(n + k) for k in range(9))} for n in range(COUNT)),
    }


def write_records(folder: Path) -> None:
    """The sets above as `mio data prepare` would leave them, in the vocabulary of the bundled tokenizers."""
    from mio_tokenizers import load_set

    prints = load_set(TokenizersConfig()).fingerprints
    made_by = {"openmoji": ("image",), "instruments": ("audio",), "easy_vqa": ("image",), "text": ()}
    for name, items in records().items():
        (folder / name).mkdir(parents=True)
        path = folder / name / shard_name("train", 0, 1)
        with RecordWriter(path) as writer:
            for record in items:
                writer.write(record)
        entry = {"file": path.name, "count": COUNT, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = {
            "format": FORMAT,
            "set": name,
            "tokenizers": {modality: prints[modality] for modality in made_by[name]},
            "shards": {"train": [entry]},
        }
        write_json(folder / name / MANIFEST, manifest)
