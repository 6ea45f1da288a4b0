"""Structured values as tokens: boxes and points."""

from mio_tokenizers.structured.location import COORDINATES, LocationTokenizer

__all__ = ["COORDINATES", "LocationTokenizer"]
