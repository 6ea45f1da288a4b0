"""A text tokenizer for Unified-IO 2 where LLaMA's, which its licence forbids to ship, is not at hand: 4,096 pieces.

    mio tokenizer train --config configs/tokenizers/unified_io2_text.py

NOTE: its ids are its own. A model trained with it is whole, but published Unified-IO 2 weights need LLaMA's
tokenizer.model. Use either as the text tokenizer "unified_io2:FILE.model"; the location tokens, sentinels and prefixes
are added on loading. It learns from the quickstart's texts and from the recipe's own wordings.
"""

from mio_jax.recipes.unified_io2 import prompts
from mio_tokenizers.structured import KEYPOINTS
from mio_tokenizers.text.training import TextTrainConfig


def wordings() -> tuple[str, ...]:
    """What prompts and answers say around their values, so that each of their words is one token or two."""
    templates = (text for _, texts in prompts.TEMPLATES.values() for text in texts)
    plain = (text.replace("<image_input>", "").replace("<audio_input>", "") for text in templates)
    return (
        *plain,
        *prompts.UNCONDITIONAL.values(),
        ", ".join(KEYPOINTS),
        "pick from ( ) and place to ( ) push MISSING",
    )


def get_config() -> TextTrainConfig:
    return TextTrainConfig(
        name="unified_io2_text",
        out="runs/tokenizers/unified_io2_text/unified_io2_text.model",
        work_dir="runs/tokenizers/unified_io2_text",
        media=("openmoji.caption", "openmoji.captions", "instruments.caption", "easy_vqa.questions", "text.text"),
        shares=(0.35, 0.15, 0.06, 0.06, 0.3),
        sentences=wordings(),
        sentences_share=0.08,
        vocab_size=4096,
        layout="llama",
    )
