"""The persistent compilation cache: a resumed run starts in seconds, not after compiling again."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Keeps compiled programs under `$JAX_COMPILATION_CACHE_DIR`, or else the user's cache folder.

    The folder is named after the machine's processor, because programs compiled for one CPU may not run on another that
    shares the home directory. A folder that cannot be written only costs the time saved.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "mio_jax" / f"compiled-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _processor() -> str:
    """A short name of this machine's instruction set."""
    facts = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        facts += "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
