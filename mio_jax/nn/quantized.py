"""Matrix products in int8 or float8 through Qwix (the extra `quant`), for training as for decoding.

Both operands are scaled by their largest magnitude along the contraction, one scale for each token and each output, and
the product runs in the narrow type. The layers quantise the forward product and the gradient to the activations; the
gradient to the weights, which sums over all tokens, stays in the compute dtype.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError

NARROW = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}  # by `model.quantize`; gradients in fp8 have more exponent
NARROW_GRADIENT = {"int8": jnp.int8, "fp8": jnp.float8_e5m2}


def qwix() -> Any:
    """The library. Raises MioError naming the extra where it is not installed."""
    try:
        import qwix
    except ModuleNotFoundError as error:
        raise MioError(f"model.quantize needs {error.name}: pip install -e '.[quant]', or set it to none") from error
    return qwix


def narrow_product(x: jax.Array, w: jax.Array, kind: str) -> jax.Array:
    """x [..., D] times w [D, F] -> [..., F] in x's dtype. `kind`: a key of `NARROW`."""
    return _product(x, w, NARROW[kind], NARROW[kind], w_axis=0)


def narrow_input_gradient(g: jax.Array, w: jax.Array, kind: str) -> jax.Array:
    """g [..., F] times w [D, F] transposed -> [..., D] in g's dtype."""
    return _product(g, w, NARROW_GRADIENT[kind], NARROW[kind], w_axis=1)


def _product(x: jax.Array, w: jax.Array, x_type: Any, w_type: Any, w_axis: int) -> jax.Array:
    library, last = qwix(), x.ndim - 1
    narrow_x = library.quantize(x, x_type, channelwise_axes=tuple(range(last)))
    narrow_w = library.quantize(w.astype(x.dtype), w_type, channelwise_axes=(1 - w_axis,))
    return library.dot_general(narrow_x, narrow_w, (((last,), (w_axis,)), ((), ()))).astype(x.dtype)
