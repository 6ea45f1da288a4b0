"""Decoding codes as they come: sound in chunks, equal to what the whole would have been.

A SEANet decoder looks forwards only through its convolutions, so little has to be kept between chunks. Its first
convolution and its LSTM run over every frame once, the LSTM's state carried along. Everything behind the LSTM runs on
windows of LSTM outputs that overlap by `context` frames on each side, the part of them that a sample can depend on;
only the middle of a window is given out. Windows have one size, whatever the sound's length (`Conv` with a `length`),
so there are two compiled functions. Sound is late by the look-ahead of the first convolution and by `context`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Module, Params, apply, params_of, split_model
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.layers import Conv, ConvTranspose, State, valid_convolution
from mio_tokenizers.audio.seanet import ResidualBlock

CHUNK_FRAMES = 25  # half a second at 50 frames a second


class CodecWeights(NamedTuple):
    """A codec to decode with."""

    spec: CodecSpec
    params: Params  # of `inference_graph(spec)`
    embed: jax.Array  # [n_q, codebook_size, dimension]

    @classmethod
    def of(cls, spec: CodecSpec, params: Params, embed: jax.Array | np.ndarray) -> CodecWeights:
        """`params`: of `Codec(spec)`, as they are trained or stored."""
        graphdef, _ = split_model(functools.partial(Codec, spec))
        made = jax.jit(lambda params: apply(graphdef, params).for_inference())(params)
        return cls(spec, params_of(made), jnp.asarray(embed, jnp.float32))


@functools.lru_cache(maxsize=8)
def inference_graph(spec: CodecSpec) -> tuple[Any, Any]:
    """Graph definition and abstract parameters of the codec laid out for inference, see `Codec.for_inference`."""
    return split_model(lambda key: Codec(spec, key).for_inference())


class Streamable(Protocol):
    """What a tokenizer offers that `StreamingDecoder` can decode for."""

    @property
    def weights(self) -> CodecWeights: ...

    @property
    def n_q(self) -> int: ...

    def held(self, frames: int) -> int:
        """How often `decode` repeats the last frame behind a sound of so many frames before it decodes it."""
        ...


class _Compiled(NamedTuple):
    """The two functions of a codec and a chunk size, and how its decoder is cut."""

    recur: Callable[..., tuple[jax.Array, list[State]]]
    upsample: Callable[..., jax.Array]
    ahead: tuple[int, int]  # frames before and behind that the first convolution looks at
    context: int  # frames on each side that the modules behind the LSTM depend on
    needs: int  # a sound of no more frames than this is too short for windows of another size than its own


def convolutions(layer: Module) -> Iterator[Conv]:
    """Those of a module of SEANet's lists that run one after another; shortcuts (kernel 1) add nothing to a reach."""
    if isinstance(layer, Conv):
        yield layer
    elif isinstance(layer, ResidualBlock):
        yield from (part for part in layer.block if isinstance(part, Conv))


@functools.lru_cache(maxsize=8)
def _compiled(spec: CodecSpec, chunk: int) -> _Compiled:
    graphdef, abstract = inference_graph(spec)
    layers = list(apply(graphdef, abstract).decoder.model)
    first = 2 if spec.seanet.lstm_layers else 1
    context, rate, needs = 0, spec.hop, 1
    for layer in reversed(layers[first:]):
        if isinstance(layer, ConvTranspose):
            context, rate = -(-context // layer.stride) + 1, rate // layer.stride
        for conv in convolutions(layer):
            context += max(conv.reach)
            needs = max(needs, -(-conv.needs // rate))

    @jax.jit
    def recur(
        params: Params, embed: jax.Array, codes: jax.Array, given: jax.Array, inside: jax.Array, states: list[State]
    ) -> tuple[jax.Array, list[State]]:
        """Codes [n_q, left + chunk + right] -> what is upsampled [1, chunk, C], and the LSTM's states behind it."""
        vectors = jax.vmap(lambda table, index: table[index])(embed, codes)
        x = jnp.sum(vectors * given[:, None, None], 0)[None] * inside[:, None]
        enter, *lstm = apply(graphdef, params).decoder.model[:first]
        x = y = valid_convolution(enter, x)
        after = []
        for layer, state in enumerate(states):
            y, last = lstm[0].run(y, layer, "", state)
            after.append(last)
        return (lstm[0].skip(x, y) if lstm else x), after

    @jax.jit
    def upsample(params: Params, x: jax.Array, length: jax.Array | None) -> jax.Array:
        """[1, W, C], of which the first `length` frames count (None: all) -> float32 [W * hop]."""
        for layer in apply(graphdef, params).decoder.model[first:]:
            x = layer(x, length)
            length = length if length is None else layer.frames(length)
        return jnp.clip(x[0, :, 0], -1.0, 1.0)

    return _Compiled(recur, upsample, layers[0].reach, context, needs)


class StreamingDecoder:
    """Codes in, sound out, in chunks: what `push` and then `finish` return, joined, is `tokenizer.decode` of it all.

    Memory does not grow with the sound. The first sound comes once `chunk_frames` and the look-ahead are there (3
    frames of a published codec, 2 more before each later chunk), so small chunks sound sooner and cost more in all.
    """

    def __init__(self, tokenizer: Streamable, chunk_frames: int = CHUNK_FRAMES) -> None:
        """Raises MioError for a codec with tone branches, or for chunks of less than the look-ahead and 1 frames."""
        self._tokenizer, self._weights, self._chunk = tokenizer, tokenizer.weights, chunk_frames
        spec = self._weights.spec
        if spec.tone is not None:
            raise MioError("a codec with tone branches cannot be decoded in chunks; decode the whole")
        self.rate, self.hop, self.n_q = spec.sample_rate, spec.hop, tokenizer.n_q
        self._run = _compiled(spec, chunk_frames)
        if chunk_frames <= max(self._run.ahead):
            raise MioError(f"streaming: chunk_frames is {chunk_frames}; it must be over {max(self._run.ahead)}")
        zero = (jnp.zeros((1, spec.seanet.n_filters * 2 ** len(spec.seanet.strides))),) * 2
        self._states: list[State] = [zero for _ in range(spec.seanet.lstm_layers)]
        self._layers = 0  # that the sound has; 0: nothing came yet
        self._codes = np.zeros((0, 0), np.int32)  # [layers, frames from `_base` on]
        self._outputs: np.ndarray | None = None  # [frames, C] behind the LSTM, up to `_done`
        self._base = self._total = self._done = self._sent = 0  # in frames
        self._finished = False

    def push(self, codes: np.ndarray) -> np.ndarray:
        """int32 [layers, frames], the next ones -> float32 [samples], all that cannot change any more (maybe none).

        Raises MioError on codes that `decode` would refuse, on another number of layers than before, and after the end.
        """
        if self._finished:
            raise MioError("streaming: this sound is finished; begin another StreamingDecoder for the next")
        codes = np.asarray(codes)
        if codes.ndim != 2 or not 1 <= len(codes) <= self.n_q or not np.issubdtype(codes.dtype, np.integer):
            given = f"{codes.dtype} {codes.shape}"
            raise MioError(f"streaming: codes are whole numbers [1..{self.n_q} layers, frames], not {given}")
        if self._layers not in (0, len(codes)):
            raise MioError(f"streaming: {len(codes)} layers of codes come after {self._layers}")
        if codes.size and (codes.min() < 0 or codes.max() >= self._weights.spec.codebook_size):
            raise MioError(f"streaming: codes {codes.min()}..{codes.max()} are outside the codebook")
        if not self._layers:
            self._layers, self._codes = len(codes), np.zeros((len(codes), 0), np.int32)
        self._append(codes.astype(np.int32))
        made = [np.zeros(0, np.float32)]
        while self._total - self._done >= self._chunk + self._run.ahead[1]:
            made.append(self._advance(self._chunk, None))
        return np.concatenate(made)

    def finish(self) -> np.ndarray:
        """float32 [samples], the rest. Raises MioError where nothing came, or if it is called twice."""
        if self._finished or not self._total:
            raise MioError("streaming: " + ("this sound is finished" if self._finished else "a sound of no frames"))
        self._finished = True
        end = self._total
        # Of a longer tail only as much is made as a sample can depend on.
        tail = min(self._tokenizer.held(end), self._run.ahead[1] + self._run.context + self._run.needs)
        self._append(np.repeat(self._codes[:, -1:], tail, axis=1))
        made = []
        while self._done < self._total:
            made.append(self._advance(min(self._chunk, self._total - self._done), self._total))
        samples = np.concatenate(made)
        return samples[: len(samples) - tail * self.hop]

    def _append(self, codes: np.ndarray) -> None:
        keep = max(self._base, self._done - self._run.ahead[0])
        self._codes = np.concatenate([self._codes[:, keep - self._base :], codes], axis=1)
        self._base, self._total = keep, self._total + codes.shape[1]

    def _advance(self, frames: int, end: int | None) -> np.ndarray:
        """The next `frames` through the LSTM, and the sound that follows from them; `end`: the sound's, where known."""
        left, right = self._run.ahead
        index = np.abs(np.arange(self._done - left, self._done + self._chunk + right))
        inside = np.ones(len(index), np.float32)
        if end is not None:
            length = max(end, max(left, right) + 1)  # a sound that is shorter is mirrored with zeros behind it
            index = np.where(index >= length, 2 * (length - 1) - index, index)
            inside = (index < end).astype(np.float32)
        # What is out of reach stands behind the frames of this step, and leaves no trace in them.
        index = np.clip(index, self._base, self._total - 1) - self._base
        codes = np.zeros((self._weights.spec.n_q, len(index)), np.int32)
        codes[: self._layers] = self._codes[:, index]
        given = (np.arange(len(codes)) < self._layers).astype(np.float32)
        weights = self._weights
        outputs, states = self._run.recur(weights.params, weights.embed, codes, given, inside, self._states)
        if frames == self._chunk:
            self._states = states
        return self._emit(np.asarray(outputs)[0, :frames], last=end is not None and self._done + frames == end)

    def _emit(self, outputs: np.ndarray, last: bool) -> np.ndarray:
        """Takes the next outputs of the LSTM [frames, C]; returns the samples that are final now."""
        context = self._run.context
        window = outputs if self._outputs is None else np.concatenate([self._outputs, outputs])
        self._done += len(outputs)
        begin = self._done - len(window)
        stop = self._done if last else max(self._sent, self._done - context)
        length = len(window)
        if length <= self._run.needs:
            wave = self._run.upsample(self._weights.params, window[None], None)
        else:
            padded = np.zeros((1, self._chunk + 2 * context, window.shape[1]), np.float32)
            padded[0, :length] = window
            wave = self._run.upsample(self._weights.params, padded, jnp.int32(length))
        made = np.asarray(wave)[(self._sent - begin) * self.hop : (stop - begin) * self.hop]
        self._sent = stop
        self._outputs = window[max(0, stop - context - begin) :]
        return made
