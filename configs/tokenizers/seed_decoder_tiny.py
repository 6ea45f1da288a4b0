"""The decoder of the bundled SEED tokenizer: its 32 codes as 64 x 64 pixels, after stage 2. OpenMoji and easy-vqa.

mio tokenizer train --config configs/tokenizers/seed_decoder_tiny.py    # 8 minutes on one busy core, 4 of computing
mio tokenizer eval  --config configs/tokenizers/seed_decoder_tiny.py
"""

from mio_tokenizers.image.model import ImageVQSettings
from mio_tokenizers.image.seed.decoder import PixelDecoderSettings
from mio_tokenizers.image.seed.settings import TINY
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.seed_decoder import SeedDecoderTrainConfig


def get_config() -> SeedDecoderTrainConfig:
    return SeedDecoderTrainConfig(
        name="seed_decoder_tiny",
        out="tokenizers/mio_tokenizers/weights/seed_tiny.decoder.safetensors",
        work_dir="runs/tokenizers/seed_tiny/decoder",
        media=("openmoji.image", "easy_vqa.image"),
        weights=(0.75, 0.25),
        tokenizer="tokenizers/mio_tokenizers/weights/seed_tiny.safetensors",
        settings=PixelDecoderSettings(
            tokens=TINY.queries,
            code_dim=TINY.codebook_dim,
            dim=64,
            heads=4,
            mlp_dim=128,
            read_depth=1,
            draw_depth=0,
            spread=(3, 16),
            picture=ImageVQSettings(patch=4, channels=(24, 48), encoder_blocks=(0, 0), decoder_blocks=(1, 1)),
        ),
        variants=3,
        optim=TokenizerOptimConfig(steps=2500, batch_size=48, learning_rate=2e-3, warmup_steps=50),
        checkpoint_every=500,
        log_every=50,
        data_name="OpenMoji 17 (train split), easy-vqa 1.0 (train split)",
        data_licence="OpenMoji: CC BY-SA 4.0; easy-vqa: MIT",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org; "
        "easy-vqa, Copyright (c) 2019 Victor Zhou",
    )
