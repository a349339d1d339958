"""A cluster as padded arrays, and named with bond length 1; to and from ASE and structure files."""

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
"""Bonds. Atoms of a structure do not come nearer than this."""
MAX_CLUSTER_ATOMS = 5000
"""Most atoms of a user's cluster."""
MAX_CLUSTER_DIAMETER = 1000.0
"""Å. Largest distance in a user's cluster; its distances are gathered in bins up to there."""
MAX_STRUCTURE_FILE_BYTES = 64 * 2**20
"""A longer file is no structure."""
MAX_ERROR_CHARACTERS = 200
"""Most characters told of what ASE says."""


class Structure(NamedTuple):
    """A cluster of atoms. Padding rows have number 0, position 0 and mask False, and change nothing."""

    positions: Float[Array, "atom 3"]
    """Cartesian coordinates, in Å."""
    numbers: Int[Array, " atom"]
    """Atomic numbers."""
    mask: Bool[Array, " atom"]
    """True for atoms, False for padding."""


class Cluster(NamedTuple):
    """A cluster with bond length 1 and the labels that name it."""

    family: str
    label: str
    """Parameters within the family, as "layers 2-3-4 of (100)(110)(111)"."""
    positions: np.ndarray
    """[atom, 3], nearest-neighbour distance 1."""

    def to_ase(self, symbol: str, bond: float) -> ase.Atoms:
        """Return the cluster made of an element, with nearest-neighbour distance `bond` in Å."""
        return ase.Atoms([symbol] * len(self.positions), positions=self.positions * bond)


def read_atoms(path: Path) -> ase.Atoms:
    """Return the atoms of a structure file in any format that ASE reads.

    Raises:
        ValueError: naming the file, where it is missing, ASE cannot read it, or it has no atoms at finite positions.
    """
    if not path.is_file():
        raise ValueError(f"Expected a structure file, got {path}, which does not exist; check the path.")
    if path.stat().st_size > MAX_STRUCTURE_FILE_BYTES:
        raise ValueError(
            f"Expected a structure of at most {MAX_STRUCTURE_FILE_BYTES >> 20} MB, got {path}; convert it, or "
            "leave it out."
        )
    try:
        if path.suffix.lower() in (".xyz", ".extxyz"):
            _check_counts(path)
        with warnings.catch_warnings(action="ignore"):
            atoms = ase.io.read(path)
    except Exception as error:  # on a file that is not theirs ASE's readers raise whatever comes
        reason = " ".join(str(error).split())[:MAX_ERROR_CHARACTERS] or type(error).__name__
        raise ValueError(
            f"Expected a structure that ASE reads, as .xyz, .cif or .pdb, got {path}: {reason}; "
            "convert it, or leave it out."
        ) from error
    atoms = atoms if isinstance(atoms, ase.Atoms) else ase.Atoms()
    check_atoms(atoms, str(path))
    return atoms


def check_atoms(atoms: ase.Atoms, source: str) -> None:
    """Check that there are atoms, at finite positions.

    Args:
        atoms: a structure.
        source: what a message calls it, e.g. the path of its file.

    Raises:
        ValueError: naming the source, if it has no atoms or they are at no finite positions.
    """
    if not len(atoms):
        raise ValueError(f"Expected a structure with atoms, got {source} with none; correct it.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"Expected finite positions, got NaN or infinity in {source}; correct it.")


def read_cluster(path: Path) -> ase.Atoms:
    """Return the cluster of a structure file; a cell is ignored.

    Raises:
        ValueError: naming the file, where it is missing, ASE cannot read it, or it is no cluster of one element.
    """
    atoms = read_atoms(path)
    check_cluster(atoms, str(path))
    return atoms


def check_cluster(atoms: ase.Atoms, source: str) -> None:
    """Check that a structure is a cluster of one element.

    Args:
        atoms: a structure.
        source: what a message calls it, e.g. the path of its file.

    Raises:
        ValueError: naming the source, if it is no such cluster.
    """
    check_atoms(atoms, source)
    if not 2 <= len(atoms) <= MAX_CLUSTER_ATOMS:
        raise ValueError(
            f"Expected 2 to {MAX_CLUSTER_ATOMS} atoms in a cluster, got {len(atoms)} in {source}; leave it out."
        )
    if len(elements := sorted(set(atoms.get_chemical_symbols()))) > 1:
        raise ValueError(f"Expected one element, got {', '.join(elements)} in {source}; keep the metal's atoms alone.")
    distances = pdist(atoms.positions)
    if distances.min() < 0.5:
        raise ValueError(f"Expected atoms at least 0.5 Å apart, got nearer ones in {source}; correct it.")
    if distances.max() > MAX_CLUSTER_DIAMETER:
        raise ValueError(
            f"Expected a cluster of up to {MAX_CLUSTER_DIAMETER:g} Å, got {distances.max():.3g} in {source}; "
            "correct it."
        )


def from_ase(atoms: ase.Atoms, *, n_rows: int | None = None) -> Structure:
    """Return the padded structure of a cluster.

    Args:
        atoms: the cluster; its cell and boundary conditions are not used.
        n_rows: rows of the arrays, at least the number of atoms; by default that number.

    Raises:
        ValueError: where there is no atom, too many of them, or a position that is not finite.
    """
    n_atoms = len(atoms)
    n_rows = n_atoms if n_rows is None else n_rows
    if not 0 < n_atoms <= n_rows:
        raise ValueError(f"Expected 1 to {n_rows} atoms, got {n_atoms}; pass a larger size.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError("Expected finite positions, got NaN or infinity; mend the structure file.")
    padding = (0, n_rows - n_atoms)
    return Structure(
        positions=jnp.asarray(np.pad(atoms.positions, (padding, (0, 0)))),
        numbers=jnp.asarray(np.pad(atoms.numbers, padding)),
        mask=jnp.arange(n_rows) < n_atoms,
    )


def to_ase(structure: Structure) -> ase.Atoms:
    """Return the atoms of a structure, without its padding."""
    mask = np.asarray(structure.mask)
    return ase.Atoms(
        numbers=np.asarray(structure.numbers)[mask], positions=np.asarray(structure.positions, float)[mask]
    )


def _check_counts(path: Path) -> None:
    """Refuse an .xyz file whose numbers of atoms or columns pass its end: ASE would go on for as long as they say."""
    text = path.read_text("utf-8", "replace")
    if any(len(column_count) > 3 for column_count in re.findall(r":[RILS]:([^\s:\"']+)", text)):
        raise ValueError("its Properties have a thousand columns or more")
    lines, line_index = text.split("\n"), 0
    with contextlib.suppress(ValueError):  # no number, as after lines of a cell: left to ASE
        while line_index < len(lines) and lines[line_index].strip():
            line_index += 2 + max(int(lines[line_index]), 0)
    if line_index > len(lines):
        raise ValueError(f"its numbers of atoms ask for {line_index} lines, it has {len(lines)}")
