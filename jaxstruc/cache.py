"""Compiled programs kept between runs, by JAX's own cache."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from jaxstruc import files

MIN_COMPILE_SECONDS = 0.2
"""What takes longer to compile than this is kept."""
MAX_CACHE_BYTES = 2**30
"""Bytes kept; the oldest go first."""


def set_compilation_cache(enabled: bool) -> None:
    """Let JAX keep what it compiles in the cache folder, apart for each kind of processor; or not.

    A folder that the environment names (`JAX_COMPILATION_CACHE_DIR`) stays.
    """
    if not enabled:
        jax.config.update("jax_enable_compilation_cache", False)
    elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(compilation_folder()))
        jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def compilation_folder() -> Path:
    """Return where compiled programs lie: those of one processor do not run on another."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else [platform.processor()]
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return files.cache_folder() / "compiled" / hashlib.sha256(processor.encode()).hexdigest()[:12]
