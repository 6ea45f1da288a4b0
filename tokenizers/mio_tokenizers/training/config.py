"""What every tokenizer's training configuration shares; each kind's own module extends it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mio_jax.config import require, require_choice

KINDS = {  # kind of tokenizer -> the module that trains it (see `mio_tokenizers.training.kinds`)
    "text": "mio_tokenizers.text.training",
    "image_vq": "mio_tokenizers.training.image",
    "vqgan": "mio_tokenizers.training.vqgan",
    "audio_rvq": "mio_tokenizers.training.audio",
    "speechtokenizer": "mio_tokenizers.training.speechtokenizer",
    "vit_vqgan": "mio_tokenizers.training.vit_vqgan",
    "hifigan": "mio_tokenizers.training.hifigan",
    "seed_qformer": "mio_tokenizers.training.seed_qformer",
    "seed": "mio_tokenizers.training.seed_codebook",
    "seed_decoder": "mio_tokenizers.training.seed_decoder",
}


@dataclass(frozen=True)
class TokenizerOptimConfig:
    """AdamW, linear warmup, then cosine decay to `final_ratio` of the peak."""

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    final_ratio: float = 0.0
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            require(getattr(self, name) > 0, f"optim.{name} is {getattr(self, name)}; it must be positive")
        require(
            self.learning_rate > 0 and math.isfinite(self.learning_rate),
            f"optim.learning_rate is {self.learning_rate}; it must be positive",
        )
        require(self.warmup_steps >= 0, f"optim.warmup_steps is {self.warmup_steps}; it must be 0 or more")
        require(0 <= self.final_ratio <= 1, f"optim.final_ratio is {self.final_ratio}; it must be in [0, 1]")
        require(self.clip_norm > 0, f"optim.clip_norm is {self.clip_norm}; it must be positive")


@dataclass(frozen=True)
class TokenizerTrainConfig:
    """Training of one tokenizer: what on, how long, where the weights go.

    `media` names what it learns from as "source.field" (fields of `mio_jax.data.sources`); the command line reads
    them and hands arrays over as {"train/source.field": array, "test/source.field": array}.
    """

    kind: str = ""
    name: str = ""
    out: str = ""  # the finished tokenizer: a .safetensors (or .model) file
    work_dir: str = ""  # checkpoints, metrics.jsonl, eval.json
    seed: int = 0
    media: tuple[str, ...] = ()
    raw_dir: str = "data/raw"  # where the sources that read a folder of yours find it, under their names
    checkpoint_every: int = 500
    log_every: int = 20
    optim: TokenizerOptimConfig = field(default_factory=TokenizerOptimConfig)
    data_name: str = ""  # of the training data, for the notice in the weights file
    data_licence: str = ""
    data_attribution: str = ""

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, tuple(KINDS))
        for name in ("name", "out", "work_dir"):
            require(bool(getattr(self, name)), f"tokenizer config of kind {self.kind!r}: {name} is empty")
        require(bool(self.media), f"tokenizer config {self.name!r}: media is empty; name at least one 'source.field'")
        for item in self.media:
            source, _, field_name = item.partition(".")
            require(
                bool(source and field_name),
                f"tokenizer config {self.name!r}: media entry {item!r} is not of the form 'source.field'",
            )
        require(bool(self.raw_dir), f"tokenizer config {self.name!r}: raw_dir is empty")
        require(self.checkpoint_every > 0, f"checkpoint_every is {self.checkpoint_every}; it must be positive")
        require(self.log_every > 0, f"log_every is {self.log_every}; it must be positive")

    @property
    def window(self) -> tuple[int, int] | None:
        """(rate in Hz, samples) of the pieces that sounds are cut into; None: they come at one rate and length."""
        return None
