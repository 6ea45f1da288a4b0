"""The multimodal mixture of denoisers in this recipe's own stages (paper section 3.3, specification section 14.2).

Examples whose parts may be shown as well as asked for (`Sample.whole`) become examples that ask for one of them:

    text    R, X, S   spans of it, or its end, become sentinels; the target is every sentinel with what it hides
    image   R         the encoder sees some patches; the target is all of the codes, with a task mask where it saw none
            S         the encoder sees nothing of it; the target is all of its codes, from the other parts
    audio             as image

The prompt begins with the prefix that says which: "[Image] [R]". Examples of other tasks of the same mixture, which say
themselves what they ask, stay as they are. All of it is drawn from the example's own generator in the loader.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mio_jax.config import RunConfig, StageConfig
from mio_jax.config_denoising import DenoisingConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.objectives.denoising import pick_denoiser, pick_inputs, pick_target
from mio_jax.objectives.span_corruption import corrupt, draw_mask
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.recipes.unified_io2.patch_choice import PatchChoice
from mio_tokenizers.text.extended import SENTINELS, ExtendedTextTokenizer

LEAST_TEXT = 2  # tokens: one to hide, one to show
AROUND_TEXT = 3  # tokens at most that a denoised text has more than the text: prefix, end mark, one sentinel
INPUTS = {"text": "text", "image": "image", "audio": "sound"}  # modality -> field of a sample


def corruption(config: RunConfig, stage: StageConfig, tokenizers: Any, space: TokenSpace) -> Corruption | None:
    """What the loader does to every example of a stage; None where there is nothing to do or to draw."""
    del space
    denoising = stage.denoising if stage.objective == "denoising" else None
    if denoising is None and config.data.patch_share == 1:
        return None
    return Corruption(tokenizers.text, denoising, config.data.text_length, config.data.patch_share < 1)


class Corruption:
    """`corruption(sample, rng)`: what is trained; None if nothing in the sample can be restored.

    Args:
      text: names prefixes and sentinels.
      config: None: samples that are to be denoised stay so, and are refused where rows are made.
      length: tokens that a text has room for; of longer ones a window is drawn.
      choose: whether patches of every input are drawn, as the encoder has no room for all of them.
    """

    def __init__(
        self, text: ExtendedTextTokenizer, config: DenoisingConfig | None, length: int, choose: bool = False
    ) -> None:
        self._text, self._config, self._choose = text, config, choose
        self._room = max(length - AROUND_TEXT, LEAST_TEXT)
        self._sentinels = [text.sentinel(n) for n in range(SENTINELS)]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample | None:
        if sample.whole and self._config is not None:
            denoised = self._denoised(sample, self._config, rng)
            if denoised is None:
                return None
            sample = denoised
        if self._choose:
            sample = dataclasses.replace(
                sample,
                image_choice=sample.image_choice or _choice(rng),
                sound_choice=sample.sound_choice or _choice(rng),
            )
        return sample

    def _denoised(self, sample: Sample, config: DenoisingConfig, rng: np.random.Generator) -> Sample | None:
        text = self._window(sample.text, rng) if "text" in sample.whole else sample.text
        if np.isin(text, self._sentinels).any():  # a document about sentinels: nothing would tell them from ours
            return None
        known = {"text": len(text) >= LEAST_TEXT, "image": sample.target_image is not None}
        known["audio"] = sample.target_audio is not None
        askable = [part for part in sample.whole if known[part] and config.target_weight(part)]
        if not askable:
            return None
        target = askable[pick_target(askable, config, rng)]
        kept = pick_inputs(len(sample.whole), sample.whole.index(target), config, rng)
        denoiser = pick_denoiser(target, config, rng)
        fields: dict[str, Any] = {"whole": ()}
        for part, keep in zip(sample.whole, kept.tolist(), strict=True):
            if part != target:
                fields |= {} if part == "text" else {f"target_{part}": None}
                fields |= {} if keep else {INPUTS[part]: text[:0] if part == "text" else None}
        if target == "text":
            hidden = draw_mask(len(text), denoiser, rng, len(self._sentinels))
            fields["text"], fields["target_text"] = corrupt(text, hidden, self._sentinels)
        elif denoiser.paradigm == "S":
            fields[INPUTS[target]] = None
        else:
            fields |= {f"{INPUTS[target]}_choice": _choice(rng, denoiser.rate), "restores": target}
            fields["seen_weight"] = config.seen_weight
        shown = fields.get("text", text)
        prefix = [self._text.special(f"[{target.capitalize()}] [{denoiser.paradigm}]")] if config.prefixes else []
        return dataclasses.replace(sample, **fields | {"text": np.concatenate([prefix, shown]).astype(np.int32)})

    def _window(self, text: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spare = len(text) - self._room
        start = int(rng.integers(spare + 1)) if spare > 0 else 0
        return text[start : start + self._room]


def _choice(rng: np.random.Generator, rate: float = 0.0) -> PatchChoice:
    return PatchChoice(int(rng.integers(2**63)), rate)
