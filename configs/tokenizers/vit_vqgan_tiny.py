"""A small ViT-VQGAN on the spectrograms of instrument notes: 128 mels x 64 frames -> 16x8 codes out of 512.

mio tokenizer train --config configs/tokenizers/vit_vqgan_tiny.py
mio tokenizer eval  --config configs/tokenizers/vit_vqgan_tiny.py

The published size is `settings=PRESETS["unified_io2"]`, trained with `VQLossConfig(perceptual=0.1)`, VGGish's
weights, and `AdversaryConfig(weight=0.1, kind="style")`.
"""

from mio_tokenizers.audio.vit_vqgan import PRESETS
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.vit_vqgan import ViTVQGANTrainConfig
from mio_tokenizers.training.vq_loss import AdversaryConfig, VQLossConfig


def get_config() -> ViTVQGANTrainConfig:
    return ViTVQGANTrainConfig(
        name="vit_vqgan_tiny",
        out="runs/tokenizers/vit_vqgan_tiny/vit_vqgan_tiny.safetensors",
        work_dir="runs/tokenizers/vit_vqgan_tiny",
        media=("instruments.audio",),
        settings=PRESETS["tiny"],
        loss=VQLossConfig(
            l1=1.0,
            perceptual=0.1,
            codebook="ema",
            adversary=AdversaryConfig(weight=0.1, kind="patch", width=16, start=0.85, alone_until=0.92),
        ),
        optim=TokenizerOptimConfig(steps=600, batch_size=16, learning_rate=1e-3, warmup_steps=40),
        checkpoint_every=100,
        log_every=20,
        data_name="TimGM6mb.sf2 as shipped in pretty-midi 0.2 (train split of the instrument notes)",
        data_licence="GPL-2.0",
        data_attribution="TimGM6mb SoundFont by Tim Brechbill; recordings played at other pitches",
    )
