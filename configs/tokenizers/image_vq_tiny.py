"""The bundled image tokenizer: 64x64 pixels -> 8x8 codes out of 512. OpenMoji, its masks, and easy-vqa.

mio tokenizer train --config configs/tokenizers/image_vq_tiny.py
mio tokenizer eval  --config configs/tokenizers/image_vq_tiny.py
"""

from mio_tokenizers.image.model import ImageVQSettings
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.image import ImageVQTrainConfig


def get_config() -> ImageVQTrainConfig:
    return ImageVQTrainConfig(
        name="image_vq_tiny",
        out="tokenizers/mio_tokenizers/weights/image_vq_tiny.safetensors",
        work_dir="runs/tokenizers/image_vq_tiny",
        media=("openmoji.image", "openmoji.mask", "easy_vqa.image"),
        weights=(0.7, 0.18, 0.12),
        settings=ImageVQSettings(patch=4, channels=(48, 96), encoder_blocks=(1, 0), decoder_blocks=(1, 2)),
        optim=TokenizerOptimConfig(steps=2000, batch_size=48, learning_rate=1.5e-3, warmup_steps=80),
        checkpoint_every=250,
        log_every=25,
        data_name="OpenMoji 17 (train split: pictures and their masks), easy-vqa 1.0 (train split)",
        data_licence="OpenMoji: CC BY-SA 4.0; easy-vqa: MIT",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org; "
        "easy-vqa, Copyright (c) 2019 Victor Zhou",
    )
