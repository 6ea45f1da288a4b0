"""Sound to residual codes and back: the trained codec, Codec2, sound files, and measures of sound."""

from mio_tokenizers.audio.codec2 import Codec2Tokenizer
from mio_tokenizers.audio.io import read_audio, write_wav
from mio_tokenizers.audio.mel_tokenizer import MelTokenizer, WaveformTokenizer
from mio_tokenizers.audio.metrics import log_spectral_distance, pitch_of
from mio_tokenizers.audio.speech import SpeechTokenizer
from mio_tokenizers.audio.streaming import StreamingDecoder
from mio_tokenizers.audio.tokenizer import AudioTokenizer
from mio_tokenizers.audio.vocoder import Vocoder

__all__ = [
    "AudioTokenizer",
    "Codec2Tokenizer",
    "MelTokenizer",
    "SpeechTokenizer",
    "StreamingDecoder",
    "Vocoder",
    "WaveformTokenizer",
    "log_spectral_distance",
    "pitch_of",
    "read_audio",
    "write_wav",
]
