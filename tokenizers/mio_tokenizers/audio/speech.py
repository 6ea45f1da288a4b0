"""SpeechTokenizer as a tokenizer: published (or own) weights, exact codes at any length, and streams both ways.

Unlike `AudioTokenizer`, whose sounds are scaled and filled up to one of a few lengths, a sound is encoded as the
published code does: at its own level and its own length (`BlockEncoder`), so that codes are those of the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, split_model
from mio_tokenizers.audio.block_encoder import BLOCK_FRAMES, BlockEncoder
from mio_tokenizers.audio.checkpoint import BUFFERS, export_codec, import_codec
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.io import SoundReader, mono
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.audio.rvq import RVQState
from mio_tokenizers.audio.streaming import CodecWeights, StreamingDecoder, inference_graph
from mio_tokenizers.base import Audio, fingerprint_of
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

KIND = "speech_tokenizer"
BOOKS = "codebooks."
BATCH = 16  # sounds that are encoded together at most
DECODED_FRAMES = (32, 64, 96, 128)  # at once, of a whole sound: few sizes, because each compiles; more leave the caches


@dataclass(frozen=True)
class SpeechSpec:
    """A codec and how much of it is used."""

    codec: CodecSpec = field(default_factory=CodecSpec)
    layers: int = 4  # of codes, the first ones: MIO leaves out the last four of eight

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= self.codec.n_q:
            raise MioError(f"speech tokenizer: layers is {self.layers}; the codec has {self.codec.n_q}")


class SpeechTokenizer:
    """`Audio` of any rate, length and number of channels <-> int32 [layers, ceil(seconds * rate / hop)].

    Sounds are mixed down and resampled, never scaled. Memory is bounded by a block of ten seconds: `encode_file` reads
    hours of sound piece by piece, and `StreamingDecoder(tokenizer)` plays codes while they come.
    """

    modality = "audio"
    partial_layers = True  # the first layers alone can be decoded

    def __init__(self, spec: SpeechSpec, arrays: Mapping[str, np.ndarray]) -> None:
        """`arrays`: the codec's parameters by their flat names, and "codebooks.embed", "embed_avg", "cluster_size"."""
        self.spec, self._arrays = spec, dict(arrays)
        codec = spec.codec
        self.vocab_size, self.n_q = codec.codebook_size, spec.layers
        self.layer_sizes = (codec.codebook_size,) * spec.layers
        self.rate, self.hop = codec.sample_rate, codec.hop
        self._fingerprint = fingerprint_of(KIND, to_dict(spec), self._arrays)
        lacking = [name for name in BUFFERS if BOOKS + name not in self._arrays]
        if lacking:
            raise MioError(f"the weights of this {KIND} tokenizer lack the array {BOOKS + lacking[0]!r}")
        embed = self._arrays[BOOKS + "embed"]
        if embed.shape != (codec.n_q, codec.codebook_size, codec.seanet.dimension):
            raise MioError(f"the weights of this {KIND} tokenizer: the codebooks have shape {embed.shape}")
        self.weights = CodecWeights.of(codec, self.params(), embed)
        self._encoder = BlockEncoder(self.weights, spec.layers)

    @classmethod
    def from_codec(cls, spec: SpeechSpec, params: Params, books: RVQState) -> SpeechTokenizer:
        """Around parameters as they are trained or imported."""
        arrays = {name: np.asarray(array, np.float32) for name, array in flat_arrays(params).items()}
        return cls(spec, arrays | {BOOKS + name: np.asarray(getattr(books, name), np.float32) for name in BUFFERS})

    @classmethod
    def from_published(cls, arrays: Mapping[str, np.ndarray], codec: CodecSpec, layers: int = 4) -> SpeechTokenizer:
        """Around a published checkpoint's arrays. Raises MioError listing what does not fit `codec`."""
        return cls.from_codec(SpeechSpec(codec, layers), *import_codec(arrays, codec))

    @classmethod
    def load(cls, path: str | Path) -> SpeechTokenizer:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, settings = read_weights(path, KIND)
        return cls(from_dict(SpeechSpec, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.spec), data, self._arrays)

    def params(self) -> Params:
        """The codec's parameters as they are trained (weights normalised where `codec.seanet.weight_norm`)."""
        own = {name: array for name, array in self._arrays.items() if not name.startswith(BOOKS)}
        return nested_arrays(own, split_model(functools.partial(Codec, self.spec.codec))[1], KIND)

    def books(self) -> RVQState:
        return RVQState(*(jnp.asarray(self._arrays[BOOKS + name]) for name in BUFFERS))

    def published(self) -> dict[str, np.ndarray]:
        """All arrays under the published names. Raises MioError for a codec that was never published."""
        return export_codec(self.params(), self.books(), self.spec.codec)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def held(self, frames: int) -> int:
        """Sounds are decoded as they are, see `streaming.Streamable`."""
        return 0

    def encode(self, media: Audio) -> np.ndarray:
        """`Audio` -> int32 [layers, frames]. Raises MioError on sound that is empty, silent or damaged."""
        return self.encode_batch([media])[0]

    def encode_batch(self, sounds: Sequence[Audio]) -> list[np.ndarray]:
        """int32 [layers, frames] for each sound; those of up to a block go through the network together."""
        waves = [resample(mono(sound), sound.rate, self.rate) for sound in sounds]
        out: list[np.ndarray] = [np.zeros(0)] * len(waves)
        short = [i for i, wave in enumerate(waves) if len(wave) <= BLOCK_FRAMES * self.hop]
        short.sort(key=lambda i: len(waves[i]))  # equal lengths together: the least filling up
        for at in range(0, len(short), BATCH):
            part = short[at : at + BATCH]
            for i, codes in zip(part, self._encoder.encode_batch([waves[i] for i in part]), strict=True):
                out[i] = codes
        for i in set(range(len(waves))) - set(short):
            out[i] = self._encoder.encode(lambda a, b, wave=waves[i]: wave[a:b], len(waves[i]))  # type: ignore[misc]
        return out

    def encode_file(self, path: str | Path) -> np.ndarray:
        """A sound file of any length, read block by block -> int32 [layers, frames].

        Equal to `encode` of the file but for rounding where it is resampled. Raises MioError on what cannot be read.
        """
        with SoundReader(path, self.rate) as sound:
            return self._encoder.encode(sound.read, sound.samples)

    def decode(self, tokens: np.ndarray) -> Audio:
        """int32 [1.. layers, frames] -> `Audio`, hop samples a frame. Raises MioError on other shapes or codes."""
        codes = np.asarray(tokens)
        stream = StreamingDecoder(self, _decoded_at_once(codes.shape[-1] if codes.ndim else 0))
        return Audio(np.concatenate([stream.push(codes), stream.finish()]), self.rate)

    def semantic(self, tokens: np.ndarray) -> np.ndarray:
        """What layer 0 learned of a teacher: int32 [1.. layers, frames] -> float32 [frames, semantic_dimension].

        Raises MioError for a codec without such a feature, and on codes outside the codebook.
        """
        spec, first = self.weights.spec, np.asarray(tokens)[0]
        if not spec.semantic_dimension:
            raise MioError("this speech tokenizer has no semantic feature: its semantic_dimension is 0")
        if first.size and (first.min() < 0 or first.max() >= self.vocab_size):
            raise MioError(f"codes {first.min()}..{first.max()} are outside the codebook")
        model = apply(inference_graph(spec)[0], self.weights.params)
        return np.asarray(model.semantic(self.weights.embed[0][first][None])[0])

    def decode_batch(self, tokens: Sequence[np.ndarray]) -> list[Audio]:
        """One `Audio` for each array of codes; see `decode`."""
        return [self.decode(item) for item in tokens]


def _decoded_at_once(frames: int) -> int:
    """The size of `DECODED_FRAMES` that leaves the last chunk of a sound of so many frames fullest."""
    chunks = max(1, -(-frames // DECODED_FRAMES[-1]))
    return next(size for size in DECODED_FRAMES if size * chunks >= frames)
