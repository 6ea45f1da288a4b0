"""What MIO sequences hold where they are trained with a mixture of denoisers; the paper is causal throughout."""

from __future__ import annotations

from typing import Any

from mio_jax.config import RunConfig, StageConfig
from mio_jax.config_denoising import PARADIGMS
from mio_jax.data.denoised_examples import DenoisedExamples
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.protocols import DenoisingIds
from mio_jax.recipes.mio.features import text_ids

PREFIX = "[{}] [{}] "  # Unified-IO 2's, as text


def corruption(config: RunConfig, stage: StageConfig, tokenizers: Any, space: TokenSpace) -> DenoisedExamples | None:
    """Denoised sequences for stages that ask for them; see `denoising_ids`."""
    del config
    if stage.objective != "denoising":
        return None
    return DenoisedExamples(space, denoising_ids(tokenizers, space), stage.denoising)


def denoising_ids(tokenizers: Any, space: TokenSpace) -> DenoisingIds:
    """Sentinels, the last of which hides codes, and prefixes such as "[Text] [R] ".

    Raises MioError if the token space has no sentinels.
    """
    if not any(block.name == "sentinel" for block in space.blocks):
        raise MioError(f"token space {space.name!r} has no sentinels; set tokenizers.sentinels, to 100 say")
    block = space.block("sentinel")
    sentinels = tuple(range(block.start, block.stop - 1))
    prefixes = {
        (modality, paradigm): text_ids(PREFIX.format(modality.capitalize(), paradigm), space, tokenizers.text.encode)
        for modality in space.modalities
        for paradigm in PARADIGMS
    }
    return DenoisingIds(sentinels, block.stop - 1, prefixes)
