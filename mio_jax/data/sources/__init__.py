"""Readers of raw sets that come inside ordinary Python packages."""

from mio_jax.data.sources.base import SOURCES, Source, source

__all__ = ["SOURCES", "Source", "source"]
