"""Encoding sounds of any length in bounded memory, to the codes that the whole would have.

A SEANet encoder's LSTM runs both ways, so no code is known before the sound has ended; yet the sound need not be held.
It is read block by block, several times, and of every layer and direction of the LSTM only the state at the blocks'
edges is kept. With the state that enters a block, any direction can be run again inside it:

    pass 1, forwards    layer 0 forwards                            its states at the edges are kept
    pass 2, backwards   layer 0 backwards, and from both layer 1    theirs too
    pass 3, forwards    layer 1 forwards: everything is known, and codes come out in order

In general a pass more than there are layers; one in all where the LSTM runs forwards only. The convolutions before the
LSTM run on windows that overlap by `context` frames, as far as a frame can see, and are mirrored only at the sound's
own ends; the last convolution's window moves over the LSTM's outputs likewise. Windows have one size (`Conv` with a
`length`), so a handful of compiled functions serve every sound. Kept beside the codes: two vectors of the LSTM's width
for each layer, direction and block (16 KiB for ten seconds of the published codec), and the features of at most
`KEPT_FRAMES` frames, so that sounds of some minutes are read once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply
from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.codec import CodecSpec
from mio_tokenizers.audio.layers import State
from mio_tokenizers.audio.streaming import CodecWeights, convolutions, inference_graph

BLOCK_FRAMES = 500  # ten seconds at 50 frames a second
KEPT_FRAMES = 15_000  # whose features are kept between passes: five minutes, 61 MB of the published codec

Read = Callable[[int, int], np.ndarray]  # (start, stop) -> float32 [stop - start], samples at the codec's rate
Key = tuple[int, str]  # a layer of the LSTM, and "" (forwards) or "_reverse"


class _Compiled(NamedTuple):
    features: Callable[..., jax.Array]
    whole: Callable[..., jax.Array]
    front: Callable[..., jax.Array]
    run: Callable[..., tuple[jax.Array, State]]
    back: Callable[..., jax.Array]
    context: int  # frames on each side of a block that its features depend on
    behind: int  # frames on each side that the last convolution looks at
    needs: int  # samples: no more than these are too few for windows of another size than their own


@functools.lru_cache(maxsize=8)
def _compiled(spec: CodecSpec, n_q: int) -> _Compiled:
    if spec.tone is not None:
        raise MioError("a codec with tone branches cannot be encoded in blocks; encode the whole")
    graphdef, abstract = inference_graph(spec)
    layers = list(apply(graphdef, abstract).encoder.model)
    last = len(layers) - 2  # an activation and a convolution end it, behind the LSTM where there is one
    first = last - bool(spec.seanet.lstm_layers)
    reach, needs, rate = 0, 0, spec.hop
    for layer in reversed(layers[:first]):
        for conv in reversed(list(convolutions(layer))):
            rate //= conv.stride
            reach = reach * conv.stride + max(conv.reach)
            needs = max(needs, (conv.needs + 1) * rate)
    context, behind = -(-max(reach, needs) // spec.hop), max(layers[-1].reach)

    def through(params: Params, x: jax.Array, length: jax.Array | None, begin: int, end: int | None) -> jax.Array:
        for layer in apply(graphdef, params).encoder.model[begin:end]:
            x = layer(x, length)
            length = length if length is None else layer.frames(length)
        return x

    def features(params: Params, waves: jax.Array) -> jax.Array:
        """[B, N] -> [B, frames, D], what is quantised."""
        return through(params, waves[..., None], None, 0, None)

    @jax.jit
    def whole(params: Params, books: rvq.RVQState, waves: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """[B, N] and how many samples of each count (None: all) -> int32 [B, n_q, frames]."""
        if lengths is None:
            return rvq.encode(books, features(params, waves), n_q).swapaxes(0, 1)
        x = waves[..., None]
        made = jax.vmap(lambda one, length: through(params, one[None], length, 0, None)[0])(x, lengths)
        return rvq.encode(books, made, n_q).swapaxes(0, 1)

    @jax.jit
    def front(params: Params, wave: jax.Array, length: jax.Array) -> jax.Array:
        """[N], of which `length` samples count -> what enters the LSTM [1, N / hop, C]."""
        return through(params, wave[None, :, None], length, 0, first)

    @functools.partial(jax.jit, static_argnames=("layer", "suffix"))
    def run(
        params: Params, x: jax.Array, state: State, length: jax.Array, layer: int, suffix: str
    ) -> tuple[jax.Array, State]:
        return apply(graphdef, params).encoder.model[first].run(x, layer, suffix, state, length)

    @jax.jit
    def back(params: Params, books: rvq.RVQState, x: jax.Array, length: jax.Array) -> jax.Array:
        """What leaves the LSTM [1, T, C], of which `length` frames count -> int32 [n_q, T]."""
        return rvq.encode(books, through(params, x, length, last, None), n_q)[:, 0]

    return _Compiled(features, whole, front, run, back, context, behind, max(needs, (layers[-1].needs + 1) * spec.hop))


def _power_of_two(n: int) -> int:
    """The next one, so that few shapes are compiled."""
    return 1 << (n - 1).bit_length()


class BlockEncoder:
    """Sounds -> codes, equal to `rvq.encode(books, Codec.features(sound))` of each sound alone, whatever its length."""

    def __init__(
        self, weights: CodecWeights, n_q: int, block_frames: int = BLOCK_FRAMES, kept_frames: int = KEPT_FRAMES
    ) -> None:
        """`n_q`: the first layers of codes that are made. Raises MioError for a codec with tone branches."""
        self._weights, self.n_q = weights, n_q
        embed = weights.embed[:n_q]
        self._books = rvq.RVQState(embed, embed, jnp.ones(embed.shape[:2]))
        self._fn = _compiled(weights.spec, n_q)
        self.block_frames = max(block_frames, 2 * self._fn.behind + 1)
        self.kept_frames = kept_frames

    @property
    def largest(self) -> int:
        """The most samples that are ever read at once."""
        return (self.block_frames + 2 * self._fn.context) * self._weights.spec.hop

    def encode_batch(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """float32 [samples] each, of at most a block -> int32 [n_q, ceil(samples / hop)]."""
        hop = self._weights.spec.hop
        out: dict[int, np.ndarray] = {}
        for i, wave in enumerate(waves):
            if len(wave) <= self._fn.needs:  # too short for windows of another size: as it is
                out[i] = np.asarray(self._fn.whole(self._weights.params, self._books, wave[None], None))[0]
        rest = [i for i in range(len(waves)) if i not in out]
        if rest:
            lengths = np.array([len(waves[i]) for i in rest], np.int32)
            bucket = _power_of_two(-(-int(lengths.max()) // hop))
            lengths = np.pad(lengths, (0, _power_of_two(len(rest)) - len(rest)), mode="edge")
            stack = np.zeros((len(lengths), bucket * hop), np.float32)
            for row, i in zip(stack, rest, strict=False):
                row[: len(waves[i])] = waves[i]
            codes = np.asarray(self._fn.whole(self._weights.params, self._books, stack, lengths))
            out |= {i: one[:, : -(-n // hop)] for i, one, n in zip(rest, codes, lengths, strict=False)}
        return [out[i] for i in range(len(waves))]

    def encode(self, read: Read, samples: int) -> np.ndarray:
        """A sound of so many samples, read piece by piece -> int32 [n_q, ceil(samples / hop)]."""
        hop = self._weights.spec.hop
        frames = -(-samples // hop)
        if frames <= self.block_frames:
            return self.encode_batch([read(0, samples)])[0]
        return _Passes(self, read, samples).codes()


class _Passes:
    """One long sound on its way through the passes that the module describes."""

    def __init__(self, encoder: BlockEncoder, read: Read, samples: int) -> None:
        self._encoder, self._read, self._samples = encoder, read, samples
        self._fn, self._weights = encoder._fn, encoder._weights
        spec = self._weights.spec
        self._hop, self._block = spec.hop, encoder.block_frames
        self._frames = -(-samples // self._hop)
        self._blocks = -(-self._frames // self._block)
        self._layers = spec.seanet.lstm_layers
        self._suffixes = ("", "_reverse") if spec.seanet.bidirectional else ("",)
        width = spec.seanet.n_filters * 2 ** len(spec.seanet.strides)
        self._zero = (jnp.zeros((1, width)), jnp.zeros((1, width)))
        self._entering: dict[Key, dict[int, State]] = {}  # the state with which a direction enters a block
        self._features: dict[int, jax.Array] = {}

    def codes(self) -> np.ndarray:
        passes = self._layers + 1 if len(self._suffixes) == 2 else 1
        for number in range(passes - 1):
            suffix = self._suffixes[(passes - 1 - number) % 2]
            blocks = range(self._blocks)
            for _ in map(functools.partial(self._through, suffix=suffix), blocks[::-1] if suffix else blocks):
                pass
        return self._coded()

    def _count(self, block: int) -> int:
        """Frames of a block."""
        return min(self._block, self._frames - block * self._block)

    def _entered(self, block: int) -> jax.Array:
        """What enters the LSTM in a block, [1, block_frames, C]; behind the sound's end it means nothing."""
        if block in self._features:
            return self._features[block]
        context, hop = self._fn.context, self._hop
        begin = max(0, block * self._block - context)
        samples = self._read(begin * hop, min(self._samples, ((block + 1) * self._block + context) * hop))
        window = np.zeros((self._block + 2 * context) * hop, np.float32)
        window[: len(samples)] = samples
        found = self._fn.front(self._weights.params, window, jnp.int32(len(samples)))
        skip = block * self._block - begin
        found = found[:, skip : skip + self._block]
        if len(self._features) * self._block < self._encoder.kept_frames:
            self._features[block] = found
        return found

    def _through(self, block: int, suffix: str) -> jax.Array | None:
        """A block through the layers that are known, in the order of a pass; the LSTM's output once all of them are.

        Every direction that runs this way, or whose states are known from an earlier pass, runs; the first layer of
        which the other way is not known yet ends it.
        """
        x = y = self._entered(block)
        length = jnp.int32(self._count(block))
        for layer in range(self._layers):
            made = []
            for one in self._suffixes:
                states = self._entering.setdefault((layer, one), {})
                if block not in states and one == suffix:  # the first block of this way, whose state nobody left
                    states[block] = self._zero
                if block in states:
                    out, after = self._fn.run(self._weights.params, y, states[block], length, layer, one)
                    states[block + (-1 if one else 1)] = after
                    made.append(out)
            if len(made) < len(self._suffixes):
                return None
            y = jnp.concatenate(made, -1)
        if not self._layers:
            return x
        return y + (jnp.concatenate([x, x], -1) if len(self._suffixes) == 2 else x)

    def _coded(self) -> np.ndarray:
        """The last pass, whose outputs go through the last convolution in windows."""
        behind, size = self._fn.behind, self._block + 2 * self._fn.behind
        codes, held, sent = [], None, 0
        for block in range(self._blocks):
            made = self._through(block, "")
            assert made is not None, "the passes before this one left a direction unknown"
            new = np.asarray(made)[:, : self._count(block)]
            held = new if held is None else np.concatenate([held, new], axis=1)
            done = block * self._block + new.shape[1]
            begin = done - held.shape[1]
            stop = done if block == self._blocks - 1 else done - behind
            window = np.zeros((1, size, held.shape[2]), np.float32)
            window[:, : held.shape[1]] = held
            found = self._fn.back(self._weights.params, self._encoder._books, window, jnp.int32(held.shape[1]))
            codes.append(np.asarray(found)[:, sent - begin : stop - begin])
            held, sent = held[:, max(0, stop - behind - begin) :], stop
        return np.concatenate(codes, axis=1)
