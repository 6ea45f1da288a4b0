"""Stage 2 of the bundled SEED tokenizer: 32 codes of 512 for a picture of 64 x 64 pixels. OpenMoji and easy-vqa.

mio tokenizer train --config configs/tokenizers/seed_qformer_tiny.py
mio tokenizer train --config configs/tokenizers/seed_codebook_tiny.py    # 18 minutes on one busy core, 13 of computing
mio tokenizer eval  --config configs/tokenizers/seed_codebook_tiny.py

The published size and recipe are the defaults of `SeedCodebookTrainConfig`: everything of stage 1 frozen, and CLIP-H's
embeddings as targets (`targets=FILE.npz`). Without CLIP the target is the picture at 16 x 16 pixels here, and a trunk
this small learns along.
"""

from mio_tokenizers.image.seed.settings import TINY
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.seed_codebook import SeedCodebookTrainConfig, SeedLossConfig
from mio_tokenizers.training.seed_parts import CropConfig


def get_config() -> SeedCodebookTrainConfig:
    return SeedCodebookTrainConfig(
        name="seed_codebook_tiny",
        out="tokenizers/mio_tokenizers/weights/seed_tiny.safetensors",
        work_dir="runs/tokenizers/seed_tiny/codebook",
        media=("openmoji.image", "easy_vqa.image"),
        weights=(0.75, 0.25),
        settings=TINY,
        start="runs/tokenizers/seed_tiny/seed_qformer_tiny.safetensors",
        frozen=(),
        targets="thumbnail",
        loss=SeedLossConfig(codebook="ema", soften_steps=250, distillation=1.0, quantisation=1.0, causal=0.1),
        crop=CropConfig(min_area=0.8),
        optim=TokenizerOptimConfig(
            steps=5000, batch_size=48, learning_rate=3e-3, warmup_steps=50, final_ratio=0.02, weight_decay=0.02
        ),
        checkpoint_every=500,
        log_every=50,
        data_name="OpenMoji 17 (train split), easy-vqa 1.0 (train split)",
        data_licence="OpenMoji: CC BY-SA 4.0; easy-vqa: MIT",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org; "
        "easy-vqa, Copyright (c) 2019 Victor Zhou",
    )
