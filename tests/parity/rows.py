"""The rows of `make golden`: groups of fixture files, for each recipe, that one test module answers for together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Fixture `files` (paths in the recipe's folder; a trailing / means a folder) that are checked as one."""

    name: str
    files: tuple[str, ...]
    about: str


ROWS: dict[str, tuple[Row, ...]] = {
    "mio": (
        Row("llama", ("llama_config.json", "llama_weights.safetensors", "llama_io.npz"), "decoder: logits, losses, packing, cache"),
        Row("sampling", ("llama_config.json", "llama_weights.safetensors", "llama_io.npz"), "greedy, beams, processors"),
        Row("rvq", ("rvq_config.json", "rvq_before.safetensors", "rvq_after_train_step.safetensors", "rvq_io.npz"), "residual quantizer"),
        Row("prompts", ("prompts.json",), "prompts and de-tokenisation"),
        Row("speech_flatten", ("speech_flatten.json",), "speech codes to strings and back"),
        Row("speech", ("speech_config.json", "speech_weights.safetensors", "speech_io.npz"), "SpeechTokenizer, ELU"),
        Row(
            "speech_snake",
            ("speech_snake_config.json", "speech_snake_weights.safetensors", "speech_snake_io.npz"),
            "SpeechTokenizer, Snake",
        ),
        Row("losses", ("losses_config.json", "losses_io.npz"), "codec training losses"),
        Row("discs", ("discs_config.json", "msstft_weights.safetensors", "discs_io.npz"), "codec discriminators"),
        Row(
            "seed",
            ("seed_config.json", "seed_weights.safetensors", "seed_reverse_extra_weights.safetensors", "seed_io.npz"),
            "SEED image tokenizer",
        ),
        Row("preproc", ("preproc_config.json", "preproc_io.npz"), "image preprocessing"),
        Row("anygpt", ("anygpt.json",), "AnyGPT strings and prompts"),
    ),
    "unified-io-2": (),
    "4m": (),
    "mico": (),
}
