"""The bundled text tokenizer: 2,048 SentencePiece pieces for captions in seven languages, questions, notes and prose.

    mio tokenizer train --config configs/tokenizers/text_tiny.py
    mio tokenizer eval  --config configs/tokenizers/text_tiny.py

The prose is the library text of the Python that runs, so another Python version gives a slightly different model;
the bundled one was trained under CPython 3.11.
"""

from mio_jax.recipes.mio import prompts, tasks
from mio_tokenizers.text.training import TextTrainConfig


def templates() -> tuple[str, ...]:
    """The recipe's own wordings, so that each of their words is one token or two."""
    turns = [
        *tasks.ask_caption(None),
        *(segment for language in tasks.LANGUAGES.values() for segment in tasks.ask_caption(None, language)),
        *tasks.ask_image(""),
        *tasks.ask_mask(None),
        *tasks.ask_what_and_where(None),
        *tasks.reply_what_and_where("", None),
        *tasks.ask_sound(""),
        *tasks.ask_sound_description(None),
    ]
    return (
        prompts.SYSTEM_STD,
        prompts.SYSTEM_VOICE,
        "system\nuser\nassistant\n",
        *(segment.value for segment in turns if segment.kind == "text"),
        " The caption of this image is: ",
        *(f" The caption of this image in {language} is: " for language in tasks.LANGUAGES.values()),
        "Please generate an image of ``'': ",
        " The mask of this image is: ",
        " The description of this sound is: ",
        "Please generate a sound of ``'': ",
        *6 * (" Question: is there what which Answer: yes no",),
        "Please continue this text.\n",
        "Here: there is ",
    )


def get_config() -> TextTrainConfig:
    return TextTrainConfig(
        name="text_tiny",
        out="tokenizers/mio_tokenizers/weights/text_tiny.model",
        work_dir="runs/tokenizers/text_tiny",
        media=("openmoji.caption", "openmoji.captions", "instruments.caption", "easy_vqa.questions", "text.text"),
        shares=(0.42, 0.2, 0.06, 0.06, 0.22),
        sentences=templates(),
        sentences_share=0.06,
    )
