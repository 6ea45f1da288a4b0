"""Sizes of a SEED tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mio_jax.config import require, require_choice
from mio_jax.errors import MioError
from mio_jax.nn.vit import ViTSpec

HEADS = ("mlp", "reverse")
FILTERS = ("bilinear", "bicubic")
VIT_EPS, VISION_NORM_EPS, QFORMER_EPS, BLOCK_EPS = 1e-6, 1e-5, 1e-12, 1e-6


@dataclass(frozen=True)
class SeedSettings:
    """Everything that a weights file must say to rebuild the tokenizer; the defaults are those of SEED-Tokenizer v2.

    Attributes:
      img_size, patch_size: pixels along an edge, of the picture and of a patch.
      vit_dim, vit_depth, vit_heads, mlp_ratio: of the vision tower.
      hidden, heads, layers, inter: of the causal Q-Former; cross_freq: every so many layers, from the first on,
        attend to the picture.
      queries: learned queries, and so tokens of a picture.
      codebook_dim, n_embed: the codebook.
      depth, block_heads: of the two stacks behind the codes.
      down: widths of the MLP head, which ends in `queries * down[-1]` numbers.
      feat_dim: of the image embedding.
      head: "mlp" (the published inference) or "reverse" (a reverse Q-Former, the published training).
      resample: PIL filter of the pictures: "bilinear" (MIO, SEED's inference) or "bicubic" (AnyGPT, SEED's training).
    """

    img_size: int = 224
    patch_size: int = 14
    vit_dim: int = 1408
    vit_depth: int = 39
    vit_heads: int = 16
    mlp_ratio: float = 4.3637
    hidden: int = 768
    heads: int = 12
    layers: int = 12
    inter: int = 3072
    cross_freq: int = 2
    queries: int = 32
    codebook_dim: int = 32
    n_embed: int = 8192
    depth: int = 4
    block_heads: int = 12
    down: tuple[int, ...] = (256, 128, 32)
    feat_dim: int = 1024
    head: str = "mlp"
    resample: str = "bilinear"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float):
                require(value > 0, f"seed: {field.name} is {value}; it must be positive")
        for width, parts in (
            *(("img_size", "patch_size"), ("vit_dim", "vit_heads")),
            *(("hidden", "heads"), ("hidden", "block_heads")),
        ):
            whole, part = getattr(self, width), getattr(self, parts)
            require(whole % part == 0, f"seed: {width} {whole} is no multiple of {parts} {part}")
        require(
            len(self.down) == 3 and min(self.down) > 0, f"seed: down is {self.down}; it must be three positive widths"
        )
        require_choice("seed: head", self.head, HEADS)
        require_choice("seed: resample", self.resample, FILTERS)

    @property
    def grid(self) -> int:
        """Patches along an edge."""
        return self.img_size // self.patch_size

    @property
    def vit(self) -> ViTSpec:
        """The vision tower: EVA-CLIP's ViT, whose keys have no bias, without a norm at either end."""
        return ViTSpec(
            patch_dim=3 * self.patch_size**2,
            dim=self.vit_dim,
            heads=self.vit_heads,
            head_dim=self.vit_dim // self.vit_heads,
            mlp_dim=int(self.vit_dim * self.mlp_ratio),
            depth=self.vit_depth,
            positions=1 + self.grid**2,
            pre_norm=False,
            patch_bias=True,
            key_bias=False,
            norm_eps=VIT_EPS,
        )

    @property
    def codes(self) -> int:
        return self.n_embed

    @property
    def code_dim(self) -> int:
        return self.codebook_dim

    @property
    def code_grid(self) -> tuple[int]:
        return (self.queries,)

    @property
    def unit_codes(self) -> bool:
        return False


TINY = SeedSettings(
    img_size=64,
    patch_size=16,
    vit_dim=64,
    vit_depth=2,
    vit_heads=4,
    mlp_ratio=2.0,
    hidden=64,
    heads=4,
    layers=3,
    inter=128,
    cross_freq=1,
    queries=32,
    codebook_dim=8,
    n_embed=512,
    depth=1,
    block_heads=4,
    down=(64, 32, 6),
    feat_dim=768,
    resample="bicubic",
)
PRESETS = {"seed_2": SeedSettings(), "tiny": TINY}


def seed_settings(config: Mapping[str, Any]) -> SeedSettings:
    """Settings from a JSON object of their names; what it leaves out is as published.

    Raises:
      MioError: a name that is none, or sizes that do not fit together.
    """
    known = {field.name for field in fields(SeedSettings)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise MioError(f"the seed config has unknown names: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return SeedSettings(**sizes)
