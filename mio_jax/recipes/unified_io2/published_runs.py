"""The publication's training runs as configs (specification sections 15, 16, 18), one function for each kind.

What `configs/unified_io2/*.py` share. Published: optimizer, schedule of fine-tuning, warmup, steps, rows, z-loss, what
share of patches is shown, lengths of rows, precision. Not published, and so ours: the base rate of pre-training (1.0,
T5's), the rates of the denoisers (`mio_jax.config_denoising`), and whether the dynamic mask was on: it is off, as in
the released code; turn it on with `model.variants=dynamic_mask`. The encoders of pictures and sounds are frozen
throughout; the paper trains them at the end of instruction tuning: set `model.trained_encoders` and empty
`optim.groups` for that.

Gradients of micro-batches are averaged here and summed in the public code. Adafactor's updates do not know the
difference, the clipping at a norm of 1.0 does.
"""

from __future__ import annotations

import dataclasses

from mio_jax.config import (
    AdafactorConfig,
    CheckpointConfig,
    DataConfig,
    GroupConfig,
    GuardConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)

FROZEN_ENCODERS = (GroupConfig("*_features/*", frozen=True),)
# A step with a number that is not finite is left out, as the public code leaves out every such number; a hundred of
# them one after another end the run.
SKIP = GuardConfig(max_in_a_row=100)
TOKENIZERS = TokenizersConfig(
    text="unified_io2:weights/llama/tokenizer.model",
    image="weights/unified_io2/vqgan.safetensors",
    audio="waveform:weights/unified_io2/vit_vqgan.safetensors,weights/unified_io2/hifigan.safetensors",
)


def adafactor(base: float, warmup: int) -> OptimConfig:
    """Adafactor with T5X's settings, momentum 0.9, and a rate of base / sqrt(max(step, warmup))."""
    return OptimConfig(
        optimizer="adafactor",
        learning_rate=base,
        schedule="inverse_sqrt",
        warmup_ratio=0.0,
        warmup_steps=warmup,
        clip_norm=1.0,
        z_loss=1e-4,
        adafactor=AdafactorConfig(beta1=0.9, decay_rate=0.8, clipping_threshold=1.0, min_dim_size_to_factor=128),
        groups=FROZEN_ENCODERS,
        guard=SKIP,
    )


def packed_rows(folder: str, patch_share: float) -> DataConfig:
    """Rows of 864 and 1280 places with two examples each, paired as published from a pool of ten."""
    return DataConfig(
        records_dir=folder,
        keep_media=("image", "audio", "mask"),
        budgets=(864, 1280),
        length=2144,
        row_examples=2,
        packing="pairs",
        packing_pool=10,
        text_length=512,
        patch_share=patch_share,
    )


def _run(name: str, size: str, stage: StageConfig, data: DataConfig, start_from: str = "") -> RunConfig:
    return RunConfig(
        name=name,
        run_dir=f"runs/{name}",
        recipe="unified_io2",
        model=ModelConfig(preset=f"unified_io2_{size}", dtype="bfloat16", remat="full"),
        tokenizers=TOKENIZERS,
        data=data,
        mesh=MeshConfig(preset="fsdp"),
        stages=(stage,),
        checkpoint=CheckpointConfig(every_steps=1000, keep_last=2, keep_every=100_000),
        start_from=start_from,
    )


def pretraining(size: str, micro_batches: int = 1, remat: str = "full") -> RunConfig:
    """Pre-training of "l", "xl" or "xxl": the mixture of denoisers over all media, half of the patches shown."""
    stage = StageConfig(
        "pretrain",
        steps=1_500_000,
        mixture="unified_io2_pretrain",
        batch_size=512,
        objective="denoising",
        micro_batches=micro_batches,
        optim=adafactor(1.0, 5000),
    )
    run = _run(f"unified_io2_pretrain_{size}", size, stage, packed_rows("data/unified_io2_pretrain", 0.5))
    return run.replace(model=dataclasses.replace(run.model, remat=remat))


def instruction_tuning(size: str, micro_batches: int = 1) -> RunConfig:
    """Instruction tuning of a pre-trained "l", "xl" or "xxl", seven eighths of the patches shown."""
    stage = StageConfig(
        "instruct",
        steps=1_500_000,
        mixture="unified_io2_instruct",
        batch_size=256,
        style="chat",
        micro_batches=micro_batches,
        optim=adafactor(0.5, 2000),
    )
    data = packed_rows("data/unified_io2_instruct", 0.875)
    return _run(f"unified_io2_instruct_{size}", size, stage, data, f"runs/unified_io2_pretrain_{size}")


def finetuning_on_one_gpu() -> RunConfig:
    """All of XL but its encoders on one GPU of 80 GB, with the rate and the warmup of the released example."""
    stage = StageConfig(
        "finetune",
        steps=5000,
        mixture="uio2_all",
        batch_size=16,
        style="chat",
        micro_batches=8,
        optim=adafactor(0.5, 2000),
    )
    run = _run(
        "unified_io2_finetune", "xl", stage, packed_rows("data/unified_io2_finetune", 1.0), "runs/unified_io2_xl"
    )
    return run.replace(mesh=MeshConfig(data=1), checkpoint=CheckpointConfig(every_steps=500, keep_last=1))


def finetuning_with_lora() -> RunConfig:
    """Low-rank adapters on the trunk of XXL, whose own weights rest in bfloat16: a TPU v5e-8, or one GPU of 80 GB."""
    optim = OptimConfig(
        learning_rate=2e-4,
        schedule="cosine",
        warmup_ratio=0.03,
        weight_decay=0.0,
        clip_norm=1.0,
        z_loss=1e-4,
        guard=SKIP,
    )
    stage = StageConfig(
        "finetune", steps=5000, mixture="uio2_all", batch_size=16, style="chat", micro_batches=2, optim=optim
    )
    run = _run("unified_io2_lora", "xxl", stage, packed_rows("data/unified_io2_finetune", 1.0), "runs/unified_io2_xxl")
    return run.replace(
        model=ModelConfig(
            preset="unified_io2_xxl",
            dtype="bfloat16",
            param_dtype="bfloat16",
            remat="full",
            lora=LoraConfig(rank=16, alpha=32.0, patterns=("encoder/layers/*", "decoder/layers/*")),
        ),
        checkpoint=CheckpointConfig(every_steps=500, keep_last=1),
    )
