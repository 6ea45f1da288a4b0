"""The decoding engine; see README.md and docs/generation.md."""

from mio_jax.generate.engine import Engine as Engine
from mio_jax.generate.grammar import Grammar as Grammar
from mio_jax.generate.opening import engine_of as engine_of
from mio_jax.generate.sampling import SamplingConfig as SamplingConfig
