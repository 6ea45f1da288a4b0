"""The configuration dataclasses: the single source of truth for every command.

They are frozen and validate themselves on construction; nothing mutates a config after a command has started.
`mio_jax.config_loading` turns ml_collections files and command-line overrides into these classes, and JSON back.
This file imports neither JAX nor ml_collections.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from mio_jax.errors import MioError

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "full", "dots")
SCHEDULES = ("constant", "linear", "cosine")
STYLES = ("base", "chat")
PACKINGS = ("first_fit", "window")
SUPERVISION = ("all", "responses")
MESH_AXES = ("data", "fsdp", "seq", "tensor")


def require(condition: bool, message: str) -> None:
    """Raises MioError(message) unless `condition` holds."""
    if not condition:
        raise MioError(message)


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    require(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


@dataclass(frozen=True)
class ModelConfig:
    """A preset of the recipe, with any of its sizes replaced. `None` keeps the preset's value."""

    preset: str = "mio_tiny"
    dim: int | None = None
    depth: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    mlp_dim: int | None = None
    rope_theta: float | None = None
    norm_eps: float | None = None
    tie_embeddings: bool | None = None
    init_std: float | None = None  # of new weights
    dtype: str = "float32"  # compute; parameters and optimizer state stay float32
    remat: str = "none"
    attention: str = "auto"

    def __post_init__(self) -> None:
        require_choice("model.dtype", self.dtype, DTYPES)
        require_choice("model.remat", self.remat, REMAT)
        for name in ("dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim"):
            value = getattr(self, name)
            require(value is None or value > 0, f"model.{name} is {value}; it must be positive")


@dataclass(frozen=True)
class TokenizersConfig:
    """Which tokenizer serves each modality: `bundled:NAME`, a path, or a named codec such as `codec2:700C`."""

    text: str = "bundled:text_tiny"
    image: str = "bundled:image_vq_tiny"
    audio: str = "bundled:audio_rvq_tiny"


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warmup and a decay schedule; rates are per optimizer step."""

    learning_rate: float = 3e-5
    schedule: str = "cosine"
    warmup_ratio: float = 0.03
    final_ratio: float = 0.0  # learning rate at the last step, as a share of the peak
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        require_choice("optim.schedule", self.schedule, SCHEDULES)
        require(self.learning_rate > 0, f"optim.learning_rate is {self.learning_rate}; it must be positive")
        require(0 <= self.warmup_ratio < 1, f"optim.warmup_ratio is {self.warmup_ratio}; it must be in [0, 1)")
        require(0 <= self.final_ratio <= 1, f"optim.final_ratio is {self.final_ratio}; it must be in [0, 1]")


@dataclass(frozen=True)
class Part:
    """So many rows of every batch come from this task or mixture (MIO's 12:2:0:2 form). 0 rows: not in this stage."""

    source: str = ""
    rows: int = 0

    def __post_init__(self) -> None:
        require(bool(self.source), "a composition part has no source: name a task or mixture")
        require(self.rows >= 0, f"composition part {self.source!r} has {self.rows} rows; it must be 0 or more")


@dataclass(frozen=True)
class StageConfig:
    """One training stage; it starts from the last stage's weights with a fresh optimizer and schedule.

    Exactly one of `mixture` (a registered mixture, sampled by its rates, `batch_size` rows a batch) and
    `composition` (a fixed number of rows from each part in every batch) is set.
    """

    name: str = "train"
    steps: int = 100
    mixture: str = ""
    batch_size: int = 0
    composition: tuple[Part, ...] = ()
    style: str = "base"  # which prompts: pre-training templates or chat turns
    supervise: str = "all"  # which tokens carry loss
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        require(self.steps > 0, f"stage {self.name!r}: steps is {self.steps}; it must be positive")
        require_choice(f"stage {self.name!r}: style", self.style, STYLES)
        require_choice(f"stage {self.name!r}: supervise", self.supervise, SUPERVISION)
        require(
            bool(self.mixture) != bool(self.composition),
            f"stage {self.name!r}: set either mixture or composition, not {'both' if self.mixture else 'neither'}",
        )
        require(
            not self.mixture or self.batch_size > 0,
            f"stage {self.name!r}: a mixture needs batch_size (rows a batch); it is {self.batch_size}",
        )
        require(not self.composition or self.rows > 0, f"stage {self.name!r}: every part of the composition has 0 rows")
        require(
            not (self.composition and self.batch_size),
            f"stage {self.name!r}: batch_size follows from the composition ({self.rows} rows); leave it 0",
        )
        require(
            self.style == "chat" or self.supervise == "all",
            f"stage {self.name!r}: supervise='responses' needs style='chat' (base prompts have no responses)",
        )

    @property
    def rows(self) -> int:
        """Rows of a global batch."""
        return sum(part.rows for part in self.composition) if self.composition else self.batch_size


@dataclass(frozen=True)
class DataConfig:
    """Where token records lie and how rows are made from them."""

    records_dir: str = "data/quickstart"
    length: int = 384  # tokens a row
    prefetch: int = 2  # batches prepared ahead by threads
    packing: str = "first_fit"  # "window": fuller rows, chosen from a window of waiting examples
    packing_bins: int = 16  # first_fit: rows kept open at once
    packing_window: int = 128  # window: examples that wait for their row
    system_prompt: str = ""  # chat style; empty: the recipe's own

    def __post_init__(self) -> None:
        require(self.length > 1, f"data.length is {self.length}; it must be at least 2")
        require(self.prefetch >= 0, f"data.prefetch is {self.prefetch}; it must be 0 or more")
        require_choice("data.packing", self.packing, PACKINGS)
        require(self.packing_bins > 0, f"data.packing_bins is {self.packing_bins}; it must be positive")
        require(self.packing_window > 0, f"data.packing_window is {self.packing_window}; it must be positive")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 (at most one axis) takes what is left."""

    data: int = -1
    fsdp: int = 1
    seq: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        sizes = [getattr(self, axis) for axis in MESH_AXES]
        require(sizes.count(-1) <= 1, f"mesh has more than one axis of -1: {dict(zip(MESH_AXES, sizes, strict=True))}")
        require(all(s == -1 or s > 0 for s in sizes), f"mesh sizes must be positive or -1, not {sizes}")


@dataclass(frozen=True)
class CheckpointConfig:
    every_steps: int = 50
    keep_last: int = 2

    def __post_init__(self) -> None:
        require(self.every_steps > 0, f"checkpoint.every_steps is {self.every_steps}; it must be positive")
        require(self.keep_last > 0, f"checkpoint.keep_last is {self.keep_last}; it must be positive")


@dataclass(frozen=True)
class LogConfig:
    every_steps: int = 1
    tensorboard: bool = True

    def __post_init__(self) -> None:
        require(self.every_steps > 0, f"log.every_steps is {self.every_steps}; it must be positive")


@dataclass(frozen=True)
class EvalConfig:
    """Held-out evaluation of every direction that the recipe declares for this data."""

    examples: int = 208  # per direction
    candidates: int = 32  # captions ranked by likelihood
    batch_size: int = 52
    temperature: float = 1.0
    top_p: float = 0.9
    report_examples: int = 12  # shown for each direction in the report
    directions: tuple[str, ...] = ()  # empty: all

    def __post_init__(self) -> None:
        require(self.examples > 1, f"eval.examples is {self.examples}; it must be at least 2")
        require(self.candidates > 1, f"eval.candidates is {self.candidates}; it must be at least 2")
        require(self.temperature >= 0, f"eval.temperature is {self.temperature}; it must be 0 or more")


@dataclass(frozen=True)
class RunConfig:
    """Everything one run needs; `run_dir` receives checkpoints, metrics, results and the report."""

    name: str = "run"
    run_dir: str = "runs/run"
    recipe: str = "mio"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizers: TokenizersConfig = field(default_factory=TokenizersConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    stages: tuple[StageConfig, ...] = (StageConfig(mixture="mio_all", batch_size=8),)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages is empty: a run needs at least one stage")
        names = [stage.name for stage in self.stages]
        require(len(set(names)) == len(names), f"stage names must differ: {names}")
        require(
            all(n and n.replace("_", "").replace("-", "").isalnum() for n in names),
            f"stage names name folders: {names}",
        )

    def replace(self, **changes: object) -> RunConfig:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
