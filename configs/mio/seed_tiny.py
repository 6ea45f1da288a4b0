"""A tiny MIO on SEED's kind of picture codes: names to pictures of 32 tokens each, drawn by the small pixel decoder.

Command:   mio data prepare --config configs/mio/seed_tiny.py --sets openmoji easy_vqa
           mio train --config configs/mio/seed_tiny.py && mio eval --run runs/seed_tiny
Hardware:  1 CPU core
Data:      OpenMoji pictures and names, easy-VQA's shapes; the bundled tokenizer seed_tiny and its decoder
Result:    2026-11-22, 15 minutes on a busy machine, 10 of computing; score / control, and their distance in standard
           errors (n 480, shapes 240):
             text->image .20/.13 5.4    image->text .25/.13 7.8    text->image:shapes .30/.17 4.9
           docs/seed.md says what the pictures look like

Prompts are MIO's. The first stage sees its pre-training templates with everything supervised, the second chats with
supervised replies.
"""

from ml_collections import ConfigDict

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)
from mio_jax.config_loading import to_config_dict


def get_config() -> ConfigDict:
    def optim(rate: float, final: float) -> OptimConfig:
        return OptimConfig(learning_rate=rate, warmup_ratio=0.05, final_ratio=final, weight_decay=0.05)

    return to_config_dict(
        RunConfig(
            name="seed_tiny",
            run_dir="runs/seed_tiny",
            recipe="mio",
            model=ModelConfig(preset="mio_tiny"),
            tokenizers=TokenizersConfig(image="bundled:seed_tiny"),
            data=DataConfig(records_dir="data/seed_tiny", length=256, system_prompt="You are MIO."),
            stages=(
                StageConfig("alignment", steps=500, mixture="mio_pictures", batch_size=8, optim=optim(8e-3, 0.4)),
                StageConfig(
                    "sft",
                    steps=1500,
                    mixture="mio_pictures",
                    batch_size=8,
                    style="chat",
                    supervise="responses",
                    optim=optim(6e-3, 0.03),
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=200, keep_last=2),
            eval=EvalConfig(top_p=0.7, directions=("text->image", "image->text", "text->image:shapes")),
        )
    )
