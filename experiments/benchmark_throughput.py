"""Number of measured files answered per second, and time to the first answer, for whole commands.

    python experiments/benchmark_throughput.py                 # half an hour on 2 CPU cores
    python experiments/benchmark_throughput.py mine first      # some parts
    python experiments/benchmark_throughput.py --quick         # few files and a small library; writes nothing

The commands run as a user runs them, and their times contain the start of the process. Files of PDFs hold gold
particles of 35 to 320 atoms that the library does not list, with 3 % of noise. Files of small angles hold spheres with
200 points. All programs are compiled by an earlier run of the same command on a few other files, and the library is
built ("warm"), except in the part "first". In the parts with shards, two processes share the files.

The parts "first" are the example of the repository with `solve`: without any cache, with the library and all programs
kept, and the same in Python in a new process. The expected rates and times are in `benchmark_tables`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import json_rows
import numpy as np
import simulated_saxs
import synthetic_particles
import unlisted_particles
from benchmark_tables import EXPECTED_RATES, EXPECTED_SECONDS

from jaxstruc.clusters.distances import histogram
from jaxstruc.scattering import form_factors

RESULTS = Path(__file__).parent / "results" / "benchmark_throughput.jsonl"
EXAMPLE = Path(__file__).parents[1] / "examples" / "Ag68_simulated.gr"
ELEMENT, QMAX, QDAMP, NOISE, RMAX, PAIR_BIN = "Au", 24.0, 0.03, 0.03, 30.0, 0.002
N_FIRST = 3
"""Number of runs of each part "first", whose median is reported."""
FIRST_SEED, WARM_SEED = 0, 10_000
"""First seed of the measured files and of the files of the earlier run."""


class Part(NamedTuple):
    """A command on simulated files."""

    arguments: tuple[str, ...]
    n_files: int
    n_shards: int = 1


PARTS = {
    "solve": Part(("solve", "--element", ELEMENT), 16),
    "solve, two shards": Part(("solve", "--element", ELEMENT), 16, 2),
    "mine": Part(("mine", "--element", ELEMENT), 16),
    "mine, two shards": Part(("mine", "--element", ELEMENT), 16, 2),
    "mine --ensemble none": Part(("mine", "--element", ELEMENT, "--ensemble", "none"), 32),
    "classify": Part(("classify", "--element", ELEMENT), 2000),
    "saxs": Part(("saxs",), 200),
}
FIRST_PARTS = ("first", "first, programs kept", "first in Python, programs kept")
PYTHON_SCRIPT = "import sys, jaxstruc; print(jaxstruc.solve(jaxstruc.read(sys.argv[1]), element='Ag').best.n_atoms)"


def write_pdf(path: Path, seed: int) -> None:
    """Write the G(r) of a particle that the library does not list, with its settings in the header."""
    rng = np.random.default_rng([29, seed])
    kind = synthetic_particles.OFF_RULE_KINDS[seed % len(synthetic_particles.OFF_RULE_KINDS)]
    particle = synthetic_particles.draw_off_rule_particle(kind, rng)
    positions = particle.positions * form_factors.bond_length(ELEMENT)
    pairs = histogram(positions, width=PAIR_BIN)
    values = {"qmin": rng.uniform(0.6, 1.2), "qmax": QMAX, "uiso": rng.uniform(0.004, 0.01), "delta2": 2.5}
    q, f = unlisted_particles.pair_structure_function(
        np.asarray(pairs.mean, float), np.asarray(pairs.weight, float) / len(positions), values
    )
    r, g = unlisted_particles.noisy_pdf(q, f, QDAMP, NOISE, RMAX, rng)
    header = f"qmin = {values['qmin']:.4f}\nqmax = {QMAX}\nqdamp = {QDAMP}\n#L r(A) G(A-2)\n"
    path.write_text(header + "".join(f"{x:.3f} {y:.6f}\n" for x, y in zip(r, g, strict=True)))


def write_saxs(path: Path, seed: int) -> None:
    """Write the small-angle curve of spheres with Gaussian sizes."""
    rng = np.random.default_rng([31, seed])
    q = np.linspace(0.01, rng.uniform(0.3, 0.5), 200)
    curve = simulated_saxs.sphere_intensity(q, [(rng.uniform(25, 60), rng.uniform(0.05, 0.2), 1.0)])
    measurement = simulated_saxs.simulate_measurement(path.stem, q, curve, rng, counts=1e5)
    lines = (
        f"{x:.6f} {y:.8g} {s:.4g}\n"
        for x, y, s in zip(measurement.q, measurement.intensity, measurement.sigma, strict=True)
    )
    path.write_text("# Q (1/A) I sigma\n" + "".join(lines))


def write_files(folder: Path, command: str, count: int, first_seed: int) -> list[Path]:
    """Write simulated files for a command and return their paths. Files of `classify` repeat 50 curves."""
    write: Callable[[Path, int], None] = write_saxs if command == "saxs" else write_pdf
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.{'dat' if command == 'saxs' else 'gr'}" for number in range(count)]
    for number, path in enumerate(paths):
        if command == "classify" and number >= 50:
            shutil.copy(paths[number % 50], path)
        else:
            write(path, first_seed + number)
    return paths


def run(commands: Sequence[Sequence[object]], cache: Path) -> float:
    """Run commands side by side and return the time in seconds until all have ended.

    Raises:
        RuntimeError: If a command fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment["JAXSTRUC_CACHE"] = str(cache)
    start_time = time.perf_counter()
    processes = [
        subprocess.Popen(
            list(map(str, (sys.executable, *command))), env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    for process in processes:
        _, error = process.communicate()
        if process.returncode:
            raise RuntimeError(f"Expected the exit status 0, got {process.returncode}: {error[-500:]}")
    return time.perf_counter() - start_time


def measure_part(name: str, folder: Path, cache: Path, *, library: tuple[str, ...], max_files: int) -> dict:
    """Return the row of a part: number of files, seconds and files per second."""
    part, command = PARTS[name], PARTS[name].arguments[0]
    options = (*part.arguments, *(library if command in ("solve", "mine") else ()))
    n_files = min(part.n_files, max_files)
    warm_files = write_files(folder / "warm", command, min(7, n_files), WARM_SEED)
    measured_files = write_files(folder / "measured", command, n_files, FIRST_SEED)
    run([("-m", "jaxstruc", *options, *warm_files, "-o", folder / "warm-out")], cache)
    shards = [("--shard", f"{number}/{part.n_shards}") for number in range(1, part.n_shards + 1)]
    seconds = run(
        [
            ("-m", "jaxstruc", *options, *measured_files, *(shard if part.n_shards > 1 else ()), "-o", folder / "out")
            for shard in shards
        ],
        cache,
    )
    return {"part": name, "n_files": n_files, "seconds": seconds, "files_per_second": n_files / seconds}


def measure_first(name: str, folder: Path, kept_cache: Path, *, library: tuple[str, ...]) -> dict:
    """Return the row of a first answer: the median time in seconds of a whole process."""
    command: tuple[object, ...] = ("-m", "jaxstruc", "solve", EXAMPLE, "--element", "Ag", *library)
    if "Python" in name:
        command = ("-c", PYTHON_SCRIPT, EXAMPLE)
    times = []
    for number in range(N_FIRST):
        cache = folder / f"cache{number}" if name == "first" else kept_cache
        out = () if "Python" in name else ("-o", folder / f"out{number}")
        if number == 0 and name != "first":
            run([(*command, *out)], cache)
            shutil.rmtree(folder, ignore_errors=True)
        times.append(run([(*command, *out)], cache))
    return {"part": name, "n_files": 1, "seconds": float(np.median(times)), "all_seconds": times}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the selected parts, print their rows and replace those of earlier runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join((*PARTS, *FIRST_PARTS)) + "; by default all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="few files and a small library; writes nothing")
    options = parser.parse_args(arguments)
    names = options.parts or [*PARTS, *FIRST_PARTS]
    if unknown := [name for name in names if name not in EXPECTED_RATES | EXPECTED_SECONDS]:
        parser.error(f"expected parts of {', '.join(EXPECTED_RATES | EXPECTED_SECONDS)}, got {', '.join(unknown)}")
    library = ("--families", "octahedron", "icosahedron", "--max-atoms", "100") if options.quick else ()
    out = None if options.quick else options.out
    for name in names:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as first_cache:
            cache = Path(first_cache) if options.quick else Path(tempfile.gettempdir()) / "benchmark_throughput_cache"
            if name in PARTS:
                row = measure_part(name, Path(folder), cache, library=library, max_files=2 if options.quick else 10**6)
            else:
                row = measure_first(name, Path(folder) / "first", cache, library=library)
        json_rows.print_row(row)
        if out:
            rows = [earlier for earlier in json_rows.read_lines(out) if earlier["part"] != name]
            json_rows.write_lines([*rows, row | json_rows.provenance()], out)


if __name__ == "__main__":
    main()
