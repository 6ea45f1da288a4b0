"""Readers of raw sets: those that come inside ordinary Python packages, and those in a folder of the user's."""

from mio_jax.data.sources.base import FOLDER_SOURCES, SOURCES, Source, source
from mio_jax.data.sources.places import Place, folder_name, open_place, place_of, seen_of, sets_at_hand

__all__ = [
    "FOLDER_SOURCES",
    "SOURCES",
    "Place",
    "Source",
    "folder_name",
    "open_place",
    "place_of",
    "seen_of",
    "sets_at_hand",
    "source",
]
