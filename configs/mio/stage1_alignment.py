"""MIO-7B, stage 1: alignment of pictures and speech with the language space of Yi-6B.

Command:   mio train --config configs/mio/stage1_alignment.py
Plan:      mio plan --config configs/mio/stage1_alignment.py --topology v5p:4x4x4
Hardware:  published on 128 A800-80GB; docs/plan.md has TPU figures
Result:    not trained here

From the paper (arXiv 2409.17692): AdamW, cosine, peak rate 3e-5, 3 % warmup, clipping at 1.0, rows of 2,800 tokens,
24,800 steps. A GPU's share of a step is 16 rows: 12 of image-text pairs, 2 of text, 2 of speech-text pairs. Unknown,
and so ours: betas (0.9, 0.95), weight decay (0.1), bfloat16 compute on float32 parameters.

The tokenizers are Yi's, SEED's and SpeechTokenizer's, looked for under weights/.
"""

from ml_collections import ConfigDict

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)
from mio_jax.config_loading import to_config_dict

GPUS = 128  # of the published run: a step holds its rows, whatever the machine


def get_config() -> ConfigDict:
    return to_config_dict(
        RunConfig(
            name="mio_7b_stage1",
            run_dir="runs/mio_7b_stage1",
            recipe="mio",
            model=ModelConfig(preset="mio_7b", dtype="bfloat16", remat="full"),
            tokenizers=TokenizersConfig(
                text="weights/yi-6b/tokenizer.model",
                image="weights/seed-tokenizer-2",
                audio="weights/speechtokenizer.safetensors",
            ),
            data=DataConfig(records_dir="data/mio_stage1", length=2800, heard_layers=1),
            mesh=MeshConfig(data=1, fsdp=-1),
            stages=(
                StageConfig(
                    "alignment",
                    steps=24_800,
                    composition=(
                        Part("mio_stage1_image_text", 12 * GPUS),
                        Part("mio_stage1_text", 2 * GPUS),
                        Part("mio_stage1_speech", 2 * GPUS),
                    ),
                    micro_batches=4,
                    optim=OptimConfig(learning_rate=3e-5, schedule="cosine", warmup_ratio=0.03, clip_norm=1.0),
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=500, keep_last=2),
        )
    )
