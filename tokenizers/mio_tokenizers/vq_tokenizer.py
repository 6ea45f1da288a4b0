"""What tokenizers with one codebook have in common: a file of weights, batches of one compiled shape, checked codes."""

from __future__ import annotations

import abc
import functools
import math
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, split_model, to_pure_dict
from mio_tokenizers.base import fingerprint_of
from mio_tokenizers.quantize import nearest, normalise
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

CODEBOOK = "codebook"
# Media go through the network in blocks of exactly this many (the last one padded): one compiled shape, and the tokens
# of one cannot depend on how many others were encoded with it.
BLOCK = 16


class VQSettings(Protocol):
    """What the settings of such a tokenizer say about its codes."""

    @property
    def codes(self) -> int: ...

    @property
    def code_dim(self) -> int: ...

    @property
    def code_grid(self) -> tuple[int, ...]:
        """Rows and columns of codes; tokens are in raster order."""
        ...

    @property
    def unit_codes(self) -> bool:
        """Vectors and codes are compared, and codes decoded, at unit length."""
        ...


class VQModel(Protocol):
    """A model around a codebook that is not part of it."""

    def latents(self, media: jax.Array) -> jax.Array:
        """Media [b, ...] -> [b, rows, columns, code_dim], at unit length where codes are."""
        ...

    def rebuild(self, vectors: jax.Array) -> jax.Array:
        """[b, rows, columns, code_dim] -> media [b, ...]."""
        ...


def code_vectors(settings: VQSettings, codebook: jax.Array) -> jax.Array:
    """The vectors that are searched and decoded, from the codebook as it is stored. [codes, code_dim]."""
    return normalise(codebook) if settings.unit_codes else codebook


class VQTokenizer(abc.ABC):
    """Base of the tokenizers with one codebook; a subclass names the parts and converts its media."""

    kind: ClassVar[str]
    what: ClassVar[str]  # of its media, in messages
    settings_type: ClassVar[type]
    model_type: ClassVar[Any]  # a module that is a `VQModel`, made from (settings, key)
    modality: ClassVar[str]

    def __init__(self, settings: Any, arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: "codebook" [codes, code_dim] and the flat names of the model's parameters."""
        self.settings = settings
        self.vocab_size = settings.codes
        self.tokens = math.prod(settings.code_grid)
        self._fingerprint = fingerprint_of(self.kind, to_dict(settings), arrays)
        self._arrays = arrays
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        if CODEBOOK not in floats:
            raise MioError(f"the weights of this {self.kind} tokenizer lack the array {CODEBOOK!r}")
        codebook = jnp.asarray(floats.pop(CODEBOOK))
        if codebook.shape != (settings.codes, settings.code_dim):
            raise MioError(
                f"the weights of this {self.kind} tokenizer: {CODEBOOK} has shape {codebook.shape}, not "
                f"{(settings.codes, settings.code_dim)}"
            )
        self._codebook = code_vectors(settings, codebook)
        graphdef, abstract = split_model(functools.partial(type(self).model_type, settings))
        self._params = nested_arrays(floats, abstract, self.kind)

        @jax.jit
        def encode(params: Params, codebook: jax.Array, media: jax.Array) -> jax.Array:
            latents = apply(graphdef, params).latents(self.to_model(media))
            return nearest(latents, codebook).reshape(media.shape[0], -1)

        @jax.jit
        def decode(params: Params, codebook: jax.Array, codes: jax.Array) -> jax.Array:
            vectors = codebook[codes].reshape(-1, *settings.code_grid, settings.code_dim)
            return self.from_model(apply(graphdef, params).rebuild(vectors))

        self._encode, self._decode = encode, decode

    @classmethod
    def array_shapes(cls, settings: Any) -> dict[str, Any]:
        """The arrays that a tokenizer of these settings has, by name, as `jax.ShapeDtypeStruct`."""
        _, abstract = split_model(functools.partial(cls.model_type, settings))
        codebook = jax.ShapeDtypeStruct((settings.codes, settings.code_dim), jnp.float32)
        return {CODEBOOK: codebook, **flat_arrays(to_pure_dict(abstract))}

    @classmethod
    def from_training(cls, settings: Any, params: Params, codebook: jax.Array) -> Self:
        """Weights are rounded to float16, as they are stored."""
        arrays = {CODEBOOK: codebook, **flat_arrays(params)}
        return cls(settings, {name: np.asarray(array).astype(np.float16) for name, array in arrays.items()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, settings = read_weights(path, cls.kind)
        if CODEBOOK not in arrays:
            raise MioError(f"{path} has no array {CODEBOOK!r}; it is no {cls.kind} tokenizer of this version")
        return cls(from_dict(cls.settings_type, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, self.kind, to_dict(self.settings), data, self._arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The codebook and the parameters by their flat names, as they are stored."""
        return dict(self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @abc.abstractmethod
    def check(self, media: Any) -> np.ndarray:
        """One medium as the array that `to_model` takes a batch of. Raises MioError on anything that is none."""

    def to_model(self, batch: jax.Array) -> jax.Array:
        """Inside the compiled function: a batch as the model takes it."""
        return batch

    def from_model(self, batch: jax.Array) -> jax.Array:
        """Inverse of `to_model`."""
        return batch

    def encode(self, media: Any) -> np.ndarray:
        """One medium -> int32 [tokens]. Raises MioError on anything else."""
        return self.encode_batch([media])[0]

    def encode_batch(self, media: Any) -> np.ndarray:
        """Media (a sequence, or an array with a leading axis) -> int32 [n, tokens]."""
        checked = [self.check(item) for item in media]
        if not checked:
            return np.zeros((0, self.tokens), np.int32)
        return self._in_blocks(self._encode, np.stack(checked))

    def decode(self, tokens: np.ndarray) -> Any:
        """int32 [tokens] -> one medium. Raises MioError on a wrong count or code."""
        return self.decode_batch(np.asarray(tokens)[None])[0]

    def check_codes(self, codes: Any) -> np.ndarray:
        """`codes` as int32 [n, tokens]. Raises MioError on a wrong count or code."""
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.tokens or not np.issubdtype(codes.dtype, np.integer):
            raise MioError(
                f"a {self.what} is {self.tokens} whole-number codes, not an array {codes.dtype} {codes.shape}"
            )
        if codes.size and (codes.min() < 0 or codes.max() >= self.vocab_size):
            bad = codes[(codes < 0) | (codes >= self.vocab_size)][0]
            raise MioError(f"{self.modality} code {bad} is outside 0..{self.vocab_size - 1}")
        return codes.astype(np.int32)

    def decode_batch(self, codes: Any) -> np.ndarray:
        """int32 [n, tokens] -> media [n, ...]."""
        codes = self.check_codes(codes)
        if not len(codes):
            one = jax.eval_shape(self._decode, self._params, self._codebook, np.zeros((1, self.tokens), np.int32))
            return np.zeros((0, *one.shape[1:]), one.dtype)
        return self._in_blocks(self._decode, codes)

    def _in_blocks(self, function: Any, items: np.ndarray) -> np.ndarray:
        out = []
        for start in range(0, len(items), BLOCK):
            block = items[start : start + BLOCK]
            padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
            # Full float32 products: a device's shortcuts must not choose the token.
            with jax.default_matmul_precision("highest"):
                out.append(np.asarray(function(self._params, self._codebook, padded))[: len(block)])
        return np.concatenate(out)
