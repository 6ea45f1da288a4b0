"""Stage 1 of the bundled SEED tokenizer: OpenMoji pictures (64 x 64) and their English names. Two minutes on one core.

mio tokenizer train --config configs/tokenizers/seed_qformer_tiny.py

The published size and recipe are the defaults of `SeedQFormerTrainConfig`. Here the vision tower is trained too: there
are no weights of one at this size.
"""

from mio_tokenizers.image.seed.contrastive import AlignerSettings, TextTowerSettings
from mio_tokenizers.image.seed.settings import TINY
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.seed_parts import CropConfig
from mio_tokenizers.training.seed_qformer import SeedQFormerTrainConfig


def get_config() -> SeedQFormerTrainConfig:
    return SeedQFormerTrainConfig(
        name="seed_qformer_tiny",
        out="runs/tokenizers/seed_tiny/seed_qformer_tiny.safetensors",
        work_dir="runs/tokenizers/seed_tiny/qformer",
        media=("openmoji.image", "openmoji.caption"),
        settings=AlignerSettings(
            seed=TINY, text=TextTowerSettings(length=48, dim=64, mlp_dim=128, depth=2), projection=64
        ),
        frozen=(),
        crop=CropConfig(min_area=0.8),
        optim=TokenizerOptimConfig(
            steps=400, batch_size=48, learning_rate=1e-3, warmup_steps=40, final_ratio=0.1, weight_decay=0.05
        ),
        checkpoint_every=100,
        log_every=20,
        data_name="OpenMoji 17 (train split: pictures and names)",
        data_licence="CC BY-SA 4.0 (drawings), BSD-3-Clause (names)",
        data_attribution="OpenMoji, the open-source emoji and icon project, https://openmoji.org",
    )
