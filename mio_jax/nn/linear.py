"""Matrix products whose gradients are written by hand, for two reasons.

On the CPU, XLA computes the weight gradient that autodiff asks for through a transposed copy of the wider operand,
fused with whatever made it: three times slower than transposing the narrower one. And activations that are cheap to
make again (the gated product) need not be kept.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mio_jax.nn.base import constrain, platform


def _forward_product(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.einsum("...d,df->...f", x, w.astype(x.dtype))


def input_gradient(g: jax.Array, w: jax.Array) -> jax.Array:
    """Of x in y = x w: [..., outputs] and [inputs, outputs] -> [..., inputs]."""
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


@jax.custom_vjp
def _linear(x: jax.Array, w: jax.Array) -> jax.Array:
    return _forward_product(x, w)


_linear.defvjp(
    lambda x, w: (_forward_product(x, w), (x, w)),
    lambda kept, g: (input_gradient(g, kept[1]), weight_gradient(kept[0], g).astype(kept[1].dtype)),
)


def linear(x: jax.Array, w: jax.Array, inputs: int = 1) -> jax.Array:
    """x w in x's dtype, contracting the last `inputs` axes of x with the first of w.

    [..., *ins] and [*ins, *outs] -> [..., *outs]. The gradient to w is accumulated in float32.
    """
    ins, outs = w.shape[:inputs], w.shape[inputs:]
    lead = x.shape[: x.ndim - inputs]
    assert x.shape[len(lead) :] == ins, (x.shape, w.shape)
    matrix = (math.prod(ins), math.prod(outs))
    return _linear(x.reshape(*lead, matrix[0]), w.reshape(matrix)).reshape(*lead, *outs)


def _silu_parts(gate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """silu(gate) and its derivative."""
    s = jax.nn.sigmoid(gate)
    return gate * s, s * (1.0 + gate * (1.0 - s))


@jax.custom_vjp
def swiglu(x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
    """(silu(x gate) * (x up)) down: x [B, T, D], gate and up [D, F], down [F, D]."""
    return _swiglu_forward(x, gate, up, down)[0]


def _swiglu_forward(
    x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    a, b = (constrain(_forward_product(x, w), "batch", "length", "mlp") for w in (gate, up))
    return _forward_product(jax.nn.silu(a) * b, down), (x, a, b, gate, up, down)


def _swiglu_backward(kept: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, ...]:
    x, a, b, gate, up, down = kept
    silu, slope = _silu_parts(a)
    d_hidden = input_gradient(g, down)
    d_a, d_b = d_hidden * b * slope, d_hidden * silu
    d_down = weight_gradient(silu * b, g)
    d_x = input_gradient(d_a, gate) + input_gradient(d_b, up)
    d_gate, d_up = weight_gradient(x, d_a), weight_gradient(x, d_b)
    return d_x, d_gate.astype(gate.dtype), d_up.astype(up.dtype), d_down.astype(down.dtype)


swiglu.defvjp(_swiglu_forward, _swiglu_backward)
