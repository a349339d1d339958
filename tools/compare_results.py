"""Compare the results of two versions of jaxstruc on fixed inputs.

    python tools/compare_results.py run build/results-before     # with the version before a change
    python tools/compare_results.py run build/results-after      # with the version after it
    python tools/compare_results.py compare build/results-before build/results-after

`run` makes the inputs with NumPy and ASE only, so that both versions read the same bytes. It then calls the command
line of the jaxstruc that Python imports, and keeps the folders that the commands write. `compare` reads every table and
curve in two such folders. Two numbers agree if they are equal to 1e-5, or to 1 % of the standard error if the row
states one. The exit status is 1 if anything differs. A run takes about five minutes on two cores.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.lattice.hexagonal import HexagonalClosedPacked

RELATIVE_TOLERANCE = 1e-5
ERROR_FRACTION = 0.01
"""Fraction of the standard error by which two values may differ."""
SIGMAS_IN_90_PERCENT = 3.29
"""Width of a central 90 % interval of a normal distribution, in standard deviations."""
IGNORED_COLUMNS = {"seconds", "version"}
"""Names of columns that are not compared."""
RENAMED_COLUMNS = {
    "verdict": "sample",
    "rw_unseen": "rw_holdout",
    "rw_unseen_single": "rw_holdout_single",
    "mean_low": "mean_diameter_low",
    "mean_high": "mean_diameter_high",
    "size_seen": "diameter_estimate",
    "kept": "n_screened",
    "effective": "effective_samples",
    "glance": "classifier_types",
    "p_type": "type_probability",
    "cluster": "recipe",
}
"""New names of renamed columns (docs/migration.md), so that folders with old and new names can be compared."""
SHAPE_ATOMS = {"Pt201": 201, "Ag147": 147, "Au75": 75, "Co_hcp": 120, "Pd85": 85}
"""Number of atoms of each simulated particle."""
QMIN, QMAX, QSTEP = 0.8, 22.0, 0.01  # in 1/Å
QDAMP, UISO, NOISE = 0.03, 0.006, 0.03  # in 1/Å, in Å², relative to the root mean square of F


def clusters() -> dict[str, np.ndarray]:
    """Return the positions of the simulated particles, in Å."""
    hcp = HexagonalClosedPacked(symbol="Co", size=(9, 9, 7)).positions
    nearest_centre = np.argsort(np.linalg.norm(hcp - hcp.mean(axis=0), axis=1))
    return {
        "Pt201": Octahedron("Pt", 7, cutoff=2).positions,
        "Ag147": Icosahedron("Ag", 4).positions,
        "Au75": Decahedron("Au", 2, 2, 2).positions,
        "Co_hcp": hcp[nearest_centre[:120]],
        "Pd85": Octahedron("Pd", 5).positions,
    }


def write_gr(path: Path, positions: np.ndarray, *, noise: float, seed: int) -> None:
    """Write G(r) of a cluster of one element, computed with the Debye equation in double precision."""
    q = np.arange(QMIN, QMAX + QSTEP / 2, QSTEP)
    rows, columns = np.triu_indices(len(positions), 1)
    distances = np.linalg.norm(positions[rows] - positions[columns], axis=1)
    f = np.zeros_like(q)
    for chunk in np.array_split(distances, max(1, len(distances) // 2000)):
        f += np.sum(np.sin(q[:, None] * chunk) / chunk, axis=1)
    f *= 2 * np.exp(-UISO * q**2) / len(positions)
    f += noise * np.sqrt(np.mean(f**2)) * np.random.default_rng(seed).normal(size=f.shape)
    r = np.arange(0.0, 30.005, 0.01)
    g = 2 / np.pi * QSTEP * np.sin(r[:, None] * q) @ f * np.exp(-0.5 * (QDAMP * r) ** 2)
    header = f"[DEFAULT]\nqmin={QMIN}\nqmax={QMAX}\n#### start data\n#L r($\\AA$)  G($\\AA^{{-2}}$)\n"
    path.write_text(header + "".join(f"{a:.2f} {b:.8f}\n" for a, b in zip(r, g, strict=True)))


def write_iq(path: Path, radius: float, pd: float, *, seed: int) -> None:
    """Write I(Q) of spheres with a normal distribution of radii (in Å) and counting noise."""
    q = np.linspace(0.01, 0.4, 200)
    radii = radius * (1 + pd * np.linspace(-3, 3, 121))
    share = np.exp(-0.5 * ((radii / radius - 1) / pd) ** 2)
    x = q[:, None] * radii
    amplitude = 3 * (np.sin(x) - x * np.cos(x)) / x**3 * radii**3
    intensity = amplitude**2 @ share
    counts = 1e5 * intensity / intensity[0] + 1.0
    sigma = np.sqrt(counts)
    observed = counts + sigma * np.random.default_rng(seed).normal(size=q.shape)
    lines = (f"{a:.6f} {b:.6f} {c:.6f}\n" for a, b, c in zip(q, observed, sigma, strict=True))
    path.write_text("# Q(1/A) I sigma\n" + "".join(lines))


def write_xyz(path: Path, symbol: str, positions: np.ndarray) -> None:
    """Write a cluster of one element to an XYZ file."""
    rows = "".join(f"{symbol} {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in positions)
    path.write_text(f"{len(positions)}\n{path.stem}\n{rows}")


def write_inputs(folder: Path) -> None:
    """Write the simulated measurements and structures."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, positions) in enumerate(clusters().items()):
        write_gr(folder / f"{name}.gr", positions, noise=NOISE, seed=seed)
        write_xyz(folder / f"{name}.xyz", name[:2], positions)
    write_xyz(folder / "Pt85.xyz", "Pt", Octahedron("Pt", 5).positions)
    for seed, (radius, pd) in enumerate([(35.0, 0.06), (60.0, 0.2), (20.0, 0.1)]):
        write_iq(folder / f"sphere{radius:.0f}.dat", radius, pd, seed=seed)


def commands(inputs: Path) -> dict[str, list[str]]:
    """Return the arguments of each command without `-o`, by the name of its output folder."""
    gr = {name: str(inputs / f"{name}.gr") for name in SHAPE_ATOMS}
    xyz = {name: str(inputs / f"{name}.xyz") for name in SHAPE_ATOMS}
    iq = [str(inputs / f"sphere{radius}.dat") for radius in (35, 60, 20)]
    short = "--element Pt --family fcc --members 8".split()
    return {
        "solve_Ag": ["solve", "examples/Ag68_simulated.gr", "--element", "Ag"],
        "solve_Pt": ["solve", gr["Pt201"], "--element", "Pt"],
        "solve_library": ["solve", gr["Ag147"], "--element", "Ag", "--sources", "library", "--max-atoms", "400"],
        "solve_plain": ["solve", gr["Au75"], "--element", "Au", "--search", "none", "--screen", "none"],
        "mine_Ag": ["mine", gr["Ag147"], "--element", "Ag"],
        "mine_Co": ["mine", gr["Co_hcp"], "--element", "Co"],
        "mine_free": ["mine", gr["Pd85"], "--element", "Pd", "--ensemble", "free"],
        "mine_all": ["mine", gr["Au75"], "--element", "Au", "--screen", "none", "--max-atoms", "300"],
        "refine_Pt": [
            "refine",
            xyz["Pt201"],
            str(inputs / "Pt85.xyz"),
            gr["Pt201"],
            "--free",
            "scale",
            "stretch",
            "uiso",
            "delta2",
        ],
        "refine_relaxed": ["refine", xyz["Au75"], gr["Au75"], "--coordinates"],
        "refine_qdamp": ["refine", xyz["Ag147"], gr["Ag147"], "--free", "scale", "stretch", "uiso", "qdamp"],
        "classify_Pt": ["classify", gr["Pt201"], "--element", "Pt"],
        "classify_Ag": ["classify", gr["Ag147"], "--element", "Ag"],
        "classify_Co": ["classify", gr["Co_hcp"], "--element", "Co"],
        "saxs_all": ["saxs", iq[0], "--element", "Au"],
        "saxs_sphere": ["saxs", iq[1], "--element", "Au", "--body", "sphere"],
        "saxs_normal": ["saxs", iq[2], "--body", "sphere", "cube", "--distribution", "gaussian"],
        "simulate_gr": ["simulate", xyz["Au75"], "--signal", "gr", "--uiso", "0.005", "--qdamp", "0.03"],
        "simulate_iq": ["simulate", xyz["Co_hcp"], "--signal", "iq", "--qmax", "20"],
        "simulate_balls": ["simulate", *short, "--distribution", "lognormal", "--mean", "20", "--width", "0.2"],
    }


def run(folder: Path) -> None:
    """Write the inputs and run every command that has no output folder yet."""
    write_inputs(folder / "inputs")
    for name, arguments in commands(folder / "inputs").items():
        out = folder / name
        if out.exists():
            continue
        # The command writes to a temporary folder first, so that the final one appears only when it is complete.
        part = folder / f"{name}.part"
        target = part / "curve.dat" if arguments[0] == "simulate" else part
        part.mkdir(exist_ok=True)
        print(" ".join(["jaxstruc", *arguments]), flush=True)
        subprocess.run([sys.executable, "-m", "jaxstruc", *arguments, "-o", str(target)], check=True)
        part.rename(out)


def tables(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of all tables and curves in a folder, by path."""
    tables_by_path = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            tables_by_path[str(path.relative_to(folder))] = [
                {RENAMED_COLUMNS.get(name, name): value for name, value in row.items()} for row in rows
            ]
        elif path.name.startswith("curve."):
            values = np.loadtxt(path, comments="#", ndmin=2)
            rows = [{str(number): repr(float(value)) for number, value in enumerate(row)} for row in values]
            tables_by_path[str(path.relative_to(folder))] = rows
    return tables_by_path


def allowed_difference(row: dict[str, str], name: str, largest: float) -> float:
    """Return the allowed difference of a value: a fraction of `largest`, or of the standard error if that is more."""
    allowed = RELATIVE_TOLERANCE * largest
    stem = name.removesuffix("_low").removesuffix("_high").removesuffix("_error")
    stem = {"n": "n_atoms"}.get(stem, stem)
    low, high = (row.get(f"{'n' if stem == 'n_atoms' else stem}_{end}") for end in ("low", "high"))
    if low and high:
        allowed = max(allowed, ERROR_FRACTION * abs(float(high) - float(low)) / SIGMAS_IN_90_PERCENT)
    if error := row.get(f"{stem}_error"):
        allowed = max(allowed, ERROR_FRACTION * abs(float(error)))
    return allowed


def as_number(text: str) -> float | None:
    """Return the number in a cell, or None if the cell is a text."""
    try:
        return float(text)
    except ValueError:
        return None


def column_difference(name: str, before: list[dict[str, str]], after: list[dict[str, str]], *, curve: bool) -> str:
    """Return a line that states how much a column differs, or an empty text if all its cells agree.

    Args:
        name: Name of the column.
        before: Rows of the first version.
        after: Rows of the second version.
        curve: Whether the rows are points of a curve. Their allowed difference is then relative to the largest value.
    """
    numbers = [as_number(row[name]) for row in before]
    largest = max((abs(number) for number in numbers if number is not None and np.isfinite(number)), default=0.0)
    excesses = []
    for old, new in zip(before, after, strict=True):
        first, second = as_number(old[name]), as_number(new[name])
        if first is None or second is None:
            excesses.append(0.0 if old[name] == new[name] else np.inf)
            continue
        allowed = allowed_difference(old, name, largest if curve else max(abs(first), abs(second)))
        both_nan = np.isnan(first) and np.isnan(second)
        excesses.append(0.0 if both_nan or first == second else abs(first - second) / max(allowed, 1e-300))
    count = sum(not excess <= 1.0 for excess in excesses)
    if not count:
        return ""
    worst = max(range(len(excesses)), key=lambda row: np.inf if np.isnan(excesses[row]) else excesses[row])
    times = f", {excesses[worst]:.3g} times the allowed difference" if np.isfinite(excesses[worst]) else ""
    cells = f"{before[worst][name]!r} -> {after[worst][name]!r}"
    return f"{name}: {count} of {len(before)} cells differ, most in row {worst + 1}: {cells}{times}"


def differences(before: list[dict[str, str]], after: list[dict[str, str]], *, curve: bool) -> Iterator[str]:
    """Yield a line for each column in which two tables differ."""
    if len(before) != len(after):
        yield f"{len(before)} rows before, {len(after)} after"
        return
    if missing := set(before[0] if before else {}) - set(after[0] if after else {}):
        yield f"missing columns: {' '.join(sorted(missing))}"
    for name in before[0] if before else {}:
        if name in after[0] and name not in IGNORED_COLUMNS:
            if line := column_difference(name, before, after, curve=curve):
                yield line


def compare(before: Path, after: Path) -> int:
    """Print the differences of two folders and return the number of differing columns."""
    old, new = tables(before), tables(after)
    count = 0
    for path in sorted(old.keys() | new.keys()):
        if path not in old or path not in new:
            print(f"{path}: only {'before' if path in old else 'after'}")
            count += 1
            continue
        is_curve = "/fits/" in path or "/distribution/" in path or "/curve." in path
        for line in differences(old[path], new[path], curve=is_curve):
            print(f"{path}: {line}")
            count += 1
    print(f"{len(old)} tables and curves compared, {count} differences")
    return count


def main() -> int:
    """Run the action that the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("run", help="write the inputs and run every command").add_argument("folder", type=Path)
    comparison = actions.add_parser("compare", help="compare two folders written by run")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "run":
        run(arguments.folder)
        return 0
    return int(compare(arguments.before, arguments.after) > 0)


if __name__ == "__main__":
    sys.exit(main())
