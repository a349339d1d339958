"""Compiled programs kept between runs, by JAX's own cache."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from jaxstruc import files

SECONDS = 0.2
"""What takes longer to compile than this is kept."""
LARGEST = 2**30
"""Bytes kept; the oldest go first."""


def keep(wanted: bool) -> None:
    """Let JAX keep what it compiles in the cache folder, apart for each kind of processor; or not.

    A folder that the environment names (`JAX_COMPILATION_CACHE_DIR`) stays.
    """
    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder()))
        jax.config.update("jax_compilation_cache_max_size", LARGEST)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)


def folder() -> Path:
    """Return where compiled programs lie: those of one processor do not run on another."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else [platform.processor()]
    kind = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return files.cache_folder() / "compiled" / hashlib.sha256(kind.encode()).hexdigest()[:12]
