"""The one-dimensional layers of SEANet on channels-last signals [batch, time, channels].

Weights keep the published layouts (convolution [out, in, k], transposed [in, out, k], LSTM gates stacked i, f, g, o)
and names, so that a checkpoint maps by name alone. A strided convolution of kernel 2r and stride r, forward or
transposed, is two matrix products on blocks of r samples: on a CPU several times faster than XLA's convolution.
`arrange` lays the weights of a finished model out as these products take them, once and not in every call.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.nn.base import List, Module, Param

SNAKE_EPSILON = 1e-9
State = tuple[jax.Array, jax.Array]  # of an LSTM direction: hidden and cell, [B, C] each


def uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> Param:
    return Param(jax.random.uniform(key, shape, jnp.float32, -bound, bound), axes=(None,) * len(shape))


def gain(weight: jax.Array) -> jax.Array:
    """Norm over all axes but the first, kept as axes of size 1."""
    return jnp.sqrt(jnp.sum(weight * weight, axis=tuple(range(1, weight.ndim)), keepdims=True))


def fold_weight_norm(weight_g: jax.Array, weight_v: jax.Array) -> jax.Array:
    """The plain weight g * v / |v| of a weight-normalised layer."""
    return weight_g * weight_v / gain(weight_v)


def fold(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of weight-normalised layers, nested -> those of the same layers with `weight_norm` False."""
    if not isinstance(params, dict):
        return params
    if "weight_g" in params:
        rest = {k: v for k, v in params.items() if k not in ("weight_g", "weight_v")}
        return rest | {"weight": fold_weight_norm(params["weight_g"], params["weight_v"])}
    return {k: fold(v) for k, v in params.items()}


def reflect_tail(x: jax.Array, length: jax.Array, count: int) -> jax.Array:
    """[B, T, C] -> [B, T + count, C] whose `count` samples behind the first `length` (a scalar) mirror those before.

    What a signal of just `length` samples has there by `pad_reflect`, in arrays of fixed size. Holds if length > count.
    """
    if not count:
        return x
    mirror = jax.lax.dynamic_slice_in_dim(x, length - 1 - count, count, 1)[:, ::-1]
    return jax.lax.dynamic_update_slice_in_dim(jnp.pad(x, ((0, 0), (0, count), (0, 0))), mirror, length, 1)


def pad_reflect(x: jax.Array, left: int, right: int) -> jax.Array:
    """[B, T, C] -> [B, left + T + right, C]; a signal shorter than the reflection is lengthened by zeros meanwhile."""
    extra = max(max(left, right) - x.shape[1] + 1, 0)
    x = jnp.pad(x, ((0, 0), (0, extra), (0, 0)))
    x = jnp.pad(x, ((0, 0), (left, right), (0, 0)), mode="reflect")
    return x[:, : x.shape[1] - extra]


def arrange(module: Module) -> None:
    """Lays out the weights of every layer below `module` as it multiplies by them; calls compute the same."""
    for part in vars(module).values():
        for one in part if isinstance(part, List) else [part]:
            if isinstance(one, _Weighted | LSTM):
                one.arrange()
            elif isinstance(one, Module):
                arrange(one)


class _Weighted(Module):
    """A weight [first, ...], plain (`weight`) or weight-normalised over all axes but the first, and a bias."""

    order: tuple[int, int, int]  # of the weight's axes in products

    def __init__(
        self, shape: tuple[int, int, int], outputs: int, fan_in: int, weight_norm: bool, key: jax.Array
    ) -> None:
        weight_key, bias_key = jax.random.split(key)
        bound = 1 / math.sqrt(fan_in)
        weight = uniform(weight_key, shape, bound)
        if weight_norm:
            self.weight_g = Param(gain(weight[...]), axes=(None,) * 3)
            self.weight_v = weight
        else:
            self.weight = weight
        self.bias = uniform(bias_key, (outputs,), bound)
        self.weight_norm = weight_norm
        self.arranged = False

    def arrange(self) -> None:
        """Keeps the weight, folded, in the order of products."""
        taps = self.taps()
        if self.weight_norm:
            del self.weight_g, self.weight_v
        self.weight = Param(taps, axes=(None,) * 3)
        self.weight_norm, self.arranged = False, True

    def taps(self) -> jax.Array:
        """The plain weight in the order of products."""
        return self.weight[...] if self.arranged else self.kernel().transpose(self.order)

    def kernel(self) -> jax.Array:
        if self.weight_norm:
            return fold_weight_norm(self.weight_g[...], self.weight_v[...])
        return self.weight[...]


class Conv(_Weighted):
    """Convolution whose output has ceil(T / stride) frames. [B, T, in] -> [B, T', out].

    `pad`: "reflect" or "zeros", what lies beyond the edges.

    Called with a `length` (a scalar array), only the first `length` samples are the signal: the first ceil(length /
    stride) frames come out as of a signal that ends there, whatever stands behind. For this T is a multiple of the
    stride, `pad` is "reflect", and the signal longer than `needs`.
    """

    order = (2, 1, 0)  # [k, in, out]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        key: jax.Array,
        *,
        stride: int = 1,
        dilation: int = 1,
        weight_norm: bool = True,
        pad: str = "reflect",
    ) -> None:
        super().__init__((outputs, inputs, kernel), outputs, inputs * kernel, weight_norm, key)
        self.size, self.stride, self.dilation, self.pad = kernel, stride, dilation, pad

    @property
    def reach(self) -> tuple[int, int]:
        """Samples before and behind its own `stride` samples that a frame depends on."""
        total = (self.size - 1) * self.dilation + 1 - self.stride
        return total - total // 2, total // 2

    @property
    def needs(self) -> int:
        """A signal of a given `length` must have more samples than this."""
        return max(self.reach[0], self.reach[1] + self.stride - 1)

    def frames(self, length: jax.Array) -> jax.Array:
        return -(-length // self.stride)

    def __call__(self, x: jax.Array, length: jax.Array | None = None) -> jax.Array:
        if length is not None:
            left, right = self.reach
            count = x.shape[1] // self.stride
            x = jnp.pad(reflect_tail(x, length, right + self.stride - 1), ((0, 0), (left, 0), (0, 0)), mode="reflect")
            return _convolve(x, self.taps(), self.stride, self.dilation, count) + self.bias[...]
        span = (self.size - 1) * self.dilation + 1
        total = span - self.stride
        frames = math.ceil((x.shape[1] - span + total) / self.stride + 1)
        extra = (frames - 1) * self.stride + (span - total) - x.shape[1]
        right = total // 2
        if self.pad == "zeros":
            x = jnp.pad(x, ((0, 0), (total - right, right + extra), (0, 0)))
        else:
            x = pad_reflect(x, total - right, right + extra)
        return _convolve(x, self.taps(), self.stride, self.dilation, frames) + self.bias[...]


def _convolve(x: jax.Array, taps: jax.Array, stride: int, dilation: int, frames: int) -> jax.Array:
    """[B, T, in] * [k, in, out] without padding, the first `frames` frames."""
    size, inputs, outputs = taps.shape
    if size == 1 and stride == 1:
        return x @ taps[0]
    if size == 2 * stride and dilation == 1:
        blocks = x[:, : (frames + 1) * stride].reshape(x.shape[0], frames + 1, stride * inputs)
        early, late = taps.reshape(2, stride * inputs, outputs)
        return blocks[:, :-1] @ early + blocks[:, 1:] @ late
    layout = ("NWC", "WIO", "NWC")
    y = jax.lax.conv_general_dilated(x, taps, (stride,), "VALID", rhs_dilation=(dilation,), dimension_numbers=layout)
    return y[:, :frames]


def valid_convolution(conv: Conv, x: jax.Array) -> jax.Array:
    """`conv` (stride 1) on a signal that brings its own edges: [B, left + T + right, in] -> [B, T, out]."""
    frames = x.shape[1] - sum(conv.reach)
    return _convolve(x, conv.taps(), conv.stride, conv.dilation, frames) + conv.bias[...]


class ConvTranspose(_Weighted):
    """Transposed convolution of stride r and kernel 2r (or `kernel`), its middle. [B, T, in] -> [B, r T, out].

    A kernel of another size must differ from r by an even number. With a `length`, as `Conv` (kernel 2r only).
    """

    order = (0, 2, 1)  # [in, k, out]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        key: jax.Array,
        *,
        kernel: int | None = None,
        weight_norm: bool = True,
    ) -> None:
        size = 2 * stride if kernel is None else kernel
        super().__init__((inputs, outputs, size), outputs, outputs * size, weight_norm, key)
        self.stride = stride

    def frames(self, length: jax.Array) -> jax.Array:
        return length * self.stride

    def __call__(self, x: jax.Array, length: jax.Array | None = None) -> jax.Array:
        r = self.stride
        taps = self.taps()
        if length is not None:
            x = jnp.where(jnp.arange(x.shape[1])[:, None] < length, x, 0)
        inputs, size, outputs = taps.shape
        if size != 2 * r:
            edge = size - 1 - (size - r) // 2
            y = jax.lax.conv_general_dilated(
                x,
                taps[:, ::-1].swapaxes(0, 1),
                (1,),
                [(edge, edge)],
                lhs_dilation=(r,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
            return y + self.bias[...]
        halves = x @ taps.reshape(inputs, 2 * r * outputs)
        early, late = jnp.split(halves.reshape(*x.shape[:2], 2 * r, outputs), 2, axis=2)
        blocks = jnp.pad(early, ((0, 0), (0, 1), (0, 0), (0, 0))) + jnp.pad(late, ((0, 0), (1, 0), (0, 0), (0, 0)))
        full = blocks.reshape(x.shape[0], (x.shape[1] + 1) * r, outputs) + self.bias[...]
        left = r - r // 2
        return full[:, left : left + x.shape[1] * r]


def _elu(x: jax.Array) -> jax.Array:
    """x above 0, exp(x) - 1 below, as 2 t / (1 - t) with t = tanh(x / 2): as exact, in half of the time on a CPU."""
    t = jnp.tanh(0.5 * jnp.minimum(x, 0))
    return jnp.where(x > 0, x, 2 * t / (1 - t))


class Activation(Module):
    """ELU, or Snake x + sin^2(a x) / a with a learned `alpha` [1, C, 1] for each channel."""

    def __init__(self, kind: str, channels: int) -> None:
        self.kind = kind
        if kind == "Snake":
            self.alpha = Param(jnp.ones((1, channels, 1), jnp.float32), axes=(None,) * 3)

    def frames(self, length: jax.Array) -> jax.Array:
        return length

    def __call__(self, x: jax.Array, length: jax.Array | None = None) -> jax.Array:
        if self.kind == "ELU":
            return _elu(x)
        alpha = self.alpha[...][0, :, 0]
        return x + jnp.sin(alpha * x) ** 2 / (alpha + SNAKE_EPSILON)


def _cell(gates: jax.Array, c: jax.Array) -> State:
    """Gates [..., 4 C] before their functions (input, forget, cell, output) and the cell before -> hidden and cell.

    sigmoid(x) is (1 + tanh(x / 2)) / 2: one tanh of all gates takes a CPU half as long as an exponential of each.
    """
    halved = jnp.repeat(jnp.asarray([0.5, 0.5, 1.0, 0.5], gates.dtype), c.shape[-1])
    i, f, g, o = jnp.split(jnp.tanh(gates * halved), 4, axis=-1)
    c = (0.5 + 0.5 * f) * c + (0.5 + 0.5 * i) * g
    return (0.5 + 0.5 * o) * jnp.tanh(c), c


class LSTM(Module):
    """Stacked LSTM over time plus a skip; both ways, it doubles the width and the skip is repeated to match.

    [B, T, C] -> [B, T, C], or [B, T, 2 C] if bidirectional. Parameters `weight_ih_l0[_reverse]` and so on.
    """

    def __init__(self, channels: int, layers: int, bidirectional: bool, key: jax.Array) -> None:
        self.channels, self.layers, self.bidirectional = channels, layers, bidirectional
        self.arranged = False
        bound = 1 / math.sqrt(channels)
        for layer in range(layers):
            width = channels if layer == 0 or not bidirectional else 2 * channels
            for suffix in self._suffixes():
                key, *keys = jax.random.split(key, 5)
                for name, shape, k in zip(
                    ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
                    ((4 * channels, width), (4 * channels, channels), (4 * channels,), (4 * channels,)),
                    keys,
                    strict=True,
                ):
                    setattr(self, f"{name}_l{layer}{suffix}", uniform(k, shape, bound))

    def arrange(self) -> None:
        """Keeps the weights turned, and those of the states of both directions in one."""
        if self.arranged:
            return
        for layer in range(self.layers):
            setattr(self, f"hidden_l{layer}", Param(self._hidden(layer), axes=(None,) * 3))
            for at in (f"l{layer}{suffix}" for suffix in self._suffixes()):
                setattr(self, f"weight_ih_{at}", Param(getattr(self, f"weight_ih_{at}")[...].T, axes=(None, None)))
                delattr(self, f"weight_hh_{at}")
        self.arranged = True

    def _hidden(self, layer: int) -> jax.Array:
        """What the states of a layer are multiplied by: [directions, C, 4 C]."""
        if self.arranged:
            return getattr(self, f"hidden_l{layer}")[...]
        return jnp.stack([getattr(self, f"weight_hh_l{layer}{suffix}")[...].T for suffix in self._suffixes()])

    def _gates(self, x: jax.Array, at: str) -> jax.Array:
        """What the inputs [B, T, in] give to the gates [B, T, 4 C] of a layer and direction."""
        weight, bias, other = (getattr(self, f"{name}_{at}")[...] for name in ("weight_ih", "bias_ih", "bias_hh"))
        return x @ (weight if self.arranged else weight.T) + bias + other

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def zeros(self, batch: int, dtype: Any = jnp.float32) -> State:
        """What a direction of a layer begins with."""
        return jnp.zeros((batch, self.channels), dtype), jnp.zeros((batch, self.channels), dtype)

    def run(
        self, x: jax.Array, layer: int, suffix: str, state: State | None = None, length: jax.Array | None = None
    ) -> tuple[jax.Array, State]:
        """One layer in one direction ("" or "_reverse") from a state: [B, T, in] -> [B, T, C] and the state after it.

        With a `length`, frames behind it are passed over: a reversed run enters the first `length` with `state`.
        """
        gates = self._gates(x, f"l{layer}{suffix}")
        # Turned once and not in every step: the barrier keeps XLA from moving that into the loop.
        hidden = jax.lax.optimization_barrier(self._hidden(layer)[self._suffixes().index(suffix)])

        def step(carry: State, inputs: tuple[jax.Array, jax.Array | None]) -> tuple[State, jax.Array]:
            h, c = carry
            gate, inside = inputs
            h, c = _cell(gate + h @ hidden, c)
            if inside is not None:
                h, c = jnp.where(inside, h, carry[0]), jnp.where(inside, c, carry[1])
            return (h, c), h

        inside = None if length is None else jnp.arange(x.shape[1]) < length
        first = self.zeros(x.shape[0], x.dtype) if state is None else state
        last, states = jax.lax.scan(step, first, (gates.swapaxes(0, 1), inside), reverse=bool(suffix))
        return states.swapaxes(0, 1), last

    def frames(self, length: jax.Array) -> jax.Array:
        return length

    def skip(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Its output, from its input [B, T, C] and what its last layer makes."""
        return y + (jnp.concatenate([x, x], -1) if self.bidirectional else x)

    def both(self, x: jax.Array, layer: int, length: jax.Array | None) -> jax.Array:
        """One layer in both directions from zeros in one loop, half as many steps of twice the width: [B, T, 2 C]."""
        gates = jnp.stack([self._gates(x, f"l{layer}{suffix}") for suffix in self._suffixes()])  # [2, B, T, 4 C]
        hidden = self._hidden(layer)
        frames = jnp.arange(x.shape[1])
        gates = jnp.stack([gates[0], gates[1, :, ::-1]]).transpose(2, 0, 1, 3)

        def step(carry: State, inputs: tuple[jax.Array, jax.Array | None]) -> tuple[State, jax.Array]:
            h, c = carry
            gate, inside = inputs
            h, c = _cell(gate + jnp.einsum("dbc,dcg->dbg", h, hidden), c)
            if inside is not None:  # the reversed direction begins at the sound's end
                h, c = h * inside[:, None, None], c * inside[:, None, None]
            return (h, c), h

        inside = None
        if length is not None:
            inside = jnp.stack([jnp.ones_like(frames), frames[::-1] < length], 1).astype(x.dtype)
        zero = jnp.zeros((2, x.shape[0], hidden.shape[1]), x.dtype)
        _, states = jax.lax.scan(step, (zero, zero), (gates, inside))
        return jnp.concatenate([states[:, 0], states[::-1, 1]], -1).swapaxes(0, 1)

    def __call__(self, x: jax.Array, length: jax.Array | None = None) -> jax.Array:
        y = x
        for layer in range(self.layers):
            y = self.both(y, layer, length) if self.bidirectional else self.run(y, layer, "", None, length)[0]
        return self.skip(x, y)
