"""A small HiFi-GAN vocoder on instrument notes: 128 mels, 256 samples a frame at 16 kHz.

mio tokenizer train --config configs/tokenizers/hifigan_tiny.py
mio tokenizer eval  --config configs/tokenizers/hifigan_tiny.py

The published size is `settings=PRESETS["unified_io2"]`, trained with the defaults of `VocoderLossConfig`.
"""

from mio_tokenizers.audio.hifigan import PRESETS
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminatorSpec
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.hifigan import HiFiGANTrainConfig, VocoderLossConfig


def get_config() -> HiFiGANTrainConfig:
    return HiFiGANTrainConfig(
        name="hifigan_tiny",
        out="runs/tokenizers/hifigan_tiny/hifigan_tiny.safetensors",
        work_dir="runs/tokenizers/hifigan_tiny",
        media=("instruments.audio",),
        settings=PRESETS["tiny"],
        loss=VocoderLossConfig(
            mel=5.0,
            stft=2.0,
            stft_sizes=(2048, 512),
            adversarial_start=0.85,
            discriminators=WaveDiscriminatorSpec(periods=(2, 5, 11), scales=1, divide=16),
        ),
        optim=TokenizerOptimConfig(steps=400, batch_size=4, learning_rate=1e-3, warmup_steps=40, b1=0.8, b2=0.99),
        checkpoint_every=100,
        log_every=20,
        data_name="TimGM6mb.sf2 as shipped in pretty-midi 0.2 (train split of the instrument notes)",
        data_licence="GPL-2.0",
        data_attribution="TimGM6mb SoundFont by Tim Brechbill; recordings played at other pitches",
    )
