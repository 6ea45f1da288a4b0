"""A small VQGAN on the quickstart's pictures: 64x64 pixels -> 8x8 codes out of 512. Not bundled; minutes on a CPU.

mio tokenizer train --config configs/tokenizers/vqgan_tiny.py
mio tokenizer eval  --config configs/tokenizers/vqgan_tiny.py

The published size is `settings=PRESETS["unified_io2"]`, trained with the defaults of `VQLossConfig`.
"""

from mio_tokenizers.image.vqgan import PRESETS
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.vq_loss import AdversaryConfig, VQLossConfig
from mio_tokenizers.training.vqgan import VQGANTrainConfig


def get_config() -> VQGANTrainConfig:
    return VQGANTrainConfig(
        name="vqgan_tiny",
        out="runs/tokenizers/vqgan_tiny/vqgan_tiny.safetensors",
        work_dir="runs/tokenizers/vqgan_tiny",
        media=("openmoji.image", "easy_vqa.image"),
        weights=(0.8, 0.2),
        settings=PRESETS["tiny"],
        loss=VQLossConfig(
            l1=1.0,
            edge=0.5,
            multiscale=0.5,
            codebook="ema",
            adversary=AdversaryConfig(weight=0.1, kind="patch", width=16, start=0.85, alone_until=0.92),
        ),
        optim=TokenizerOptimConfig(steps=200, batch_size=8, learning_rate=1e-3, warmup_steps=15),
        checkpoint_every=50,
        log_every=10,
        data_name="OpenMoji 17 (train split), easy-vqa 1.0 (train split)",
        data_licence="OpenMoji: CC BY-SA 4.0; easy-vqa: MIT",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org; "
        "easy-vqa, Copyright (c) 2019 Victor Zhou",
    )
