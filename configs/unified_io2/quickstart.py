"""A tiny Unified-IO 2 on the quickstart's real data: an encoder that looks at pixels and spectrograms, three heads.

Command:   mio data prepare --config configs/unified_io2/quickstart.py
           mio train --config configs/unified_io2/quickstart.py
           mio eval --run runs/unified_io2 && mio report --run runs/unified_io2
Hardware:  2 CPU cores, no GPU
Data:      OpenMoji pictures, captions and masks; re-pitched instrument recordings; easy-VQA; Python's documentation
Result:    5 of 7 directions beat their shuffled control by 5 to 13 standard errors; docs/unified_io2.md

Stage `pretrain` is the multimodal mixture of denoisers with the dynamic mask: pictures with their captions, sounds with
their names, and documents, of which one part is hidden in part or wholly. Stage `instruction` asks for something.

Text pieces are those of the quickstart's SentencePiece model with Unified-IO 2's added ones; pictures and sounds to be
made are the codes of its tokenizers. The ViTs start from nothing here, so they learn too.
"""

import dataclasses

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
    optim = OptimConfig(learning_rate=3e-3, warmup_ratio=0.05, final_ratio=0.05, weight_decay=0.05)
    return to_config_dict(
        RunConfig(
            name="unified_io2",
            run_dir="runs/unified_io2",
            recipe="unified_io2",
            model=ModelConfig(preset="unified_io2_quickstart", variants=("dynamic_mask",)),
            tokenizers=TokenizersConfig(text="unified_io2:bundled:text_tiny"),
            data=DataConfig(
                records_dir="data/unified_io2",
                keep_media=("image", "audio"),
                budgets=(288, 256),
                length=544,
                row_examples=6,
                text_length=56,
            ),
            stages=(
                StageConfig(
                    "pretrain",
                    steps=300,
                    mixture="uio2_quickstart_pretrain",
                    batch_size=8,
                    objective="denoising",
                    optim=dataclasses.replace(optim, final_ratio=0.5),
                ),
                StageConfig(
                    "instruction",
                    steps=1100,
                    mixture="uio2_all",
                    batch_size=8,
                    style="chat",
                    optim=optim,
                ),
            ),
            checkpoint=CheckpointConfig(every_steps=200, keep_last=2),
            eval=EvalConfig(top_p=0.95),
        )
    )
