"""The SEED tokenizer: pictures as 32 causal codes with meaning."""

from mio_tokenizers.image.seed.decoder import PixelDecoderSettings, SeedDecoder
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer

__all__ = ["PixelDecoderSettings", "SeedDecoder", "SeedSettings", "SeedTokenizer"]
