"""Stage 2 of a small SEED tokenizer: 32 codes of 512 for an OpenMoji picture. Minutes on a CPU, after stage 1.

mio tokenizer train --config configs/tokenizers/seed_qformer_tiny.py
mio tokenizer train --config configs/tokenizers/seed_codebook_tiny.py

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
        out="runs/tokenizers/seed_tiny/seed_tiny.safetensors",
        work_dir="runs/tokenizers/seed_tiny/codebook",
        media=("openmoji.image",),
        settings=TINY,
        start="runs/tokenizers/seed_tiny/seed_qformer_tiny.safetensors",
        frozen=(),
        targets="thumbnail",
        loss=SeedLossConfig(codebook="ema", distillation=5.0, quantisation=1.0, causal=0.5),
        crop=CropConfig(min_area=0.7),
        optim=TokenizerOptimConfig(
            steps=800, batch_size=48, learning_rate=1e-3, warmup_steps=40, final_ratio=0.1, weight_decay=0.05
        ),
        checkpoint_every=200,
        log_every=20,
        data_name="OpenMoji 17 (train split)",
        data_licence="CC BY-SA 4.0",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org",
    )
