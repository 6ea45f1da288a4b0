"""Pictures to SEED's codes, and codes to an image embedding and, with a decoder beside the weights, to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.io import check_picture
from mio_tokenizers.image.seed.decoder import SeedDecoder
from mio_tokenizers.image.seed.model import SeedModel
from mio_tokenizers.image.seed.preprocess import resize, standardise
from mio_tokenizers.image.seed.published import export_arrays, import_arrays, read_folder
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.image.seed.unclip import draw, is_pipeline, pipeline_at
from mio_tokenizers.vq_tokenizer import VQTokenizer

DECODER = "decoder.safetensors"
PIPELINE = "unclip"  # a folder within that of published weights


class SeedTokenizer(VQTokenizer):
    """uint8 [height, width, 3] of any size -> int32 [queries] codes, which are causal: each sees those before it.

    `decode` draws `image_embedding` with the diffusion pipeline in the weights' folder (`unclip.py`), or the codes with
    the small decoder beside the weights.
    """

    kind = "seed"
    what = "picture"
    modality = "image"
    settings_type = SeedSettings
    model_type = SeedModel

    def __init__(self, settings: SeedSettings, arrays: dict[str, np.ndarray], decoder: Path | None = None) -> None:
        """`arrays`: "codebook" and the flat names of the model's parameters; `decoder`: where one would lie."""
        super().__init__(settings, arrays)
        self._decoder_file = decoder
        self._pipeline: Path | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Of a file trained here. Raises MioError if it is absent, damaged or of another kind."""
        made = super().load(path)
        made._decoder_file = decoder_file(Path(path))
        return made

    @classmethod
    def load_folder(cls, folder: str | Path) -> Self:
        """Of published weights, see `published.read_folder`. Raises MioError listing what does not fit."""
        folder = Path(folder)
        published, settings = read_folder(folder)
        made = cls.from_published(settings, published, str(folder), folder / DECODER)
        made._pipeline = folder / PIPELINE
        return made

    @classmethod
    def from_published(
        cls, settings: SeedSettings, published: dict[str, np.ndarray], where: str, decoder: Path | None = None
    ) -> Self:
        """Around published arrays, in their own dtypes. Raises MioError listing what does not fit `settings`."""
        shapes = {name: tuple(array.shape) for name, array in cls.array_shapes(settings).items()}
        return cls(settings, import_arrays(published, settings, shapes, where), decoder)

    def published_arrays(self) -> dict[str, np.ndarray]:
        """The weights under their published names and in their layouts."""
        return export_arrays(self._arrays, self.settings)

    def check(self, media: Any) -> np.ndarray:
        return resize(check_picture(media), self.settings.img_size, self.settings.resample)

    def to_model(self, batch: jax.Array) -> jax.Array:
        return standardise(batch.astype(jnp.float32) / 255)

    def code_vectors(self, codes: Any) -> np.ndarray:
        """int32 [n, queries] -> rows of the codebook, float32 [n, queries, codebook_dim]."""
        return self.codebook[self.check_codes(codes)]

    @property
    def codebook(self) -> np.ndarray:
        """float32 [n_embed, codebook_dim]."""
        return np.asarray(self._codebook)

    def image_embedding(self, codes: Any) -> np.ndarray:
        """int32 [n, queries] -> float32 [n, feat_dim]: published weights give OpenCLIP-H's image embedding.

        Raises:
          MioError: a wrong count of codes, or a code outside of the codebook.
        """
        return super().decode_batch(codes)

    def decode_batch(self, codes: Any) -> np.ndarray:
        """int32 [n, queries] -> uint8 [n, size, size, 3]; where both lie there, the diffusion pipeline draws.

        Raises:
          MioError: a wrong count or code, or no decoder beside the weights, or one of another tokenizer; or a pipeline
            without the extra that runs it.
        """
        if self._pipeline is not None and is_pipeline(self._pipeline):
            return draw(self.image_embedding(codes), pipeline_at(self._pipeline))
        return self.decoder.draw(self.code_vectors(codes))

    @property
    def decoder(self) -> SeedDecoder:
        """The decoder beside the weights, read when it is first needed."""
        from mio_tokenizers.loading import load  # which reads a file once, and again when it has changed

        file = self._decoder_file
        if file is None or not file.is_file():
            other = f", or put a diffusion pipeline into {self._pipeline} (extra mio_jax[unclip])"
            raise MioError(
                "no decoder draws pixels from these SEED codes: train one (kind seed_decoder, docs/seed.md) into "
                f"{file or 'a file beside the weights'}{other if self._pipeline else ''}"
            )
        decoder = load(str(file))
        if not isinstance(decoder, SeedDecoder):
            raise MioError(f"{file} holds {type(decoder).__name__}, not a decoder of SEED codes")
        if decoder.tokenizer != self.fingerprint:
            raise MioError(
                f"{file} draws codes of the tokenizer {decoder.tokenizer}, this one is {self.fingerprint}; "
                "train a decoder for it"
            )
        return decoder


def decoder_file(weights: Path) -> Path:
    """Where the decoder of a tokenizer lies: in its folder, or NAME.decoder.safetensors beside its file."""
    if weights.is_dir():
        return weights / DECODER
    return weights.with_name(f"{weights.stem}.{DECODER}")
