"""Config of the mixture of denoisers: what is hidden of an example, and how much of it.

The mixture is UL2's for text and that of Unified-IO 2 (section 3.3 of its paper) for several modalities. Unified-IO 2
did not publish its rates; every choice it leaves open is a field here, with the reason for its default beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mio_jax.errors import MioError

PARADIGMS = ("R", "S", "X")


@dataclass(frozen=True)
class DenoiserConfig:
    """One way to corrupt a sequence.

    paradigm "R" (regular) and "X" (extreme): spans of `mean_span` tokens on average, `rate` of all tokens together.
    paradigm "S" (sequential): one span at the end, `rate` of the tokens on average, of a length that is uniform around
    that; `mean_span` has no meaning and is 0.
    `weight`: how often it is drawn, beside the others.
    """

    name: str = "r3"
    paradigm: str = "R"
    mean_span: float = 3.0
    rate: float = 0.15
    weight: float = 1.0

    def __post_init__(self) -> None:
        where = f"denoiser {self.name!r}"
        if self.paradigm not in PARADIGMS:
            raise MioError(f"{where}: paradigm is {self.paradigm!r}; it must be one of {', '.join(PARADIGMS)}")
        if not 0 < self.rate < 1:
            raise MioError(f"{where}: rate is {self.rate}; it must lie between 0 and 1")
        if self.paradigm == "S" and self.mean_span != 0:
            raise MioError(f"{where}: mean_span is {self.mean_span}; paradigm S has one span at the end: leave it 0")
        if self.paradigm != "S" and self.mean_span < 1:
            raise MioError(f"{where}: mean_span is {self.mean_span}; it must be at least 1 token")
        if self.weight < 0:
            raise MioError(f"{where}: weight is {self.weight}; it must be 0 or more")


# UL2's own seven (its table 1), drawn alike. Unified-IO 2 says "following UL2" and gives no rates of its own.
UL2 = (
    DenoiserConfig("r3", "R", 3.0, 0.15),
    DenoiserConfig("r8", "R", 8.0, 0.15),
    DenoiserConfig("s", "S", 0.0, 0.25),
    DenoiserConfig("x3", "X", 3.0, 0.5),
    DenoiserConfig("x8", "X", 8.0, 0.5),
    DenoiserConfig("x64", "X", 64.0, 0.15),
    DenoiserConfig("x64_half", "X", 64.0, 0.5),
)


@dataclass(frozen=True)
class DenoisingConfig:
    """The multimodal mixture of denoisers. Everything but `text` is unpublished.

    text: the denoisers of text, drawn by their weights.
    text_target, image_target, audio_target: how often a modality that an example has is drawn as what is to be
      restored, beside the others it has. Default: alike, the only choice that needs no knowledge of the data.
    keep_inputs: chance of every other part of the example to stay as an input. Default 0.9: a tenth without, as the
      published text-to-image training has a tenth of its examples without their caption.
    reconstruct: chance of R (hidden parts of the target, restored from the rest of it and the other inputs) for image
      and audio targets; S (restored from the other inputs alone) otherwise. Default: a half.
    image_rate, audio_rate: share of an image's or a sound's patches that R hides. Default 0.75, as in masked
      autoencoders; the published encoders see at most a half.
    seen_weight: weight of the loss on tokens that R left in sight, beside 1 for hidden ones. Default 1: the published
      loss mask covers the whole picture.
    prefixes: whether an example begins with the tokens that name modality and paradigm, "[Text] [R]".
    """

    text: tuple[DenoiserConfig, ...] = UL2
    text_target: float = 1.0
    image_target: float = 1.0
    audio_target: float = 1.0
    keep_inputs: float = 0.9
    reconstruct: float = 0.5
    image_rate: float = 0.75
    audio_rate: float = 0.75
    seen_weight: float = 1.0
    prefixes: bool = True

    def __post_init__(self) -> None:
        names = [denoiser.name for denoiser in self.text]
        if len(set(names)) < len(names):
            raise MioError(f"denoising.text names a denoiser twice: {', '.join(names)}")
        if not any(denoiser.weight for denoiser in self.text):
            raise MioError("denoising.text has no denoiser with a weight above 0; give at least one")
        targets = {name: getattr(self, f"{name}_target") for name in ("text", "image", "audio")}
        if min(targets.values()) < 0 or not any(targets.values()):
            raise MioError(
                f"denoising targets have weights {targets}; they must be 0 or more, and one of them positive"
            )
        for name in ("keep_inputs", "reconstruct"):
            if not 0 <= getattr(self, name) <= 1:
                raise MioError(f"denoising.{name} is {getattr(self, name)}; it must be in [0, 1]")
        for name in ("image_rate", "audio_rate"):
            if not 0 < getattr(self, name) < 1:
                raise MioError(f"denoising.{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if self.seen_weight < 0:
            raise MioError(f"denoising.seen_weight is {self.seen_weight}; it must be 0 or more")

    def target_weight(self, modality: str) -> float:
        """How often `modality` (text, image or audio) is drawn as target, beside others. Raises MioError for others."""
        if modality not in ("text", "image", "audio"):
            raise MioError(f"the mixture of denoisers knows text, image and audio, not {modality!r}")
        return float(getattr(self, f"{modality}_target"))
