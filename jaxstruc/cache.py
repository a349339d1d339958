"""The persistent cache of JAX, which keeps compiled programs between runs."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from jaxstruc import files

MIN_COMPILE_SECONDS = 0.2
"""Shortest compilation time, in seconds, of a program that is kept."""
MAX_CACHE_BYTES = 2**30
"""Largest size of the cache in bytes. The oldest programs are removed first."""


def set_compilation_cache(enabled: bool) -> None:
    """Switch the cache of compiled programs on or off.

    The folder is `compilation_folder`, unless the environment variable `JAX_COMPILATION_CACHE_DIR` names another one.
    """
    if not enabled:
        jax.config.update("jax_enable_compilation_cache", False)
    elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(compilation_folder()))
        jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def compilation_folder() -> Path:
    """Return the folder of compiled programs. Each type of processor has its own folder, because programs differ."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else [platform.processor()]
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return files.cache_folder() / "compiled" / hashlib.sha256(processor.encode()).hexdigest()[:12]
