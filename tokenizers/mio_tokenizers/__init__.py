"""Media <-> discrete tokens behind one protocol: text, pictures, sound, and structured values.

from mio_tokenizers import load

tokenizer = load("bundled:image_vq_tiny")
codes = tokenizer.encode(picture)  # uint8 [h, w, 3] -> int32 [64]
again = tokenizer.decode(codes)
"""

from mio_tokenizers.base import Audio, Tokenizer, fingerprint_of
from mio_tokenizers.loading import TokenizerSet, bundled, files_of, load, load_set

__all__ = ["Audio", "Tokenizer", "TokenizerSet", "bundled", "files_of", "fingerprint_of", "load", "load_set"]
