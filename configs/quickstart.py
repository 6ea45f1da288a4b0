"""A tiny MIO, from real media to any modality out, in half an hour on two CPU cores.

Command:   make quickstart            (or `mio quickstart` once installed)
Hardware:  2 CPU cores, 8 GB of memory, no GPU; about 4 GB of disk, most of it the environment
Data:      OpenMoji pictures, captions and masks; re-pitched instrument recordings; easy-VQA; Python's documentation
Result:    every direction beats its shuffled control; 2026-11-22, `make quickstart` from a clean clone in
           25 min 4 s: score / control, and their distance in standard errors, n 240 or (*) 480
             text->image* .23/.13 6.4    image->text* .25/.13 8.1    text->audio .47/.03 35    audio->text .47/.03 36
             image+question->text* .84/.70 7.2    image->mask .61/.50 8.1    image->text+mask .59/.47 8.4
             text->image:shapes .70/.20 18

The four stages are MIO's: alignment, interleaved, audio-enhanced (the paper's speech-enhanced) and supervised
fine-tuning on chats. Rows of a batch follow the paper's fixed compositions (12:2:0:2 is 6:1:0:1 here), at one row for
every two of the paper's, but for the third stage, which is all but sound: half a row cannot be had. Learning rates are
those of a small model.
"""

from ml_collections import ConfigDict

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
)
from mio_jax.config_loading import to_config_dict


def composition(pair: int, text: int, interleaved: int, audio: int) -> tuple[Part, ...]:
    """Rows of every batch: image-text pairs, plain text, interleaved documents, sound-text pairs."""
    rows = {"mio_pairs": pair, "mio_text": text, "mio_interleaved": interleaved, "mio_audio": audio}
    return tuple(Part(source, n) for source, n in rows.items() if n)


def get_config() -> ConfigDict:
    def optim(rate: float, final: float) -> OptimConfig:
        return OptimConfig(learning_rate=rate, warmup_ratio=0.05, final_ratio=final, weight_decay=0.05)

    return to_config_dict(
        RunConfig(
            name="quickstart",
            run_dir="runs/quickstart",
            recipe="mio",
            model=ModelConfig(preset="mio_tiny"),
            # MIO's own system prompt would cost every chat forty tokens of its hundred.
            data=DataConfig(records_dir="data/quickstart", length=384, system_prompt="You are MIO."),
            stages=(
                StageConfig("alignment", steps=600, composition=composition(6, 1, 0, 1), optim=optim(8e-3, 0.4)),
                StageConfig("interleaved", steps=150, composition=composition(3, 1, 3, 1), optim=optim(5e-3, 0.4)),
                StageConfig("audio", steps=600, composition=composition(1, 0, 1, 6), optim=optim(5e-3, 0.4)),
                StageConfig(
                    "sft",
                    steps=2650,
                    mixture="mio_sft",
                    batch_size=8,
                    style="chat",
                    supervise="responses",
                    optim=optim(6e-3, 0.03),
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=100, keep_last=2),
            eval=EvalConfig(top_p=0.7),  # MIO's own
        )
    )
