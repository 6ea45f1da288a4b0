"""Sizes and settings of a Unified-IO 2 model, as one frozen dataclass.

Grids are (rows, columns) of places, in the order in which tokens or patches are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mio_jax.config import QUANTIZE, require, require_choice
from mio_jax.errors import MioError
from mio_jax.nn.attention import BACKENDS
from mio_jax.nn.layer_parts import LayerSpec
from mio_jax.nn.remat import REMAT_POLICIES
from mio_jax.nn.resampler import ResamplerSpec
from mio_jax.nn.vit import ViTSpec

INPUTS = ("text", "image", "image_history", "audio", "audio_history")  # in the order of the encoder's sequence
TARGETS = ("text", "image", "audio")  # in the order of the decoder's
MEDIA = INPUTS[1:]
RESERVED = 2  # image and audio ids before the codes: the start token, and one that is never used

IMAGE_VIT = ViTSpec(patch_dim=768, dim=768, heads=12, head_dim=64, mlp_dim=3072, depth=11, positions=197)
AST = ViTSpec(
    patch_dim=256,
    dim=768,
    heads=12,
    head_dim=64,
    mlp_dim=3072,
    depth=11,
    positions=514,
    extra=2,
    pre_norm=False,
    patch_bias=True,
    norm_eps=1e-6,
    mlp="gelu_tanh",
)


@dataclass(frozen=True)
class UnifiedIO2Spec:
    """What a `UnifiedIO2` is built from; hashable, so that it may be a static argument.

    Attributes:
      image_vit, audio_vit: of image and sound, and of their histories.
      image_positions: the grid of the image ViT's position table.
      image_grid, image_history_grid: patches of a whole input picture, and of one in the history.
      audio_grid: (time, mel) patches of a segment of sound.
      target_image_grid: codes of a picture that is made.
      target_audio_grid: (time, mel) codes of a sound that is made.
      history_slots: pictures, or segments of sound, that a history has room for.
      input_modalities, target_modalities: those that are built; batches may bring fewer.
      trained_encoders: the front ends whose ViT gets a gradient (of "image", "image_history", "audio",
        "audio_history"). The others see its features as constants.
      sparse_patterns: the decoder's layers see rows, columns or a neighbourhood of image and audio codes only.
      dynamic_mask: a target code that the encoder did not see is not shown to other targets.
      exact_rotary: rotary angles in float32 whatever `dtype`; published weights were trained with rounded ones.

    Raises:
      MioError: sizes that do not fit together, or an unknown name.
    """

    dim: int
    heads: int
    head_dim: int
    mlp_dim: int
    encoder_depth: int
    decoder_depth: int
    image_history: ResamplerSpec
    audio_history: ResamplerSpec
    image_vit: ViTSpec = IMAGE_VIT
    audio_vit: ViTSpec = AST
    text_vocab: int = 33280
    image_vocab: int = 16512
    audio_vocab: int = 8320
    image_positions: tuple[int, int] = (14, 14)
    image_grid: tuple[int, int] = (24, 24)
    image_history_grid: tuple[int, int] = (16, 16)
    audio_grid: tuple[int, int] = (16, 8)
    target_image_grid: tuple[int, int] = (32, 32)
    target_audio_grid: tuple[int, int] = (32, 16)
    history_slots: int = 8
    input_modalities: tuple[str, ...] = INPUTS
    target_modalities: tuple[str, ...] = TARGETS
    trained_encoders: tuple[str, ...] = ()
    sparse_patterns: bool = False
    dynamic_mask: bool = False
    exact_rotary: bool = False
    norm_eps: float = 1e-6
    dtype: str = "float32"  # compute
    encoder_dtype: str = "float32"  # of the ViTs
    remat: str = "none"
    attention: str = "auto"
    quantize: str = "none"
    published: str = field(default="", compare=False)  # the preset that it is, for messages

    def __post_init__(self) -> None:
        for name in ("dim", "heads", "head_dim", "mlp_dim", "encoder_depth", "decoder_depth"):
            require(getattr(self, name) > 0, f"model.{name} is {getattr(self, name)}; it must be positive")
        require(
            self.head_dim % 4 == 0,
            f"model.head_dim is {self.head_dim}; two-dimensional rotary embedding needs a multiple of 4",
        )
        require_choice("model.dtype", self.dtype, ("float32", "bfloat16"))
        require_choice("model.remat", self.remat, tuple(REMAT_POLICIES))
        require_choice("model.quantize", self.quantize, QUANTIZE)
        require_choice("model.attention", self.attention, BACKENDS)
        _require_known("model.input_modalities", self.input_modalities, INPUTS)
        _require_known("model.target_modalities", self.target_modalities, TARGETS)
        _require_known("model.trained_encoders", self.trained_encoders, MEDIA)
        for name in ("input_modalities", "target_modalities"):
            require(bool(getattr(self, name)), f"model.{name} is empty: a model needs at least one")
        absent = [name for name in self.trained_encoders if name not in self.input_modalities]
        require(not absent, f"model.trained_encoders names {', '.join(absent)}, not among model.input_modalities")
        if self.image_vit.positions != math.prod(self.image_positions) + self.image_vit.extra:
            raise MioError(
                f"the image ViT has {self.image_vit.positions} positions; its grid of {self.image_positions} and "
                f"{self.image_vit.extra} extra tokens make another number"
            )

    @property
    def encoder_layer(self) -> LayerSpec:
        return LayerSpec(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.head_dim,
            mlp_dim=self.mlp_dim,
            depth=self.encoder_depth,
            norm_eps=self.norm_eps,
            qk="rms",
            rotary="pairs",
            attention=self.attention,
            quantize=self.quantize,
            kv_heads_axis="heads",
        )

    @property
    def decoder_layer(self) -> LayerSpec:
        layer = self.encoder_layer
        return LayerSpec(**{**vars(layer), "depth": self.decoder_depth, "causal": True, "context": self.dim})

    @property
    def vocab_size(self) -> int:
        """Rows of the text table."""
        return self.text_vocab

    def vocab(self, modality: str) -> int:
        """Rows of the table of a target modality."""
        rows: int = getattr(self, f"{modality}_vocab")
        return rows

    def has(self, side: str, modality: str) -> bool:
        return modality in (self.input_modalities if side == "inputs" else self.target_modalities)

    def has_table(self, modality: str) -> bool:
        """Whether the table of "text", "image" or "audio" is built: input text needs it too."""
        return self.has("targets", modality) or (modality == "text" and self.has("inputs", "text"))

    def encodes(self, medium: str) -> bool:
        """Whether the ViT of "image" or "audio" is built: some front end needs it."""
        return any(name in self.input_modalities for name in (medium, f"{medium}_history"))

    def vit(self, medium: str) -> ViTSpec:
        spec: ViTSpec = getattr(self, f"{medium}_vit")
        return spec

    def resampler(self, modality: str) -> ResamplerSpec:
        spec: ResamplerSpec = getattr(self, modality)
        return spec

    def grid(self, modality: str) -> tuple[int, int]:
        """Patches of an input modality, or of one item of a history."""
        if modality == "image_history":
            return self.image_history_grid
        return self.image_grid if modality == "image" else self.audio_grid

    def target_grid(self, modality: str) -> tuple[int, int]:
        grid: tuple[int, int] = getattr(self, f"target_{modality}_grid")
        return grid

    def tokens_of(self, modality: str) -> int:
        """Codes of a picture or a sound that is made."""
        return math.prod(self.target_grid(modality))

    @property
    def input_scale(self) -> float:
        """Of the coordinates of input patches: they cover the same range as those of the codes of a target picture.

        The published models use the picture's for sound too.
        """
        return (math.prod(self.target_image_grid) / math.prod(self.image_grid)) ** 0.5


def _require_known(name: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    require(len(set(values)) == len(values), f"{name} names a modality twice: {', '.join(values)}")
    for value in values:
        require_choice(f"{name}, or a part of it,", value, known)
