"""Sounds to residual codes and back with a trained codec."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, split_model
from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.io import mono
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.audio.streaming import CodecWeights
from mio_tokenizers.base import Audio, fingerprint_of
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

KIND = "audio_rvq"
CODEBOOKS = "codebooks"
PEAK = 0.9  # sounds are scaled to this peak before encoding: codes hold timbre and course, not the recording level
# Sounds go through the network in blocks of fixed size and in lengths of 1, 2, 4, ... seconds, filled with silence: few
# compiled shapes, and a sound's codes cannot depend on what was encoded with it.
BLOCK = 16


class AudioTokenizer:
    """`Audio` of any rate, length and number of channels <-> int32 [layers, frames].

    Encoding mixes channels down, resamples to the codec's rate and scales to a peak of 0.9; a sound that is empty,
    holds NaN or stays below -80 dBFS is refused. Decoding takes the first 1 to `n_q` layers and is deterministic.
    """

    modality = "audio"
    partial_layers = True  # the first layers alone can be decoded

    def __init__(self, spec: CodecSpec, arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: "codebooks" [n_q, codebook_size, dimension] and the flat names of the codec's parameters."""
        self.spec = spec
        self.vocab_size = spec.codebook_size
        self.n_q = spec.n_q
        self.layer_sizes = (spec.codebook_size,) * spec.n_q
        self.rate = spec.sample_rate
        self.hop = spec.hop
        self._fingerprint = fingerprint_of(KIND, to_dict(spec), arrays)
        self._arrays = arrays
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        if CODEBOOKS not in floats:
            raise MioError(f"the weights of this {KIND} tokenizer lack the array {CODEBOOKS!r}")
        books = jnp.asarray(floats.pop(CODEBOOKS))
        if books.shape != (spec.n_q, spec.codebook_size, spec.seanet.dimension):
            raise MioError(f"the weights of this {KIND} tokenizer: {CODEBOOKS} has shape {books.shape}")
        self._books = rvq.RVQState(books, books, jnp.ones(books.shape[:2]))
        graphdef, abstract = split_model(functools.partial(Codec, spec))
        self._params = nested_arrays(floats, abstract, KIND)

        @jax.jit
        def encode(params: Params, books: rvq.RVQState, waves: jax.Array) -> jax.Array:
            return rvq.encode(books, apply(graphdef, params).features(waves)).swapaxes(0, 1)

        @jax.jit
        def decode(params: Params, books: rvq.RVQState, codes: jax.Array, given: jax.Array) -> jax.Array:
            vectors = rvq.lookup(books, codes.swapaxes(0, 1)) * given[:, None, None, None]
            deciding = spec.tone.pitch_layers if spec.tone is not None else 0
            decoded = apply(graphdef, params).synthesize(jnp.sum(vectors, 0), jnp.sum(vectors[:deciding], 0))
            return jnp.clip(decoded.wave, -1.0, 1.0)

        self._encode, self._decode = encode, decode

    @classmethod
    def from_training(cls, spec: CodecSpec, params: Params, codebooks: jax.Array) -> AudioTokenizer:
        """Folded parameters (`spec.seanet.weight_norm` False); all are rounded to float16, as they are stored."""
        arrays = {CODEBOOKS: codebooks, **flat_arrays(params)}
        return cls(spec, {name: np.asarray(array).astype(np.float16) for name, array in arrays.items()})

    @classmethod
    def load(cls, path: str | Path) -> AudioTokenizer:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, settings = read_weights(path, KIND)
        return cls(from_dict(CodecSpec, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.spec), data, self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @functools.cached_property
    def weights(self) -> CodecWeights:
        """What `StreamingDecoder` decodes with."""
        return CodecWeights.of(self.spec, self._params, self._books.embed)

    def held(self, frames: int) -> int:
        """How often `decode` repeats the last of so many frames: up to the next bucket."""
        return self._bucket(frames) - frames

    def prepare(self, audio: Audio) -> np.ndarray:
        """float32 [n] as the codec hears it: mono, at its rate, at its peak. Raises MioError (see `io.mono`)."""
        samples = resample(mono(audio), audio.rate, self.rate)
        return (samples * (PEAK / np.abs(samples).max())).astype(np.float32)

    def encode(self, media: Audio) -> np.ndarray:
        """`Audio` -> int32 [n_q, ceil(seconds * rate / hop)]. Raises MioError on sound that cannot be encoded."""
        return self.encode_batch([media])[0]

    def encode_batch(self, sounds: Sequence[Audio]) -> list[np.ndarray]:
        """int32 [n_q, frames] for each sound."""
        waves = [self.prepare(sound) for sound in sounds]
        frames = [-(-len(wave) // self.hop) for wave in waves]

        def run(items: list[int], bucket: int) -> np.ndarray:
            stack = np.zeros((len(items), bucket * self.hop), np.float32)
            for row, item in enumerate(items):
                stack[row, : len(waves[item])] = waves[item]
            return np.asarray(self._encode(self._params, self._books, stack))

        return [codes[:, :n] for codes, n in zip(self._bucketed(frames, run), frames, strict=True)]

    def decode(self, tokens: np.ndarray) -> Audio:
        """int32 [1..n_q layers, frames] -> `Audio`, hop samples a frame. Raises MioError on other shapes or codes."""
        return self.decode_batch([tokens])[0]

    def decode_batch(self, tokens: Sequence[np.ndarray]) -> list[Audio]:
        """One `Audio` for each array of codes; see `decode`."""
        codes = [self._checked(np.asarray(item)) for item in tokens]
        frames = [item.shape[1] for item in codes]
        out: list[Audio | None] = [None] * len(codes)
        for layers in sorted({len(item) for item in codes}):
            members = [i for i, item in enumerate(codes) if len(item) == layers]

            def run(items: list[int], bucket: int, members: list[int] = members, layers: int = layers) -> np.ndarray:
                stack = np.zeros((len(items), self.n_q, bucket), np.int32)
                for row, item in enumerate(items):
                    given = codes[members[item]]
                    # The last frame is held to the end of the bucket, which is then cut off.
                    stack[row, :layers] = np.pad(given, ((0, 0), (0, bucket - given.shape[1])), mode="edge")
                mask = (np.arange(self.n_q) < layers).astype(np.float32)
                return np.asarray(self._decode(self._params, self._books, stack, mask))

            for i, wave in zip(members, self._bucketed([frames[i] for i in members], run), strict=True):
                out[i] = Audio(wave[: frames[i] * self.hop], self.rate)
        return [audio for audio in out if audio is not None]

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        if codes.ndim != 2 or not 1 <= len(codes) <= self.n_q or not np.issubdtype(codes.dtype, np.integer):
            raise MioError(
                f"a sound is whole-number codes [1..{self.n_q}, frames], not an array {codes.dtype} {codes.shape}"
            )
        if codes.shape[1] == 0:
            raise MioError("a sound of no frames cannot be decoded")
        if codes.min() < 0 or codes.max() >= self.vocab_size:
            bad = codes[(codes < 0) | (codes >= self.vocab_size)][0]
            raise MioError(f"audio code {bad} is outside 0..{self.vocab_size - 1}")
        return codes.astype(np.int32)

    def _bucket(self, frames: int) -> int:
        """The length that so many frames are filled up to: 1, 2, 4, ... seconds."""
        bucket = -(-self.rate // self.hop)
        while bucket < frames:
            bucket *= 2
        return bucket

    def _bucketed(self, frames: list[int], run: Callable[[list[int], int], np.ndarray]) -> list[Any]:
        """Results of `run` (indices of one block, bucket in frames) for every item, in order."""
        second = self._bucket(1)
        groups: dict[int, list[int]] = {}
        for index, count in enumerate(frames):
            groups.setdefault(self._bucket(count), []).append(index)
        out: list[Any] = [None] * len(frames)
        for bucket, members in groups.items():
            block = max(1, BLOCK * second // bucket)
            for start in range(0, len(members), block):
                items = members[start : start + block]
                padded = items + [items[-1]] * (block - len(items))
                for index, result in zip(items, run(padded, bucket), strict=False):
                    out[index] = result
        return out
