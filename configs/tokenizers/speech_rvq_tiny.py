"""A codec of speech for a tiny MIO: 16 kHz -> 4 layers x 25 codes a second out of 256. Asterisk's studio prompts.

scripts/fetch_speech.sh data/raw
mio tokenizer train --config configs/tokenizers/speech_rvq_tiny.py
mio tokenizer eval  --config configs/tokenizers/speech_rvq_tiny.py

Half the frames of SpeechTokenizer, and a quarter of its rows a codebook, so that a sentence is a few hundred tokens.
The tone branch plays the voice's pitch, so that minutes of training are enough for words to be made out. Recordings of
your own instead: --config.media='("speech.audio",)' --config.raw_dir=own (mio_jax/data/sources/speech.py).
"""

from mio_tokenizers.audio.codec import CodecSpec, ToneSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.training.audio import AudioLossConfig, AudioRVQTrainConfig
from mio_tokenizers.training.config import TokenizerOptimConfig


def get_config() -> AudioRVQTrainConfig:
    return AudioRVQTrainConfig(
        name="speech_rvq_tiny",
        out="runs/tokenizers/speech_rvq_tiny/speech.safetensors",
        work_dir="runs/tokenizers/speech_rvq_tiny",
        media=("asterisk.audio",),
        window_seconds=2.0,
        settings=CodecSpec(
            seanet=SEANetSpec(
                n_filters=4,
                strides=(8, 5, 4, 4),
                dimension=64,
                bidirectional=False,
                lstm_layers=1,
                activation="Snake",
                weight_norm=False,
            ),
            n_q=4,
            codebook_size=256,
            # A voice's range, and its breath and hisses.
            tone=ToneSpec(
                harmonics=40, noise_bands=24, gains=8, pitch_low=40, pitch_high=84, octaves=6, short_bands=64
            ),
        ),
        segment_frames=25,
        loss=AudioLossConfig(
            mel=0.5,
            mel_weights=(1.0,),
            mel_sizes=(512,),
            mel_hops=(128,),
            stft=2.0,
            stft_sizes=(1024, 512, 256),
            wave=0.0,
            commitment=0.5,
            pitch=1.0,
        ),
        codebook_decay=0.95,
        dead_below=0.1,
        optim=TokenizerOptimConfig(steps=700, batch_size=16, learning_rate=2e-3, warmup_steps=50, final_ratio=0.02),
        checkpoint_every=100,
        log_every=20,
        data_name="Asterisk core sounds, English (train split)",
        data_licence="CC BY-SA 3.0",
        data_attribution="spoken by Allison Smith, by Digium",
    )
