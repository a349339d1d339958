"""Displacements of the atoms of clusters from their ideal positions, as a many-body potential gives them.

Clusters of the library are rigid cuts of a perfect lattice or packing. In a real particle the atoms relax: surfaces
contract, and the shells of icosahedra are strained. The displacement field of a cluster is the change of its positions
between the ideal cluster and the minimum of the potential that is reached from it, without rotation and without a
uniform change of scale. How far the atoms of a sample moved along the field is the fit parameter `relaxation`.

Fields are computed when they are needed, in batches of equal array sizes, and kept in a file of the cache folder.
"""

import contextlib
import hashlib
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from jaxstruc import files
from jaxstruc.clusters import potential
from jaxstruc.clusters.distances import Histogram, histogram
from jaxstruc.clusters.lattices import is_connected
from jaxstruc.clusters.library import BIN_WIDTH, Library, candidate_cluster, candidate_histogram
from jaxstruc.clusters.potential import Neighbours, Potential

MAX_BOND = 1.2
"""Longest distance between nearest neighbours, in bond lengths."""
MIN_DISTANCE = 0.7
"""Smallest distance between two atoms that may be relaxed, in bond lengths."""
MAX_BOND_CHANGE = 0.15
"""Largest change of the length of a bond, relative to its length, for which the atoms have kept their places."""
MIN_DISPLACEMENT = 1e-3
"""Smallest root mean square displacement of a field, in bond lengths."""
MAX_ATOMS, MAX_NAMED_ATOMS = 2048, 4608
"""Largest number of atoms of a cluster of a library that has a field; the same for clusters outside the library."""
ROW_COUNTS = (1280, MAX_NAMED_ATOMS)
"""Possible numbers of rows for the atoms of all clusters that are relaxed at once. The list is short, so that there are
few compilations. The arrays of the first one fit into the cache of a processor."""
NEIGHBOUR_COUNTS = (80, 104)
"""Possible numbers of rows for the neighbours of an atom."""
MAX_BATCH_SIZE = 64
"""Largest number of clusters that are relaxed at once."""
FILE_VERSION = 3
"""Version of the rules and of the format of the cached file."""
TOO_FEW_ATOMS = "the cluster has too few atoms"
SEVERAL_PIECES = "the cluster consists of several pieces"
ATOMS_TOO_CLOSE = "two atoms are too close"
LEFT_PLACES = "atoms leave their places when the cluster relaxes"
NO_DISPLACEMENT = "the relaxation changes nothing but the scale"
TOO_MANY_ATOMS = "the cluster has too many atoms"


class DisplacementField(NamedTuple):
    """Changes of a cluster between its ideal positions and the minimum of the potential."""

    displacements: Float[np.ndarray, "atom 3"]
    """Displacements of the atoms in bond lengths, in half precision."""
    expansion: float
    """Relative change of the size of the cluster, relative to the bond length of the bulk metal. It is negative if the
    cluster contracts. The displacements do not contain it."""


class FieldStore:
    """Displacement fields of the clusters of one library for one metal.

    A store remembers all fields that it has computed. `save` writes them to the cache folder. Several threads may use
    one store.
    """

    def __init__(
        self,
        library: Library,
        element: str,
        *,
        path: Path | None = None,
        known_fields: Mapping[int | str, DisplacementField | str] = MappingProxyType({}),
    ) -> None:
        """Create the store.

        Args:
            library: Library of the clusters.
            element: Symbol of the metal.
            path: File in which the fields are kept. By default they are kept in memory only.
            known_fields: Fields of clusters, or the reasons why they have none, by their rows in the library.
        """
        self.library = library
        self.element = element
        self._path = path
        self._fields: dict[int | str, DisplacementField | str] = dict(known_fields)
        if path:
            self._fields |= _load(path, library.atoms)
        self._n_saved = len(self._fields)
        self._lock = threading.RLock()

    def compute(self, rows: Sequence[int] | np.ndarray) -> None:
        """Compute the fields of clusters that the store does not contain yet, in one batch."""
        if all(int(row) in self._fields for row in rows):
            return
        with self._lock:
            missing_rows = sorted({int(row) for row in rows} - self._fields.keys())
            clusters = [candidate_cluster(self.library, row).positions for row in missing_rows]
            fields = displacement_fields(clusters, potential.metal_potential(self.element))
            self._fields.update(zip(missing_rows, fields, strict=True))

    def compute_named(self, clusters: Mapping[tuple[int, str], np.ndarray]) -> None:
        """Compute the fields of clusters that are not in the library.

        Args:
            clusters: Ideal positions [atom, 3] of the clusters by a number and a name. The fields are kept by the name.
        """
        with self._lock:
            missing_clusters = {
                name: positions for (_, name), positions in clusters.items() if name not in self._fields
            }
            metal = potential.metal_potential(self.element)
            fields = displacement_fields(list(missing_clusters.values()), metal, max_atoms=MAX_NAMED_ATOMS)
            self._fields.update(zip(missing_clusters, fields, strict=True))

    def displacement_field(self, key: int | str) -> DisplacementField | None:
        """Return the field of a cluster by its row or name, or None if it stays rigid. It must have been computed."""
        field = self._fields[key]
        return None if isinstance(field, str) else field

    def entry(self, row: int) -> DisplacementField | str:
        """Return the field of a cluster, or the reason why it has none."""
        self.compute([row])
        return self._fields[int(row)]

    def field(self, row: int) -> np.ndarray | None:
        """Return the displacements [atom, 3] of a cluster in bond lengths, or None if it stays rigid."""
        field = self.entry(row)
        return None if isinstance(field, str) else field.displacements.astype(np.float64)

    def reason(self, row: int) -> str:
        """Return the reason why a cluster has no field; an empty text if it has one."""
        field = self.entry(row)
        return field if isinstance(field, str) else ""

    def histograms(self, row: int, amplitudes: Sequence[float]) -> list[Histogram]:
        """Return the histogram of the distances of a cluster for each amplitude of its displacements.

        The distances are in bond lengths. A rigid cluster has equal histograms.

        Args:
            row: Index of the cluster in the library.
            amplitudes: Amplitudes of the displacements.
        """
        field = self.field(row)
        if field is None:
            return [candidate_histogram(self.library, row)] * len(amplitudes)
        positions = candidate_cluster(self.library, row).positions
        return [histogram(positions + amplitude * field, width=BIN_WIDTH) for amplitude in amplitudes]

    def save(self) -> None:
        """Write new fields to the cache folder. If it cannot be written, nothing happens."""
        if self._path is None or len(self._fields) == self._n_saved:
            return
        with self._lock:
            keys, fields = list(self._fields), list(self._fields.values())
        arrays = {
            "keys": np.array([str(key) for key in keys], str),
            "reasons": np.array([field if isinstance(field, str) else "" for field in fields], str),
            "displacements": np.concatenate(
                [np.zeros((0, 3), np.float16), *(field.displacements for field in fields if not isinstance(field, str))]
            ),
            "n_atoms": np.array(
                [0 if isinstance(field, str) else len(field.displacements) for field in fields], np.int64
            ),
            "expansions": np.array([0.0 if isinstance(field, str) else field.expansion for field in fields]),
        }
        with (
            contextlib.suppress(OSError),
            files.atomic_replacement(self._path) as temporary_path,
            temporary_path.open("wb") as stream,
        ):
            np.savez(stream, **arrays)  # type: ignore[arg-type]
            self._n_saved = len(keys)


def cached_store(library: Library, element: str, key: str, *, folder: Path | None = None) -> FieldStore:
    """Return the store of a library and a metal, with the fields that the cache folder contains.

    Args:
        library: Library of the clusters.
        element: Symbol of the metal.
        key: Text that identifies the library.
        folder: Cache folder. The default is `files.cache_folder()`.
    """
    rule = f"{FILE_VERSION} {key} {potential.metal_potential(element)} {len(library.positions)}"
    name = f"fields-{element}-{hashlib.sha256(rule.encode()).hexdigest()[:16]}.npz"
    return FieldStore(library, element, path=(folder or files.cache_folder()) / name)


def displacement_fields(
    clusters: Sequence[Float[np.ndarray, "_ 3"]], metal: Potential, *, max_atoms: int = MAX_ATOMS
) -> list[DisplacementField | str]:
    """Return the displacement field of each cluster, or the reason why it has none.

    The field of a cluster does not depend on the other clusters.

    Args:
        clusters: Ideal positions of each cluster, with a bond length of 1.
        metal: Potential of the metal.
        max_atoms: Largest number of atoms of a cluster that has a field, at most `MAX_NAMED_ATOMS`.
    """
    fields: list[DisplacementField | str] = [_obstacle(positions, max_atoms) for positions in clusters]
    neighbour_lists = {
        index: potential.find_neighbours(clusters[index]) for index, obstacle in enumerate(fields) if not obstacle
    }
    relaxable = []
    for index, neighbours in neighbour_lists.items():
        if max(map(len, neighbours)) > NEIGHBOUR_COUNTS[-1]:
            fields[index] = ATOMS_TOO_CLOSE
        else:
            relaxable.append(index)
    for batch in _batches([len(clusters[index]) for index in relaxable]):
        indices = [relaxable[position] for position in batch]
        relaxed_clusters = _relax_batch(
            [clusters[index] for index in indices], [neighbour_lists[index] for index in indices], metal
        )
        for index, relaxed in zip(indices, relaxed_clusters, strict=True):
            fields[index] = field_between(clusters[index], relaxed)
    return fields


def field_between(ideal: Float[np.ndarray, "atom 3"], relaxed: Float[np.ndarray, "atom 3"]) -> DisplacementField | str:
    """Return the displacements from ideal to relaxed positions, or the reason why there is no field.

    The relaxed positions are shifted, rotated and scaled, so that they lie as close as possible to the ideal ones.
    """
    if not np.isfinite(relaxed).all():
        return LEFT_PLACES
    centre = ideal.mean(axis=0)
    centred, relaxed = ideal - centre, relaxed - relaxed.mean(axis=0)
    left, _, right = np.linalg.svd(relaxed.T @ centred)
    rotation = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    aligned = relaxed @ rotation
    scale = np.sum(aligned * centred) / np.sum(aligned**2)
    aligned *= scale
    bonds = KDTree(ideal).query_pairs(MAX_BOND, output_type="ndarray")
    before, after = (np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1) for x in (centred, aligned))
    if np.max(np.abs(after / before - 1)) > MAX_BOND_CHANGE:
        return LEFT_PLACES
    field = aligned - centred
    if np.sqrt(np.mean(np.sum(field**2, axis=1))) < MIN_DISPLACEMENT:
        return NO_DISPLACEMENT
    return DisplacementField(field.astype(np.float16), float(1 / scale - 1))


def _batches(atom_counts: Sequence[int]) -> list[list[int]]:
    """Return the positions of the clusters in batches, which hold as many clusters as there are rows for their atoms.

    Args:
        atom_counts: Number of atoms of each cluster.
    """
    batches: list[list[int]] = []
    n_rows = 0
    for position in np.argsort(atom_counts, kind="stable"):
        n_rows += atom_counts[position]
        if not batches or n_rows > ROW_COUNTS[0] or len(batches[-1]) == MAX_BATCH_SIZE:
            batches.append([])
            n_rows = atom_counts[position]
        batches[-1].append(int(position))
    return batches


def _relax_batch(
    clusters: Sequence[np.ndarray], neighbour_lists: Sequence[list[np.ndarray]], metal: Potential
) -> list[Float[np.ndarray, "_ 3"]]:
    """Return the relaxed positions of clusters, which are padded to one of a few array sizes.

    Args:
        clusters: Ideal positions of each cluster, with a bond length of 1.
        neighbour_lists: Indices of the neighbours of each atom, for each cluster.
        metal: Potential of the metal.
    """
    atom_counts = [len(positions) for positions in clusters]
    first_atoms = np.concatenate([[0], np.cumsum(atom_counts)])
    n_atoms = int(first_atoms[-1])
    n_rows = next(count for count in ROW_COUNTS if count >= n_atoms)
    neighbour_counts = np.array([len(entry) for neighbours in neighbour_lists for entry in neighbours])
    n_neighbour_rows = next(count for count in NEIGHBOUR_COUNTS if count >= neighbour_counts.max())
    positions = np.zeros((n_rows, 3), np.float32)
    positions[:n_atoms] = np.concatenate(clusters)
    mask = np.zeros((n_rows, n_neighbour_rows), bool)
    mask[:n_atoms] = np.arange(n_neighbour_rows) < neighbour_counts[:, None]
    indices = np.zeros(mask.shape, np.int32)
    indices[mask] = np.concatenate(
        [entry + first for neighbours, first in zip(neighbour_lists, first_atoms, strict=False) for entry in neighbours]
    )
    cluster_index = np.pad(np.repeat(np.arange(len(clusters), dtype=np.int32), atom_counts), (0, n_rows - n_atoms))
    relaxation = potential.relax_joined(
        jnp.asarray(positions),
        Neighbours(jnp.asarray(indices), jnp.asarray(mask)),
        jnp.asarray(cluster_index),
        metal,
        n_clusters=MAX_BATCH_SIZE,
    )
    return np.split(np.asarray(relaxation.positions, np.float64)[:n_atoms], first_atoms[1:-1])


def _obstacle(positions: np.ndarray, max_atoms: int) -> str:
    """Return the reason why a cluster cannot be relaxed; an empty text if it can."""
    if len(positions) < 4:
        return TOO_FEW_ATOMS
    if len(positions) > max_atoms:
        return TOO_MANY_ATOMS
    if np.min(KDTree(positions).query(positions, k=2)[0][:, 1]) < MIN_DISTANCE:
        return ATOMS_TOO_CLOSE
    return "" if is_connected(positions) else SEVERAL_PIECES


def _load(path: Path, atom_counts: Int[np.ndarray, " cluster"]) -> dict[int | str, DisplacementField | str]:
    """Return the fields in a file; none if the file is missing, damaged or of another library.

    Args:
        path: File of the fields.
        atom_counts: Number of atoms of each cluster of the library.
    """
    try:
        with np.load(path) as archive:
            names, reasons, n_atoms = (archive[name] for name in ("keys", "reasons", "n_atoms"))
            displacements, expansions = archive["displacements"], archive["expansions"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return {}
    keys = [int(name) if name.isdecimal() else str(name) for name in names]
    if not len(keys) == len(reasons) == len(n_atoms) == len(expansions) or n_atoms.sum() != len(displacements):
        return {}
    expected_counts = {row: int(count) for row, count in enumerate(atom_counts)}
    if any(
        isinstance(key, int) and (key not in expected_counts or (not reason and count != expected_counts[key]))
        for key, reason, count in zip(keys, reasons, n_atoms, strict=True)
    ):
        return {}
    ends = np.cumsum(n_atoms)
    return {
        key: str(reason) if reason else DisplacementField(displacements[end - count : end], float(expansion))
        for key, reason, count, end, expansion in zip(keys, reasons, n_atoms, ends, expansions, strict=True)
    }
