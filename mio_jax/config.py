"""The configuration dataclasses: the single source of truth for every command.

They are frozen and validate themselves on construction; nothing mutates a config after a command has started.
`mio_jax.config_loading` turns ml_collections files and command-line overrides into these classes, and JSON back.
This file imports neither JAX nor ml_collections.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from mio_jax.config_checks import require as require
from mio_jax.config_checks import require_choice as require_choice
from mio_jax.config_denoising import DenoisingConfig
from mio_jax.config_sets import AddedSet as AddedSet
from mio_jax.config_sets import FilterConfig as FilterConfig

DTYPES = ("float32", "bfloat16")
# What the backward pass finds kept from the forward pass; see `mio_jax.nn.remat` and docs/precision.md.
REMAT = (
    "none",
    "full",
    "dots",
    "save_attention",
    "save_projections",
    "offload_attention",
    "offload_projections",
    "everything_saveable",
    "nothing_saveable",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
    "offload_dots_with_no_batch_dims",
)
QUANTIZE = ("none", "int8", "fp8")  # needs the extra `quant` (Qwix)
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt", "wsd")
OPTIMIZERS = ("adamw", "adafactor", "muon")
STYLES = ("base", "chat")
PACKINGS = ("first_fit", "window", "pairs")
OBJECTIVES = ("causal", "denoising")
ABSENT_SETS = ("refuse", "leave_out")
SUPERVISION = ("all", "responses")
MESH_AXES = ("replica", "data", "fsdp", "seq", "tensor")  # outermost first
MESH_PRESETS = {"data": "data", "fsdp": "fsdp", "tensor": "tensor", "sequence": "seq", "multislice": "replica"}


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters on kernels of the layers, which alone are trained then; see docs/lora.md.

    patterns: globs of paths (`decoder/layers/attention/query`); of what they match, kernels of layers get an adapter.
    """

    rank: int = 0  # 0: none
    alpha: float = 16.0  # what an adapter adds is scaled by alpha / rank
    patterns: tuple[str, ...] = ("*layers/*",)
    stored: str = "all"  # in checkpoints; "adapters": what is trained, over the weights in `start_from`

    def __post_init__(self) -> None:
        require_choice("model.lora.stored", self.stored, ("all", "adapters"))
        require(self.rank >= 0, f"model.lora.rank is {self.rank}; it must be 0 (no adapters) or more")
        require(self.alpha > 0, f"model.lora.alpha is {self.alpha}; it must be positive")
        require(not self.rank or bool(self.patterns), "model.lora.patterns is empty; name kernels, such as *layers/*")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


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
    dtype: str = "float32"  # compute
    param_dtype: str = "float32"  # parameters, and with them gradients and optimizer state
    remat: str = "none"
    attention: str = "auto"
    quantize: str = "none"  # matrix products of the layers
    # Of recipes whose models have a front end for each modality; empty: what the preset has.
    input_modalities: tuple[str, ...] = ()
    target_modalities: tuple[str, ...] = ()
    trained_encoders: tuple[str, ...] = ()  # front ends whose pre-trained encoder learns too
    variants: tuple[str, ...] = ()  # switches of the recipe's own; its README lists them
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        require_choice("model.dtype", self.dtype, DTYPES)
        require_choice("model.param_dtype", self.param_dtype, DTYPES)
        require_choice("model.remat", self.remat, REMAT)
        require_choice("model.quantize", self.quantize, QUANTIZE)
        for name in ("dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim"):
            value = getattr(self, name)
            require(value is None or value > 0, f"model.{name} is {value}; it must be positive")


@dataclass(frozen=True)
class TokenizersConfig:
    """Which tokenizer serves each modality: `bundled:NAME`, a path, or a named codec such as `codec2:700C`."""

    text: str = "bundled:text_tiny"
    image: str = "bundled:image_vq_tiny"
    audio: str = "bundled:audio_rvq_tiny"
    sentinels: int = 0  # ids at the end of a joint vocabulary that stages with objective "denoising" need
    added_tokens: str = ""  # a checkpoint's list (its folder, or the file) that has the order of code blocks

    def __post_init__(self) -> None:
        require(
            self.sentinels == 0 or self.sentinels > 1,
            f"tokenizers.sentinels is {self.sentinels}; it must be 0, or at least 2 (the last one hides single codes)",
        )


@dataclass(frozen=True)
class AdafactorConfig:
    """Adafactor as T5X has it; see `mio_jax.train.adafactor`."""

    decay_rate: float = 0.8  # the second moment of step t decays by 1 - t^-decay_rate
    clipping_threshold: float = 1.0  # largest RMS of an update; 0: none
    multiply_by_parameter_scale: bool = True  # the rate is relative to the RMS of the parameter
    min_dim_size_to_factor: int = 128  # of matrices that are no stack of layers
    eps1: float = 1e-30  # added to squared gradients
    eps2: float = 1e-3  # least parameter scale
    beta1: float = 0.0  # momentum of the updates; 0: none, and no memory for it
    momentum_dtype: str = "float32"
    weight_decay_rate: float = 0.0  # share of every parameter lost in every step, whatever the learning rate

    def __post_init__(self) -> None:
        require_choice("optim.adafactor.momentum_dtype", self.momentum_dtype, DTYPES)
        require(self.decay_rate > 0, f"optim.adafactor.decay_rate is {self.decay_rate}; it must be positive")
        require(0 <= self.beta1 < 1, f"optim.adafactor.beta1 is {self.beta1}; it must be in [0, 1)")
        for name in ("clipping_threshold", "min_dim_size_to_factor", "weight_decay_rate"):
            require(getattr(self, name) >= 0, f"optim.adafactor.{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("eps1", "eps2"):
            require(getattr(self, name) > 0, f"optim.adafactor.{name} is {getattr(self, name)}; it must be positive")


@dataclass(frozen=True)
class MuonConfig:
    """Muon for hidden matrices; everything else takes AdamW with the other fields of `OptimConfig`."""

    beta: float = 0.95
    nesterov: bool = True
    ns_steps: int = 5  # Newton-Schulz iterations
    update_rms: float = 0.2  # of every update, so that AdamW's rates fit; 0: sqrt(max(1, outputs / inputs)) instead

    def __post_init__(self) -> None:
        require(0 <= self.beta < 1, f"optim.muon.beta is {self.beta}; it must be in [0, 1)")
        require(self.ns_steps > 0, f"optim.muon.ns_steps is {self.ns_steps}; it must be positive")
        require(self.update_rms >= 0, f"optim.muon.update_rms is {self.update_rms}; it must be 0 or more")


@dataclass(frozen=True)
class GroupConfig:
    """Parameters whose path (`layers/mlp/up`) matches the glob `pattern`; the first group that fits holds."""

    pattern: str = ""
    rate: float = 1.0  # times the learning rate
    frozen: bool = False  # never updated; no gradient, no optimizer state
    from_row: int = 0  # of tables of the vocabulary: ids below this one keep their rows as they are

    def __post_init__(self) -> None:
        require(bool(self.pattern), "an optimizer group has no pattern: give a path such as layers/mlp/* or embed")
        require(
            self.from_row >= 0 and not (self.frozen and self.from_row),
            f"optimizer group {self.pattern!r}: from_row is {self.from_row}; it must be 0 or more (0 if frozen)",
        )
        require(
            self.rate > 0, f"optimizer group {self.pattern!r}: rate is {self.rate}; it must be positive (or frozen)"
        )
        require(
            not self.frozen or self.rate == 1.0,
            f"optimizer group {self.pattern!r} is frozen; its rate of {self.rate} would have no meaning",
        )


@dataclass(frozen=True)
class GuardConfig:
    """What happens to bad updates: those whose loss or gradient is not finite, or whose loss is a spike.

    With `max_in_a_row` 1 and no spikes looked for, the first bad update stops the run. Otherwise bad updates are
    skipped on the device and counted, and `max_in_a_row` of them stop the run.
    """

    max_in_a_row: int = 1
    spike_factor: float = 0.0  # a loss above this many times the running mean is a spike; 0: none is
    spike_window: int = 50  # steps that the running mean looks back over, and that come before the first spike

    def __post_init__(self) -> None:
        require(self.max_in_a_row > 0, f"optim.guard.max_in_a_row is {self.max_in_a_row}; it must be positive")
        require(
            self.spike_factor == 0 or self.spike_factor > 1,
            f"optim.guard.spike_factor is {self.spike_factor}; it must be 0 (off) or greater than 1",
        )
        require(self.spike_window > 0, f"optim.guard.spike_window is {self.spike_window}; it must be positive")

    @property
    def skips(self) -> bool:
        """Whether the compiled step judges and skips updates."""
        return self.max_in_a_row > 1 or self.spike_factor > 0


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer, warmup and schedule; rates are per optimizer step. docs/optimizers.md says what each does."""

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
    optimizer: str = "adamw"
    warmup_steps: int = 0  # more than 0: instead of warmup_ratio
    decay_ratio: float = 0.1  # schedule wsd: share of the steps, the last ones, in which the rate falls
    ema_decay: float = 0.0  # of the moving average of the parameters; 0: none is kept
    groups: tuple[GroupConfig, ...] = ()
    guard: GuardConfig = field(default_factory=GuardConfig)
    adafactor: AdafactorConfig = field(default_factory=AdafactorConfig)
    muon: MuonConfig = field(default_factory=MuonConfig)

    def __post_init__(self) -> None:
        require_choice("optim.schedule", self.schedule, SCHEDULES)
        require_choice("optim.optimizer", self.optimizer, OPTIMIZERS)
        require(self.learning_rate > 0, f"optim.learning_rate is {self.learning_rate}; it must be positive")
        require(0 <= self.warmup_ratio < 1, f"optim.warmup_ratio is {self.warmup_ratio}; it must be in [0, 1)")
        require(0 <= self.final_ratio <= 1, f"optim.final_ratio is {self.final_ratio}; it must be in [0, 1]")
        require(self.warmup_steps >= 0, f"optim.warmup_steps is {self.warmup_steps}; it must be 0 or more")
        require(0 < self.decay_ratio <= 1, f"optim.decay_ratio is {self.decay_ratio}; it must be in (0, 1]")
        require(0 <= self.ema_decay < 1, f"optim.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        if self.optimizer == "adafactor":
            adam = {
                f.name: f.default for f in dataclasses.fields(self) if f.name in ("b1", "b2", "eps", "weight_decay")
            }
            for name, default in adam.items():
                require(
                    getattr(self, name) == default,
                    f"optim.{name} is {getattr(self, name)}, which belongs to adamw and muon; leave it at {default} "
                    "and set what optim.adafactor has (beta1, decay_rate, eps1, weight_decay_rate)",
                )


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
    tokens: int = 0  # a budget instead of steps (which is then 0): every place of a row counts, padding included
    objective: str = "causal"  # "denoising": the mixture of denoisers; see docs/denoising.md
    denoising: DenoisingConfig = field(default_factory=DenoisingConfig)
    micro_batches: int = 1  # parts that a batch is computed in, one after another, for less memory

    def __post_init__(self) -> None:
        require(
            self.steps > 0 or (self.tokens > 0 and self.steps == 0),
            f"stage {self.name!r}: steps is {self.steps}; it must be positive (or 0 beside a budget of tokens)",
        )
        require(self.tokens >= 0, f"stage {self.name!r}: tokens is {self.tokens}; it must be 0 or more")
        require(
            self.micro_batches > 0, f"stage {self.name!r}: micro_batches is {self.micro_batches}; it must be positive"
        )
        require(
            self.rows % self.micro_batches == 0,
            f"stage {self.name!r}: {self.rows} rows do not divide into {self.micro_batches} micro_batches",
        )
        require_choice(f"stage {self.name!r}: style", self.style, STYLES)
        require_choice(f"stage {self.name!r}: supervise", self.supervise, SUPERVISION)
        require_choice(f"stage {self.name!r}: objective", self.objective, OBJECTIVES)
        require(
            self.objective == "causal" or (self.style == "base" and self.supervise == "all"),
            f"stage {self.name!r}: objective {self.objective!r} says itself what carries loss: it needs style='base' "
            "and supervise='all'",
        )
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

    def with_steps(self, length: int) -> StageConfig:
        """This stage with `steps` set: ceil(tokens / (rows * length)) for a budget of tokens, rows of `length` places.

        Raises:
          MioError: both are set and do not agree (a stored config, whose steps were once worked out, may have both).
        """
        if not self.tokens:
            return self
        steps = -(-self.tokens // (self.rows * length))
        require(
            self.steps in (0, steps),
            f"stage {self.name!r}: tokens={self.tokens} are {steps} steps of {self.rows} rows of {length}, and steps "
            f"is {self.steps}; set one of the two to 0",
        )
        return dataclasses.replace(self, steps=steps)


@dataclass(frozen=True)
class DataConfig:
    """Where token records lie and how rows are made from them."""

    records_dir: str = "data/quickstart"
    length: int = 384  # tokens a row, of all its sequences together
    budgets: tuple[int, ...] = ()  # of each sequence of a row, where a model has several (inputs, targets)
    row_examples: int = 8  # at most, where a model's front ends see them one by one
    text_length: int = 512  # tokens of a text, where texts are sequences of their own
    patch_share: float = 1.0  # of an input medium's patches, drawn at random, that a model's encoder is given
    prefetch: int = 2  # batches prepared ahead by threads
    packing: str = "first_fit"  # "window": fuller rows, from a window of waiting examples; "pairs": at most two a row
    packing_bins: int = 16  # first_fit: rows kept open at once
    packing_window: int = 128  # window: examples that wait for their row
    packing_pool: int = 10  # pairs: examples that wait for a partner
    system_prompt: str = ""  # chat style; empty: the recipe's own
    heard_layers: int = 0  # code layers of a prompt's sounds that the model is shown; 0: all (MIO hears speech by one)
    keep_media: tuple[str, ...] = ()  # "image", "audio", "mask": in the records too, for encoders that look at them
    raw_dir: str = "data/raw"  # published sets that you have, each in a folder of its name
    absent_sets: str = "refuse"  # a mixture's sets without records; "leave_out": train with the others, and say so
    added: tuple[AddedSet, ...] = ()
    filters: tuple[FilterConfig, ...] = ()  # what is left out when sets are prepared
    code_seen: bool = False  # codes also of media that a set only shows to encoders: for models that see codes alone

    def __post_init__(self) -> None:
        require(self.length > 1, f"data.length is {self.length}; it must be at least 2")
        require(
            not self.budgets or sum(self.budgets) == self.length,
            f"data.budgets {self.budgets} are {sum(self.budgets)} in all; they must make up data.length, {self.length}",
        )
        require(self.heard_layers >= 0, f"data.heard_layers is {self.heard_layers}; it must be 0 or more")
        require(self.row_examples > 0, f"data.row_examples is {self.row_examples}; it must be positive")
        require(self.text_length > 1, f"data.text_length is {self.text_length}; it must be at least 2")
        require(0 < self.patch_share <= 1, f"data.patch_share is {self.patch_share}; it must be above 0, and 1 at most")
        require(self.prefetch >= 0, f"data.prefetch is {self.prefetch}; it must be 0 or more")
        require_choice("data.packing", self.packing, PACKINGS)
        for name in self.keep_media:
            require_choice("data.keep_media", name, ("image", "audio", "mask"))
        require_choice("data.absent_sets", self.absent_sets, ABSENT_SETS)
        names = [one.name for one in self.added]
        require(len(set(names)) == len(names), f"data.added names {names}; one name stands there twice")
        require(self.packing_bins > 0, f"data.packing_bins is {self.packing_bins}; it must be positive")
        require(self.packing_window > 0, f"data.packing_window is {self.packing_window}; it must be positive")
        require(self.packing_pool > 0, f"data.packing_pool is {self.packing_pool}; it must be positive")


@dataclass(frozen=True)
class AxisRule:
    """Where a logical axis of arrays lies.

    `mesh`: the mesh axes that share it (none: replicated). What happens to a parameter whose dimension these do not
    divide: with `pad` it is padded with zeros inside and stripped on export, with `may_replicate` it is replicated
    along them, and with neither it is an error, because silence would cost memory unnoticed.
    """

    axis: str = ""
    mesh: tuple[str, ...] = ()
    may_replicate: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        require(bool(self.axis), "a rule of mesh.rules names no axis")
        for name in self.mesh:
            require_choice(f"mesh.rules.{self.axis}.mesh", name, MESH_AXES)
        require(not (self.pad and self.may_replicate), f"mesh.rules.{self.axis} has both pad and may_replicate")


AXIS_RULES = (
    # activations
    AxisRule("batch", ("replica", "data", "fsdp")),
    AxisRule("length", ("seq",)),
    AxisRule("act_embed"),
    # parameters
    AxisRule("embed", ("fsdp",)),  # gathered layer by layer inside the scan (ZeRO-3)
    AxisRule("vocab", ("tensor",), pad=True),
    AxisRule("heads", ("tensor",)),
    AxisRule("kv_heads", ("tensor",), may_replicate=True),  # grouped-query models have fewer of them than devices
    AxisRule("front_heads", ("tensor",), may_replicate=True),  # of small encoders in front of a trunk
    AxisRule("mlp", ("tensor",)),
    AxisRule("kv"),
    AxisRule("norm"),
    AxisRule("layers"),
    AxisRule("lora"),  # between the two halves of a low-rank adapter
)


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis, and the table of rules that says which logical axes lie on them.

    -1 (at most one axis) takes what is left. `preset` names the axes that are in use, joined by "+": data, fsdp,
    tensor, sequence, multislice. Without "data" among them, what is left goes to the first one named whose size is 1.
    """

    preset: str = ""  # empty: the sizes alone say it
    replica: int = 1  # slices joined by the data-center network
    data: int = -1
    fsdp: int = 1
    seq: int = 1
    tensor: int = 1
    rules: tuple[AxisRule, ...] = AXIS_RULES  # one that is not listed keeps its default
    offload_optimizer: bool = False  # optimizer state rests in the host's memory

    def __post_init__(self) -> None:
        sizes = [getattr(self, axis) for axis in MESH_AXES]
        require(sizes.count(-1) <= 1, f"mesh has more than one axis of -1: {dict(zip(MESH_AXES, sizes, strict=True))}")
        require(all(s == -1 or s > 0 for s in sizes), f"mesh sizes must be positive or -1, not {sizes}")
        named = [rule.axis for rule in self.rules]
        twice = sorted({axis for axis in named if named.count(axis) > 1})
        require(not twice, f"mesh.rules names {', '.join(twice)} twice")
        parts = self.preset.split("+") if self.preset else []
        for part in parts:
            require_choice("mesh.preset, or a part of it,", part, tuple(MESH_PRESETS))
        require(len(set(parts)) == len(parts), f"mesh.preset is {self.preset!r}; it names a part twice")
        for axis in MESH_AXES if parts else ():
            size = getattr(self, axis)
            unused = axis not in {MESH_PRESETS[part] for part in parts} and (
                size > 1 or (size == -1 and axis != "data")
            )
            require(not unused, f"mesh.{axis} is {size}, but mesh.preset {self.preset!r} does not use that axis")

    def axis_sizes(self) -> dict[str, int]:
        """Devices along each axis, outermost first, after the preset has said which takes what is left (-1)."""
        sizes = {axis: getattr(self, axis) for axis in MESH_AXES}
        parts = self.preset.split("+") if self.preset else ["data"]
        if "data" not in parts and sizes["data"] == -1:
            sizes["data"] = 1
            # Slices come last: how many there are is a fact of the machine.
            axes = [MESH_PRESETS[part] for part in sorted(parts, key=lambda part: part == "multislice")]
            free = [axis for axis in axes if sizes[axis] == 1]
            if free:
                sizes[free[0]] = -1
        return sizes


@dataclass(frozen=True)
class CheckpointConfig:
    """How often a stage is saved, and which of its checkpoints stay: those that any of the three rules keeps."""

    every_steps: int = 50
    keep_last: int = 2  # the newest
    keep_every: int = 0  # those of steps that this divides; 0: no such rule
    keep_best: int = 0  # the best by `best_metric`; 0: no such rule
    best_metric: str = "loss"  # a number in metrics.jsonl; its mean over the rows since the checkpoint before
    best_mode: str = "min"

    def __post_init__(self) -> None:
        require(self.every_steps > 0, f"checkpoint.every_steps is {self.every_steps}; it must be positive")
        require(self.keep_last > 0, f"checkpoint.keep_last is {self.keep_last}; it must be positive")
        require(self.keep_every >= 0, f"checkpoint.keep_every is {self.keep_every}; it must be 0 or more")
        require(self.keep_best >= 0, f"checkpoint.keep_best is {self.keep_best}; it must be 0 or more")
        require(
            self.keep_every % self.every_steps == 0,
            f"checkpoint.keep_every is {self.keep_every}, which is no multiple of the {self.every_steps} steps between "
            "checkpoints (checkpoint.every_steps): some of them would never be saved",
        )
        require_choice("checkpoint.best_mode", self.best_mode, ("min", "max"))
        require(bool(self.best_metric), "checkpoint.best_metric is empty; name a number in metrics.jsonl, such as loss")


@dataclass(frozen=True)
class LogConfig:
    every_steps: int = 1
    tensorboard: bool = True
    wandb: bool = False  # Weights & Biases; needs the extra `wandb`
    wandb_project: str = ""  # empty: the run's name

    def __post_init__(self) -> None:
        require(self.every_steps > 0, f"log.every_steps is {self.every_steps}; it must be positive")


@dataclass(frozen=True)
class EvalConfig:
    """Held-out evaluation of every direction that the recipe declares for this data."""

    examples: int = 240  # per direction; a direction whose score is noisy takes more of those held out
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
    start_from: str = ""  # what the first stage begins with: a run's folder, or published weights; empty: random ones

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages is empty: a run needs at least one stage")
        names = [stage.name for stage in self.stages]
        require(len(set(names)) == len(names), f"stage names must differ: {names}")
        require(
            all(n and n.replace("_", "").replace("-", "").isalnum() for n in names),
            f"stage names name folders: {names}",
        )
        require(
            self.model.lora.stored == "all" or bool(self.start_from and self.model.lora.rank),
            "model.lora.stored is 'adapters', which needs the weights that they are for (start_from) and a rank",
        )

    def with_steps(self) -> RunConfig:
        """This config with the steps of stages that have a token budget worked out; see `StageConfig.with_steps`."""
        return self.replace(stages=tuple(stage.with_steps(self.data.length) for stage in self.stages))

    def replace(self, **changes: object) -> RunConfig:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
