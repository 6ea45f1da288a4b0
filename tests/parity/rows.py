"""The rows of `make golden`: groups of fixture files, for each recipe, that one test module answers for together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """Fixture `files` (paths in the recipe's folder; a trailing / means a folder) that are checked as one."""

    name: str
    files: tuple[str, ...]
    about: str


UIO2_WEIGHTS = ("config.json", "state_dict.npz")
MICO_WEIGHTS = ("config.json", "weights.safetensors")
LLAMA = ("llama_config.json", "llama_weights.safetensors", "llama_io.npz")

ROWS: dict[str, tuple[Row, ...]] = {
    "mio": (
        Row("llama", LLAMA, "decoder: logits, losses, packing, cache"),
        Row("sampling", LLAMA, "greedy, beams, processors"),
        Row(
            "rvq",
            ("rvq_config.json", "rvq_before.safetensors", "rvq_after_train_step.safetensors", "rvq_io.npz"),
            "residual quantizer",
        ),
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
    "unified-io-2": (
        Row("text_to_text", ("model_text_to_text.npz", *UIO2_WEIGHTS), "forward pass and losses"),
        Row("image_text_to_text", ("model_image_text_to_text.npz", *UIO2_WEIGHTS), "forward pass and losses"),
        Row("audio_text_to_text", ("model_audio_text_to_text.npz", *UIO2_WEIGHTS), "forward pass and losses"),
        Row("text_to_image", ("model_text_to_image.npz", *UIO2_WEIGHTS), "forward pass and losses"),
        Row("text_audiohist_to_audio", ("model_text_audiohist_to_audio.npz", *UIO2_WEIGHTS), "forward pass and losses"),
        Row("all_to_all", ("model_all_to_all.npz", *UIO2_WEIGHTS), "forward pass and losses, every modality"),
        Row("grads", ("grads.npz", "model_all_to_all.npz", *UIO2_WEIGHTS), "gradients of the total loss"),
        Row("t5x_params", ("t5x_params.npz", *UIO2_WEIGHTS), "both key maps of the published weights"),
        Row(
            "masks_and_rope",
            ("decoder_masks_and_rope.npz", "model_all_to_all.npz", *UIO2_WEIGHTS),
            "sparse masks and rotary tables",
        ),
        Row(
            "features", ("feature_extractors.npz", "model_all_to_all.npz", *UIO2_WEIGHTS), "ViT, AST, history encoders"
        ),
        Row("perceiver", ("perceiver.npz", "config.json"), "resampler"),
        Row("image_vqgan", ("image_vqgan.npz", *UIO2_WEIGHTS), "image tokenizer"),
        Row("audio_vitvqgan", ("audio_vitvqgan.npz", *UIO2_WEIGHTS), "audio tokenizer"),
        Row("generation", ("generation.npz", *UIO2_WEIGHTS), "cached decoding, guidance, option scoring"),
        Row("hifigan", ("hifigan.npz", "config.json"), "vocoder"),
        Row("preprocess", ("preprocess.npz", "preprocess.json"), "image, audio, location preprocessing"),
        Row("tokenizer", ("tokenizer.json", "toy_llama_style.model"), "vocabulary surgery"),
        Row("metrics", ("metrics.json",), "GRIT metrics"),
        Row("packing", ("packing.json",), "streaming pairer and batching"),
        Row("adafactor", ("adafactor.npz",), "optimizer steps and schedule"),
    ),
    "4m": (
        *(
            Row(f"fm_{name}", (f"fm/{name}/",), "masked model: forward, losses")
            for name in ("gelu_bias_causal", "gelu_bias_nosep", "swiglu_nobias", "swiglu_qknorm_reg")
        ),
        *(
            Row(f"gen_{name}", (f"generation/{name}.json", f"generation/{name}.npz"), "decoding chain")
            for name in (
                "ar_greedy_limit",
                "ar_sampled_poses",
                "ar_sampled_stops",
                "maskgit_chain",
                "multi_guided_maskgit",
                "roar_chain",
            )
        ),
        Row("gen_schedules", ("generation/schedules.json",), "decoding schedules"),
        Row("gen_top_k_top_p", ("generation/top_k_top_p.npz",), "sampling filters"),
        Row("keys", ("keys/",), "names and shapes of the published weights"),
        Row("masking", ("masking/",), "budgets, spans, sequence masking"),
        Row("misc", ("misc/",), "small formulas and modality ids"),
        Row("text", ("text/",), "text and metadata tokens"),
        Row("tok_schedulers", ("tokenizers/schedulers.npz",), "diffusion schedules"),
        *(
            Row(f"tok_{name}", (f"tokenizers/{name}/",), "tokenizer: encode and decode")
            for name in ("divae", "mlp_memcodes", "uvit", "vqvae_euclid", "vqvae_feat", "vqvae_rgb", "vqvae_semseg")
        ),
        Row("train", ("train/", "set.json"), "optimizer steps"),
    ),
    "mico": (
        Row("encoder", ("encoder.npz", *MICO_WEIGHTS), "shared encoder over all modalities"),
        Row("heads", ("heads.npz", *MICO_WEIGHTS), "projection and matching heads"),
        Row("losses", ("losses.npz", *MICO_WEIGHTS), "contrastive, matching and caption losses"),
        Row("grads", ("grads.npz", "grad_norms.json", *MICO_WEIGHTS), "gradients"),
        Row("optim", ("optim.npz", *MICO_WEIGHTS), "optimizer steps and parameter groups"),
        Row("generation", ("generation.npz", *MICO_WEIGHTS), "caption decoding"),
        Row("preprocess", ("preprocess.npz", "config.json"), "media preprocessing"),
        Row("vit_variants", ("vit_variants.npz", "vit_variants.safetensors", "config.json"), "EVA-02 and other ViTs"),
    ),
}


def files_of(folder: Path, row: Row) -> tuple[list[Path], list[str]]:
    """The row's fixture files in `folder`, and the names of those that are not there."""
    found: list[Path] = []
    absent: list[str] = []
    for name in row.files:
        path = folder / name
        if name.endswith("/") and path.is_dir():
            found.extend(sorted(p for p in path.rglob("*") if p.is_file()))
        elif path.is_file():
            found.append(path)
        else:
            absent.append(name)
    return found, absent


def unlisted(folder: Path, recipe: str) -> list[str]:
    """Fixture files that no row of this table names: what a new fixture folder may bring."""
    listed = {path for row in ROWS[recipe] for path in files_of(folder, row)[0]}
    every = {p for p in folder.rglob("*") if p.is_file() and p.name != "README.md" and not p.name.startswith(".")}
    return sorted(str(p.relative_to(folder)) for p in every - listed)
