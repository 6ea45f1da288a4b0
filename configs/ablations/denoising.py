"""Does a mixture of denoisers prepare a decoder better than causal modelling, at the same number of steps?

Command:   python -m launch.sweep --config configs/ablations/denoising.py --out runs/sweeps/denoising \\
             --figure docs/ablations/denoising.svg --grid seed 0 1 --grid stages.pretrain.objective causal denoising
Hardware:  2 CPU cores; see docs/ablations/denoising.md for times and results
Data:      the quickstart's
Result:    2026-11-22, losses of the last 50 steps: causal 2.51 and 2.46 (seeds 0, 1), denoising 2.94 and 2.88

Stage `pretrain` differs between the runs, stage `sft` is the same causal fine-tuning on chats for both, and is what is
compared: the losses of two objectives are not. Both runs have the sentinels in their vocabulary, so that
they begin with the same weights.
"""

from ml_collections import ConfigDict

from mio_jax.config import (
    CheckpointConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    Part,
    RunConfig,
    StageConfig,
    TokenizersConfig,
)
from mio_jax.config_loading import to_config_dict


def get_config() -> ConfigDict:
    rows = {"mio_pairs": 4, "mio_text": 1, "mio_interleaved": 1, "mio_audio": 2}
    optim = OptimConfig(learning_rate=6e-3, warmup_ratio=0.05, final_ratio=0.1, weight_decay=0.05)
    return to_config_dict(
        RunConfig(
            name="denoising",
            run_dir="runs/denoising",
            model=ModelConfig(preset="mio_tiny"),
            tokenizers=TokenizersConfig(sentinels=100),
            data=DataConfig(records_dir="data/quickstart", length=384, system_prompt="You are MIO."),
            stages=(
                StageConfig(
                    "pretrain",
                    steps=300,
                    composition=tuple(Part(source, n) for source, n in rows.items()),
                    optim=optim,
                    objective="denoising",
                ),
                StageConfig(
                    "sft",
                    steps=200,
                    mixture="mio_sft",
                    batch_size=8,
                    style="chat",
                    supervise="responses",
                    optim=optim,
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=100),
        )
    )
