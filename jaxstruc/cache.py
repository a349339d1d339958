"""The persistent cache of JAX, which keeps compiled programs between runs."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

import jax
import jaxlib.version

from jaxstruc import files

MIN_COMPILE_SECONDS = 0.0
"""Shortest compilation time, in seconds, of a program that is kept. All are kept, because a command uses many programs
that compile quickly."""
MAX_CACHE_BYTES = 2**30
"""Largest size of the cache in bytes. The oldest programs are removed first."""


def set_compilation_cache(enabled: bool) -> None:
    """Switch the cache of compiled programs on or off.

    The folder is `compilation_folder`, unless the environment variable `JAX_COMPILATION_CACHE_DIR` names another one.
    """
    if not enabled:
        jax.config.update("jax_enable_compilation_cache", False)
    elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = compilation_folder()
        with contextlib.suppress(OSError):  # JAX then works without a cache
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def use_compilation_cache() -> None:
    """Switch the cache on for the functions of `import jaxstruc`, unless the user has configured a cache of JAX."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        set_compilation_cache(True)


def compilation_folder() -> Path:
    """Return the folder of compiled programs. Each type of processor and version of JAX has its own folder."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else [platform.processor()]
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    key = f"{jax.__version__} {jaxlib.version.__version__} {processor}"
    return files.cache_folder() / "compiled" / hashlib.sha256(key.encode()).hexdigest()[:12]
