"""Files that are written completely or not at all, checksums, and the cache folder."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a new file. On success the new file replaces `path`, otherwise it is removed.

    The temporary path is unique, so that several processes can write the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield temporary_path
        os.replace(temporary_path, path)
    finally:
        temporary_path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with atomic_replacement(path) as temporary_path:
        temporary_path.write_text(
            text, encoding="utf-8", errors="backslashreplace"
        )  # the name of a file may not be valid text


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of the content of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache_folder() -> Path:
    """Return the cache folder: $JAXSTRUC_CACHE, or by default the folder `jaxstruc` in $XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("JAXSTRUC_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxstruc"
