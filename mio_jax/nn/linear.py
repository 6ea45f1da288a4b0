"""Matrix products whose gradients are written by hand, for two reasons.

On the CPU, XLA computes the weight gradient that autodiff asks for through a transposed copy of the wider operand,
fused with whatever made it: three times slower than transposing the narrower one. And activations that are cheap to
make again (the gated product) need not be kept.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from mio_jax.nn.base import constrain, platform
from mio_jax.nn.low_rank import LowRank, Weight
from mio_jax.nn.quantized import narrow_input_gradient, narrow_product
from mio_jax.nn.remat import PROJECTIONS

FEW_ROWS = 256  # of x: with more, reading the weight is a small part of a product


def _forward_product(x: jax.Array, w: jax.Array, quantize: str) -> jax.Array:
    if quantize != "none":
        return narrow_product(x, w, quantize)
    return jnp.einsum("...d,df->...f", x, w.astype(x.dtype))


def input_gradient(g: jax.Array, w: jax.Array, quantize: str = "none") -> jax.Array:
    """Of x in y = x w: [..., outputs] and [inputs, outputs] -> [..., inputs]."""
    if quantize != "none":
        return narrow_input_gradient(g, w, quantize)
    return jnp.einsum("...f,df->...d", g, w.astype(g.dtype))


def weight_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """Of w in y = x w: [..., inputs] and [..., outputs] -> float32 [inputs, outputs]."""
    lead = tuple(range(x.ndim - 1))

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.dot_general(a, b, ((lead, lead), ((), ())), preferred_element_type=jnp.float32)

    if x.shape[-1] <= g.shape[-1] or platform() != "cpu":
        return product(x, g)
    # The barrier keeps XLA from undoing the swap, which would transpose the wider operand again.
    return jax.lax.optimization_barrier(product(g, x)).T


def linear(x: jax.Array, w: Weight, inputs: int = 1, quantize: str = "none") -> jax.Array:
    """x w in x's dtype, contracting the last `inputs` axes of x with the first of w.

    [..., *ins] and [*ins, *outs] -> [..., *outs]. The gradient to w is accumulated in float32. `quantize`: "none", or
    the type of `mio_jax.nn.quantized` that the product and the gradient to x run in; adapters are not quantised.
    """
    if isinstance(w, LowRank):
        change = _linear(_linear(x, w.a, inputs, "none"), w.b, 1, "none")
        return _linear(x, w.base, inputs, quantize) + jnp.asarray(w.scale, x.dtype) * change
    return _linear(x, w, inputs, quantize)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _linear(x: jax.Array, w: jax.Array, inputs: int, quantize: str) -> jax.Array:
    return _linear_forward(x, w, inputs, quantize)[0]


def turned_linear(x: jax.Array, w: jax.Array, inputs: int = 1, dtype: DTypeLike | None = None) -> jax.Array:
    """`linear` with a weight that has its outputs first: [..., *ins] and [*outs, *ins] -> [..., *outs].

    On a CPU such a weight, as first factor of a product with few rows of x, is read in the order that it lies in
    memory; [*ins, *outs] take up to 1.8 times as long. The barrier keeps XLA from swapping the factors.

    Args:
      dtype: of the result and its sums; None: x's.
    """
    lead, outs = x.shape[: x.ndim - inputs], w.shape[: w.ndim - inputs]
    dtype = x.dtype if dtype is None else dtype
    if platform() != "cpu" or math.prod(lead) > FEW_ROWS:
        axes = tuple(range(-inputs, 0))
        ins = tuple(a + x.ndim for a in axes), tuple(a + w.ndim for a in axes)
        return jax.lax.dot_general(x, w, (ins, ((), ())), preferred_element_type=dtype)
    rows, matrix = x.reshape(math.prod(lead), -1), w.reshape(math.prod(outs), -1)
    y = jax.lax.optimization_barrier(jnp.einsum("fd,nd->fn", matrix, rows, preferred_element_type=dtype)).T
    return y.reshape(*lead, *outs)


def _matrices(x: jax.Array, w: jax.Array, inputs: int) -> tuple[jax.Array, jax.Array]:
    """[..., *ins] and [*ins, *outs] -> [..., D] and [D, F]."""
    lead, width = x.shape[: x.ndim - inputs], math.prod(w.shape[:inputs])
    assert x.shape[len(lead) :] == w.shape[:inputs], (x.shape, w.shape)
    return x.reshape(*lead, width), w.reshape(width, -1)


def _linear_forward(
    x: jax.Array, w: jax.Array, inputs: int, quantize: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    flat, matrix = _matrices(x, w, inputs)
    # Both are kept as they came: a reshaped weight, or another's result, a scan over layers would store once more.
    return _forward_product(flat, matrix, quantize).reshape(*flat.shape[:-1], *w.shape[inputs:]), (x, w)


def _linear_backward(
    inputs: int, quantize: str, kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, w = kept
    flat, matrix = _matrices(x, w, inputs)
    g = g.reshape(*flat.shape[:-1], matrix.shape[1])
    d_x = input_gradient(g, matrix, quantize).reshape(x.shape)
    return d_x, weight_gradient(flat, g).reshape(w.shape).astype(w.dtype)


_linear.defvjp(_linear_forward, _linear_backward)


def _silu_parts(gate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """silu(gate) and its derivative."""
    s = jax.nn.sigmoid(gate)
    return gate * s, s * (1.0 + gate * (1.0 - s))


def swiglu(x: jax.Array, gate: Weight, up: Weight, down: Weight, quantize: str = "none") -> jax.Array:
    """(silu(x gate) * (x up)) down: x [B, T, D], gate and up [D, F], down [F, D]; `quantize` as in `linear`."""
    if isinstance(gate, LowRank) or isinstance(up, LowRank) or isinstance(down, LowRank):
        a, b = (constrain(linear(x, w, 1, quantize), "batch", "length", "mlp") for w in (gate, up))
        a, b = (checkpoint_name(y, PROJECTIONS) for y in (a, b))
        return linear(jax.nn.silu(a) * b, down, 1, quantize)
    return _swiglu(x, gate, up, down, quantize)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _swiglu(x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array, quantize: str) -> jax.Array:
    return _swiglu_forward(x, gate, up, down, quantize)[0]


def _swiglu_forward(
    x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array, quantize: str
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    a, b = (constrain(_forward_product(x, w, quantize), "batch", "length", "mlp") for w in (gate, up))
    a, b = (checkpoint_name(y, PROJECTIONS) for y in (a, b))
    return _forward_product(jax.nn.silu(a) * b, down, quantize), (x, a, b, gate, up, down)


def _swiglu_backward(quantize: str, kept: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, ...]:
    x, a, b, gate, up, down = kept
    silu, slope = _silu_parts(a)
    d_hidden = input_gradient(g, down, quantize)
    d_a, d_b = d_hidden * b * slope, d_hidden * silu
    d_down = weight_gradient(silu * b, g)
    d_x = input_gradient(d_a, gate, quantize) + input_gradient(d_b, up, quantize)
    d_gate, d_up = weight_gradient(x, d_a), weight_gradient(x, d_b)
    return d_x, d_gate.astype(gate.dtype), d_up.astype(up.dtype), d_down.astype(down.dtype)


_swiglu.defvjp(_swiglu_forward, _swiglu_backward)
