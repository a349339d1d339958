"""Rows of results: what they were made with, how they are shown and written."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

import jaxstruc
from jaxstruc import files


def environment() -> dict:
    """Return the device and the versions that a result depends on."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = f"cpu, {cores} cores" if device.platform == "cpu" else device.device_kind
    versions = {package: version(package) for package in ("jax", "jaxlib", "numpy")}
    return {
        "device": name,
        "versions": {"python": platform.python_version(), "jaxstruc": jaxstruc.__version__, **versions},
    }


def show(row: dict) -> None:
    """Print a row as one line of JSON."""
    print(json.dumps(row), flush=True)


def write(rows: list[dict], path: Path) -> None:
    """Write rows as a JSON list, whole or not at all."""
    files.write_text(path, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
