"""The publication's stages as configs (specification, section 5), and three ways to fine-tune.

What `configs/mio/*.py` share. Published: sets, rows of a step (12:2:0:2, 2:2:6:6, 2:1:1:12 a GPU, of 128, 128 and 8),
steps of stages I to III, AdamW, cosine, peak rate 3e-5, warmup 0.03, clipping at 1.0, rows of 2,800 packed tokens that
do not see each other, loss on replies alone in stage IV, filters of the raw sets.

Not published, and so ours, each a field to change:
  betas (0.9, 0.95) and weight decay 0.1: LLaMA's; final rate 0: plain cosine;
  bfloat16 compute on float32 parameters: what the GPUs of the time trained in without losing small updates;
  all parameters trained: the paper freezes the two media tokenizers alone;
  stage IV's 128 rows a step (stage III's) and 20,000 steps (a round number between those of stages II and III);
  the score filter's column: scores of CLIP must be made by the user, and the paper does not say with which CLIP.
"""

from __future__ import annotations

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    FilterConfig,
    GroupConfig,
    GuardConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)

GPUS = 128  # A800 of stages I and II: a step holds their rows, whatever the machine
GPUS_OF_STAGE_3 = 8
TEXT_ROWS = 64_000  # of Yi's vocabulary: ids from here on are MIO's new ones

TOKENIZERS = TokenizersConfig(
    text="weights/yi-6b/tokenizer.model", image="weights/seed-tokenizer-2", audio="weights/speechtokenizer.safetensors"
)
WEB_PICTURES = ("sbu", "cc3m_told", "laion_coco")
SPEECH = ("libriheavy", "librispeech", "gigaspeech", "common_voice")
FILTERS = (
    FilterConfig(sets=(*WEB_PICTURES, "journeydb"), max_aspect=2.0, min_side=224, language="en"),
    FilterConfig(sets=WEB_PICTURES, score="clip_score", min_score=0.27),  # without the column: take this one out
    FilterConfig(sets=SPEECH, max_seconds=15.0),
)


def optimizer(rate: float = 3e-5) -> OptimConfig:
    """AdamW with the published schedule."""
    return OptimConfig(
        learning_rate=rate,
        schedule="cosine",
        warmup_ratio=0.03,
        clip_norm=1.0,
        b1=0.9,
        b2=0.95,
        weight_decay=0.1,
        guard=GuardConfig(max_in_a_row=100),  # a step with a number that is not finite is left out
    )


def composition(stage: int, shares: tuple[int, int, int, int], gpus: int) -> tuple[Part, ...]:
    """Rows of pairs : text : interleaved and video : speech that a GPU's share of a step has, for all GPUs."""
    names = ("image_text", "text", "interleaved_and_video", "speech")
    rows = zip(names, shares, strict=True)
    return tuple(Part(f"mio_stage{stage}_{name}", share * gpus) for name, share in rows if share)


def stages(micro_batches: int) -> tuple[StageConfig, ...]:
    """The four stages as one curriculum; `micro_batches` of the large steps of stages I and II."""
    return (
        StageConfig(
            "alignment",
            steps=24_800,
            composition=composition(1, (12, 2, 0, 2), GPUS),
            micro_batches=micro_batches,
            optim=optimizer(),
        ),
        StageConfig(
            "interleaved",
            steps=12_800,
            composition=composition(2, (2, 2, 6, 6), GPUS),
            micro_batches=micro_batches,
            optim=optimizer(),
        ),
        StageConfig(
            "speech", steps=32_200, composition=composition(3, (2, 1, 1, 12), GPUS_OF_STAGE_3), optim=optimizer()
        ),
        StageConfig(
            "instruct",
            steps=20_000,
            mixture="mio_instruct",
            batch_size=16 * GPUS_OF_STAGE_3,
            style="chat",
            supervise="responses",
            optim=optimizer(),
        ),
    )


def data(folder: str) -> DataConfig:
    """Rows of 2,800 tokens; codes of all media, for MIO sees nothing else."""
    return DataConfig(records_dir=folder, length=2800, heard_layers=1, filters=FILTERS, code_seen=True)


def curriculum(size: str, micro_batches: int, start_from: str = "") -> RunConfig:
    """The published run for a preset `mio_{size}`."""
    return RunConfig(
        name=f"mio_{size}",
        run_dir=f"runs/mio_{size}",
        recipe="mio",
        model=ModelConfig(preset=f"mio_{size}", dtype="bfloat16", remat="full"),
        tokenizers=TOKENIZERS,
        data=data("data/mio"),
        mesh=MeshConfig(data=1, fsdp=-1),
        stages=stages(micro_batches),
        checkpoint=CheckpointConfig(every_steps=500, keep_last=2, keep_every=10_000),
        start_from=start_from,
    )


def finetuning(way: str, model: ModelConfig, optim: OptimConfig) -> RunConfig:
    """Instruction tuning of the published base model in one of three ways, on the sets at hand."""
    return RunConfig(
        name=f"mio_finetune_{way}",
        run_dir=f"runs/mio_finetune_{way}",
        recipe="mio",
        model=model,
        tokenizers=TOKENIZERS,
        data=DataConfig(
            records_dir="data/mio",
            length=2800,
            heard_layers=1,
            filters=FILTERS,
            code_seen=True,
            absent_sets="leave_out",
        ),
        mesh=MeshConfig(data=1, fsdp=-1),
        stages=(
            StageConfig(
                "finetune",
                steps=5000,
                mixture="mio_instruct",
                batch_size=64,
                style="chat",
                supervise="responses",
                micro_batches=4,
                optim=optim,
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=500, keep_last=1),
        start_from="weights/mio-7b-base",
    )


def full_finetuning() -> RunConfig:
    """Every parameter, at the publication's own rate of stage IV."""
    return finetuning("full", ModelConfig(preset="mio_7b", dtype="bfloat16", remat="full"), optimizer())


def finetuning_with_lora() -> RunConfig:
    """Low-rank adapters on the layers, as SEED-LLaMA trains them (rank 16, alpha 32), but its norms stay frozen."""
    model = ModelConfig(
        preset="mio_7b", dtype="bfloat16", param_dtype="bfloat16", remat="full", lora=LoraConfig(rank=16, alpha=32.0)
    )
    optim = OptimConfig(
        learning_rate=1.5e-4, schedule="cosine", warmup_ratio=0.03, final_ratio=0.05, weight_decay=0.05, clip_norm=1.0
    )
    return finetuning("lora", model, optim)


def finetuning_of_new_rows() -> RunConfig:
    """The rows that MIO added to Yi's vocabulary, in embedding and head; the trunk and the text rows are frozen.

    The rate is ten times the publication's: rows that begin at random have further to go than a trained trunk.
    """
    groups = (
        GroupConfig("embed", from_row=TEXT_ROWS),
        GroupConfig("head", from_row=TEXT_ROWS),
        GroupConfig("*", frozen=True),
    )
    optim = OptimConfig(
        learning_rate=3e-4, schedule="cosine", warmup_ratio=0.03, weight_decay=0.0, clip_norm=1.0, groups=groups
    )
    return finetuning("new_rows", ModelConfig(preset="mio_7b", dtype="bfloat16", remat="full"), optim)
