"""Functions that print, read and write rows of results, and that return their provenance."""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import jax

import jaxstruc
from jaxstruc import files


def environment() -> dict:
    """Return the device and the versions of Python, jaxstruc and its main dependencies."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = f"cpu, {cores} cores" if device.platform == "cpu" else device.device_kind
    versions = {package: version(package) for package in ("jax", "jaxlib", "numpy")}
    return {
        "device": name,
        "versions": {"python": platform.python_version(), "jaxstruc": jaxstruc.__version__, **versions},
    }


def peak_gigabytes() -> float:
    """Return the peak memory of this process in GB, or NaN if the system does not report it.

    `getrusage` is not used, because it returns the peak of the parent process if this was larger.
    """
    status = Path("/proc/self/status")
    return float(status.read_text().split("VmHWM:")[1].split()[0]) / 1e6 if status.exists() else float("nan")


def commit() -> str:
    """Return the commit of the code, followed by "+" if files differ from it, or "" outside a repository."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=9",
        "--dirty=+",
        "--exclude=*",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def provenance() -> dict:
    """Return the environment and the commit."""
    return {**environment(), "commit": commit()}


def print_row(row: dict) -> None:
    """Print a row as one line of JSON."""
    print(json.dumps(row), flush=True)


def read_lines(path: Path | None) -> list[dict]:
    """Return the rows of a file of JSON lines, or an empty list if there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path and path.exists() else []


def append_line(row: dict, path: Path | None) -> None:
    """Append a row to a file of JSON lines, unless the path is None."""
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def write_list(rows: list[dict], path: Path) -> None:
    """Write rows as a JSON list to a file, which appears only when it is complete."""
    files.write_text(path, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def write_lines(rows: list[dict], path: Path) -> None:
    """Write rows as JSON lines to a file, which appears only when it is complete."""
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
