"""Readers of raw sets: those that come inside ordinary Python packages, and those in a folder of the user's."""

from mio_jax.data.sources.base import FOLDER_SOURCES, SOURCES, Source, source

__all__ = ["FOLDER_SOURCES", "SOURCES", "Source", "source"]
