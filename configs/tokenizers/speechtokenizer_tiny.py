"""A small SpeechTokenizer: 16 kHz -> 4 layers x 50 codes a second out of 128. Asterisk's studio prompts.

scripts/fetch_speech.sh data/raw
mio tokenizer train --config configs/tokenizers/speechtokenizer_tiny.py
mio tokenizer eval  --config configs/tokenizers/speechtokenizer_tiny.py

Every part of the published training at small sizes. The teacher, `log_mel`, is no semantic one (a spectrum knows no
phonemes): with it everything runs without a download. docs/speechtokenizer.md tells of a real one, and of recordings of
your own: --config.media='("recordings.audio",)' --config.raw_dir=own.
"""

from mio_tokenizers.audio.codec import CodecSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.training.audio_discriminators import STFTDiscriminatorSpec
from mio_tokenizers.training.audio_wave_discriminators import WaveDiscriminatorSpec
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.speech_loss import SpeechLossConfig
from mio_tokenizers.training.speechtokenizer import SpeechTokenizerTrainConfig


def get_config() -> SpeechTokenizerTrainConfig:
    return SpeechTokenizerTrainConfig(
        name="speechtokenizer_tiny",
        out="runs/tokenizers/speechtokenizer_tiny/speechtokenizer_tiny.safetensors",
        work_dir="runs/tokenizers/speechtokenizer_tiny",
        media=("asterisk.audio",),
        window_seconds=2.0,
        settings=CodecSpec(
            seanet=SEANetSpec(n_filters=4, dimension=64), n_q=4, codebook_size=128, semantic_dimension=80
        ),
        layers=4,
        segment_frames=40,
        teacher="log_mel",
        # The published weights but for the waveform's: phases are not learned in minutes, and till then its pull is
        # towards silence. Discriminators, 1/16 as wide, join when there is something to judge.
        loss=SpeechLossConfig(
            wave=50.0,
            adversarial_start=0.75,
            adversarial_learning_rate=1e-3,
            stft=STFTDiscriminatorSpec(filters=4, sizes=(1024, 256)),
            waves=WaveDiscriminatorSpec(periods=(2, 5), scales=2, divide=16),
        ),
        first_gain=1.5,
        # Codebooks that follow quickly: the encoder moves fast in so short a training.
        codebook_decay=0.9,
        dead_below=1.0,
        revive=True,
        optim=TokenizerOptimConfig(
            steps=400, batch_size=8, learning_rate=1e-3, warmup_steps=40, final_ratio=0.02, clip_norm=1e9
        ),
        checkpoint_every=50,
        log_every=10,
        data_name="Asterisk core sounds, English (train split)",
        data_licence="CC BY-SA 3.0",
        data_attribution="spoken by Allison Smith, by Digium",
    )
