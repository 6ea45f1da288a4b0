"""mio_jax: any-to-any multimodal token models in JAX."""

__version__ = "0.1.0"
