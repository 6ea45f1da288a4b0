"""Unified-IO 2."""
