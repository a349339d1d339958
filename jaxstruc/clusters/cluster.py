"""Containers of a cluster, their conversion to and from ASE, and the reader of structure files.

A `Structure` holds padded arrays in Å. A `Cluster` has a name and a nearest-neighbour distance of 1.
"""

import contextlib
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import ase
import ase.io
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial.distance import pdist

MIN_ATOM_DISTANCE = 0.85
"""Smallest plausible distance between two atoms, in units of the bond length."""
MAX_CLUSTER_ATOMS = 5000
"""Largest number of atoms in a cluster of the user."""
MAX_CLUSTER_DIAMETER = 1000.0
"""Largest distance in a cluster of the user, in Å. The distances are counted in bins up to this one."""
MAX_STRUCTURE_FILE_BYTES = 64 * 2**20
"""Largest size of a structure file, in bytes."""
MAX_ERROR_CHARACTERS = 200
"""Largest number of characters that a message quotes from an error of ASE."""
MAX_FRAMES = 10_000
"""Largest number of structures (frames) in a file."""
FRAME_NOTATION = re.compile(r"(.+)@(-?\d+|-?\d*:-?\d*(?::-?\d*)?)")
"""Path and frames in the notation of ASE: name.xyz@2 is the third structure, name.xyz@0:2 are the first two."""


class Structure(NamedTuple):
    """A cluster of atoms as padded arrays. Padding rows have number 0, position 0 and mask False."""

    positions: Float[Array, "atom 3"]
    """Cartesian coordinates in Å."""
    numbers: Int[Array, " atom"]
    """Atomic numbers."""
    mask: Bool[Array, " atom"]
    """True for atoms, False for padding."""


class Cluster(NamedTuple):
    """A cluster with a nearest-neighbour distance of 1, and the labels that identify it."""

    family: str
    """Name of the family, a key of `families.FAMILIES` for a cluster of the library."""
    label: str
    """Parameters within the family, e.g. "layers 2-3-4 of (100)(110)(111)"."""
    positions: np.ndarray
    """Positions [atom, 3] in units of the nearest-neighbour distance."""

    def to_ase(self, symbol: str, bond: float) -> ase.Atoms:
        """Return the atoms of the cluster as an element with the nearest-neighbour distance `bond` in Å."""
        return ase.Atoms([symbol] * len(self.positions), positions=self.positions * bond)


def read_atoms(path: Path) -> ase.Atoms:
    """Return the atoms of a file with one structure, in any format that ASE reads. The positions are in Å.

    Args:
        path: Structure file. If it has several structures (frames), a number selects one, e.g. name.xyz@2.

    Raises:
        ValueError: If the file does not exist, if ASE cannot read it, if it has several structures and none is
            selected, or if it has no atoms at finite positions. The message names the file.
    """
    frames = read_frames(path)
    if len(frames) > 1:
        (first_name, *_, last_name) = frames
        raise ValueError(
            f"Expected one structure, got {len(frames)} in {path}; choose one from {first_name} to {last_name}."
        )
    return next(iter(frames.values()))


def split_frames(path: Path) -> tuple[Path, str]:
    """Return the path of a structure file, and the frames that follow it after an "@"; "" if there are none."""
    match = FRAME_NOTATION.fullmatch(str(path))
    return (path, "") if match is None or path.is_file() else (Path(match[1]), match[2])


def read_frames(path: Path) -> dict[str, ase.Atoms]:
    """Return the atoms of all structures (frames) in a file by their names. The positions are in Å.

    The name of the only structure of a file is the path. The names of several structures are path@0, path@1, ..., as in
    ASE.

    Args:
        path: Structure file. Frames after an "@" select some structures, e.g. name.xyz@2 or name.xyz@0:2.

    Raises:
        ValueError: If the file does not exist, if ASE cannot read it, if it has too many structures or not the selected
            ones, or if one has no atoms at finite positions. The message names the file.
    """
    path, selection = split_frames(path)
    frames = _read_all_frames(path)
    names = [str(path)] if len(frames) == 1 else [f"{path}@{number}" for number in range(len(frames))]
    named_frames = list(zip(names, frames, strict=True))
    if ":" in selection:
        named_frames = named_frames[slice(*(int(bound) if bound else None for bound in selection.split(":")))]
    elif selection:
        named_frames = named_frames[int(selection) : int(selection) + 1 or None]
    if not named_frames:
        raise ValueError(
            f"Expected frames of {path}, which has {len(frames)}, got {path}@{selection}; the first one is {path}@0."
        )
    for name, atoms in named_frames:
        check_atoms(atoms, name)
    return dict(named_frames)


def _read_all_frames(path: Path) -> list[ase.Atoms]:
    """Return all structures of a file.

    Raises:
        ValueError: If the file does not exist, if ASE cannot read it, or if it has too many structures.
    """
    if not path.is_file():
        raise ValueError(f"Expected a structure file, got {path}, which does not exist; check the path.")
    if path.stat().st_size > MAX_STRUCTURE_FILE_BYTES:
        raise ValueError(
            f"Expected a structure file of at most {MAX_STRUCTURE_FILE_BYTES >> 20} MB, got {path}; convert it, or "
            "leave it out."
        )
    try:
        if path.suffix.lower() in (".xyz", ".extxyz"):
            _check_counts(path)
        with warnings.catch_warnings(action="ignore"):
            frames = ase.io.read(path, index=slice(0, MAX_FRAMES + 1), do_not_split_by_at_sign=True)
        if not frames:
            raise ValueError("it has no structure")
    except Exception as error:  # the readers of ASE raise many types of errors on a damaged file
        reason = " ".join(str(error).split())[:MAX_ERROR_CHARACTERS] or type(error).__name__
        raise ValueError(
            f"Expected a structure file that ASE reads, such as .xyz, .cif or .pdb, got {path}: {reason}; "
            "convert it, or leave it out."
        ) from error
    if len(frames) > MAX_FRAMES:
        raise ValueError(f"Expected at most {MAX_FRAMES} structures in a file, got more in {path}; split it.")
    return [atoms if isinstance(atoms, ase.Atoms) else ase.Atoms() for atoms in frames]


def check_atoms(atoms: ase.Atoms, source: str) -> None:
    """Check that a structure has atoms and that their positions are finite.

    Args:
        atoms: Structure that is checked.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If there are no atoms, or if a position is not finite. The message names the source.
    """
    if not len(atoms):
        raise ValueError(f"Expected a structure with atoms, got {source} with none; correct it.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"Expected finite positions, got NaN or infinity in {source}; correct it.")


def read_clusters(path: Path) -> dict[str, ase.Atoms]:
    """Return all clusters of one element in a structure file by their names, see `read_frames`.

    The unit cell is ignored. The positions are in Å.

    Raises:
        ValueError: If `read_frames` cannot read the file, or if a structure is not a cluster of one element. The
            message names the structure.
    """
    frames = read_frames(path)
    for name, atoms in frames.items():
        check_cluster(atoms, name)
    return frames


def check_cluster(atoms: ase.Atoms, source: str) -> None:
    """Check that a structure is a cluster of one element.

    Args:
        atoms: Structure that is checked.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If the number of atoms, the elements or the distances are not those of such a cluster. The message
            names the source.
    """
    check_atoms(atoms, source)
    if not 2 <= len(atoms) <= MAX_CLUSTER_ATOMS:
        raise ValueError(
            f"Expected 2 to {MAX_CLUSTER_ATOMS} atoms in a cluster, got {len(atoms)} in {source}; leave it out."
        )
    if len(elements := sorted(set(atoms.get_chemical_symbols()))) > 1:
        raise ValueError(
            f"Expected one element, got {', '.join(elements)} in {source}; keep only the atoms of the metal."
        )
    distances = pdist(atoms.positions)
    if distances.min() < 0.5:
        raise ValueError(
            f"Expected distances of at least 0.5 Å between atoms, got {distances.min():.2g} Å in {source}; correct it."
        )
    if distances.max() > MAX_CLUSTER_DIAMETER:
        raise ValueError(
            f"Expected a cluster of up to {MAX_CLUSTER_DIAMETER:g} Å, got {distances.max():.3g} in {source}; "
            "correct it."
        )


def from_ase(atoms: ase.Atoms, *, n_rows: int | None = None) -> Structure:
    """Return the padded structure of a cluster.

    Args:
        atoms: Cluster with positions in Å. Its unit cell and its boundary conditions are not used.
        n_rows: Number of rows of the arrays, at least the number of atoms. The default is the number of atoms.

    Raises:
        ValueError: If there are no atoms or more than `n_rows`, or if a position is not finite.
    """
    n_atoms = len(atoms)
    n_rows = n_atoms if n_rows is None else n_rows
    if not 0 < n_atoms <= n_rows:
        raise ValueError(f"Expected 1 to {n_rows} atoms, got {n_atoms}; pass a larger n_rows.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError("Expected finite positions, got NaN or infinity; correct the structure.")
    padding = (0, n_rows - n_atoms)
    return Structure(
        positions=jnp.asarray(np.pad(atoms.positions, (padding, (0, 0)))),
        numbers=jnp.asarray(np.pad(atoms.numbers, padding)),
        mask=jnp.arange(n_rows) < n_atoms,
    )


def to_ase(structure: Structure) -> ase.Atoms:
    """Return the atoms of a structure, without the padding."""
    mask = np.asarray(structure.mask)
    return ase.Atoms(
        numbers=np.asarray(structure.numbers)[mask], positions=np.asarray(structure.positions, float)[mask]
    )


def _check_counts(path: Path) -> None:
    """Refuse an .xyz file that announces more atoms or columns than it has, because ASE would need very long for it."""
    text = path.read_text("utf-8", "replace")
    if any(len(column_count) > 3 for column_count in re.findall(r":[RILS]:([^\s:\"']+)", text)):
        raise ValueError("its Properties have a thousand columns or more")
    lines, line_index = text.split("\n"), 0
    with contextlib.suppress(ValueError):  # a line that is no number, e.g. after the lines of a cell, is left to ASE
        while line_index < len(lines) and lines[line_index].strip():
            line_index += 2 + max(int(lines[line_index]), 0)
    if line_index > len(lines):
        raise ValueError(f"its numbers of atoms require {line_index} lines, but it has {len(lines)}")
