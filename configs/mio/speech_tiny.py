"""A tiny MIO on 24 minutes of transcribed human speech: speech to text, and text to speech.

Command:   scripts/fetch_speech.sh data/raw
           mio tokenizer train --config configs/tokenizers/speech_rvq_tiny.py
           mio data prepare --config configs/mio/speech_tiny.py --sets asterisk
           mio train --config configs/mio/speech_tiny.py && mio eval --run runs/speech_tiny
Hardware:  1 CPU core
Data:      Asterisk's English prompts (one voice, mio_jax/data/sources/speech_sets.py) and the codec trained on them
Result:    docs/recipes/mio_speech.md

Prompts are MIO's. The first stage sees its templates of stage III with everything supervised, the second chats with
supervised replies, as in the paper's stages III and IV.
"""

from ml_collections import ConfigDict

from mio_jax.config import (
    AddedSet,
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
        return OptimConfig(learning_rate=rate, warmup_ratio=0.05, final_ratio=final, weight_decay=0.1)

    return to_config_dict(
        RunConfig(
            name="speech_tiny",
            run_dir="runs/speech_tiny",
            recipe="mio",
            model=ModelConfig(preset="mio_tiny"),
            tokenizers=TokenizersConfig(audio="runs/tokenizers/speech_rvq_tiny/speech.safetensors"),
            data=DataConfig(
                records_dir="data/speech_tiny",
                length=768,
                system_prompt="You are MIO.",
                heard_layers=1,
                added=(
                    AddedSet(
                        "asterisk",
                        "mio_jax.data.sources.speech_sets:Asterisk",
                        "mio_speech",
                        ("speech_to_text", "text_to_speech"),
                    ),
                ),
            ),
            stages=(
                StageConfig("speech", steps=500, mixture="mio_speech", batch_size=4, optim=optim(6e-3, 0.4)),
                StageConfig(
                    "sft",
                    steps=1000,
                    mixture="mio_speech",
                    batch_size=4,
                    style="chat",
                    supervise="responses",
                    optim=optim(4e-3, 0.03),
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=200, keep_last=2),
            eval=EvalConfig(top_p=0.7, examples=50),
        )
    )
