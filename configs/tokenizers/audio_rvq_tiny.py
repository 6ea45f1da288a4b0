"""The bundled audio codec: one second at 16 kHz -> 4 layers x 25 codes out of 256. Instrument notes.

mio tokenizer train --config configs/tokenizers/audio_rvq_tiny.py
mio tokenizer eval  --config configs/tokenizers/audio_rvq_tiny.py
"""

from mio_tokenizers.audio.codec import CodecSpec, ToneSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.training.audio import AudioLossConfig, AudioRVQTrainConfig
from mio_tokenizers.training.config import TokenizerOptimConfig


def get_config() -> AudioRVQTrainConfig:
    return AudioRVQTrainConfig(
        name="audio_rvq_tiny",
        out="tokenizers/mio_tokenizers/weights/audio_rvq_tiny.safetensors",
        work_dir="runs/tokenizers/audio_rvq_tiny",
        media=("instruments.audio",),
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
            tone=ToneSpec(harmonics=48),
        ),
        segment_frames=25,
        # No waveform loss: with the tone branch the decoder chooses its own phases.
        loss=AudioLossConfig(
            mel=0.5,
            mel_weights=(1.0,),
            mel_sizes=(1024,),
            mel_hops=(256,),
            stft=2.0,
            stft_sizes=(2048, 512),
            wave=0.0,
            commitment=0.5,
            pitch=1.0,
        ),
        # Codebooks that follow quickly: the encoder moves fast in so short a training.
        codebook_decay=0.95,
        dead_below=0.1,
        optim=TokenizerOptimConfig(steps=1800, batch_size=16, learning_rate=2e-3, warmup_steps=50, final_ratio=0.02),
        checkpoint_every=200,
        log_every=20,
        data_name="TimGM6mb.sf2 as shipped in pretty-midi 0.2 (train split of the instrument notes)",
        data_licence="GPL-2.0",
        data_attribution="TimGM6mb SoundFont by Tim Brechbill; recordings played at other pitches",
    )
