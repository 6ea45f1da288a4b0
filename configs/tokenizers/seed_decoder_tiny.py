"""The decoder of the small SEED tokenizer: its 32 codes as 64 x 64 pixels. Minutes on a CPU, after stage 2.

mio tokenizer train --config configs/tokenizers/seed_decoder_tiny.py
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
        out="runs/tokenizers/seed_tiny/seed_tiny.decoder.safetensors",
        work_dir="runs/tokenizers/seed_tiny/decoder",
        media=("openmoji.image",),
        tokenizer="runs/tokenizers/seed_tiny/seed_tiny.safetensors",
        settings=PixelDecoderSettings(
            tokens=TINY.queries,
            code_dim=TINY.codebook_dim,
            dim=96,
            heads=4,
            mlp_dim=192,
            read_depth=1,
            draw_depth=2,
            picture=ImageVQSettings(patch=4, channels=(48, 96), encoder_blocks=(0, 0), decoder_blocks=(1, 2)),
        ),
        variants=3,
        optim=TokenizerOptimConfig(steps=800, batch_size=48, learning_rate=1.5e-3, warmup_steps=40),
        checkpoint_every=200,
        log_every=20,
        data_name="OpenMoji 17 (train split)",
        data_licence="CC BY-SA 4.0",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org",
    )
