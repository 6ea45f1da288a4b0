"""SpeechTokenizer at its published size: 16 kHz -> 8 layers x 50 codes a second out of 1,024, of which MIO uses 4.

mio tokenizer features --config configs/tokenizers/speechtokenizer.py --teacher hubert:weights/hubert --out data/hubert
mio tokenizer train    --config configs/tokenizers/speechtokenizer.py
mio tokenizer eval     --config configs/tokenizers/speechtokenizer.py

weights/hubert: hubert-base-ls960 in Hugging Face's layout, yours (pip install -e .[teacher]). Written out is what the
paper and the code say, though it is the defaults; "not published" marks the rest.
"""

from mio_tokenizers.audio.codec import CodecSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.speech_loss import SpeechLossConfig
from mio_tokenizers.training.speechtokenizer import SpeechTokenizerTrainConfig


def get_config() -> SpeechTokenizerTrainConfig:
    return SpeechTokenizerTrainConfig(
        name="speechtokenizer",
        out="runs/tokenizers/speechtokenizer/speechtokenizer.safetensors",
        work_dir="runs/tokenizers/speechtokenizer",
        media=("librispeech.audio",),
        # Segments are drawn from whole sentences there, from pieces of at most 15 s here.
        window_seconds=15.0,
        settings=CodecSpec(
            seanet=SEANetSpec(
                n_filters=64,
                strides=(8, 5, 4, 2),
                dimension=1024,
                bidirectional=True,
                lstm_layers=2,
                n_residual_layers=1,
                activation="ELU",
            ),
            n_q=8,
            codebook_size=1024,
            sample_rate=16000,
            semantic_dimension=768,  # HuBERT-base's width
        ),
        layers=4,  # that the finished tokenizer gives; the file and its export keep all eight
        segment_frames=150,
        teacher="data/hubert",
        loss=SpeechLossConfig(
            mel=1.0,
            mel_weights=(45.0, 1.0, 1.0, 1.0),
            wave=500.0,
            commitment=10.0,
            distillation=120.0,  # an older config that came with a checkpoint: 0.15
            distill_axis="dimension",
            adversarial=1.0,
            feature_matching=1.0,
            adversarial_start=0.0,
            adversarial_learning_rate=1e-4,
        ),
        codebook_decay=0.99,
        dead_below=2.0,
        revive=False,  # the published code replaces dead codes in vain; True if codes stay unused
        # Ten epochs, a segment of each of 281,241 sentences, in one process. How many processes: not published.
        optim=TokenizerOptimConfig(
            steps=468_735,
            batch_size=6,
            learning_rate=1e-4,
            warmup_steps=0,
            final_ratio=0.0,
            b1=0.9,
            b2=0.99,
            weight_decay=0.0,
            clip_norm=1e9,  # none
        ),
        checkpoint_every=5000,
        log_every=100,
        data_name="LibriSpeech (train-clean-100, train-clean-360, train-other-500)",
        data_licence="CC BY 4.0",
        data_attribution="LibriSpeech by Panayotov et al.; features of HuBERT by Hsu et al.",
    )
