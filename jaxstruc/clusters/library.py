"""Libraries of candidate clusters for cluster mining, with the histogram of the distances of each candidate.

Lengths are in units of the bond length (the nearest-neighbour distance). A fit determines the bond length in Å.
"""

import contextlib
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstruc import files
from jaxstruc.clusters import families
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import Histogram, histogram
from jaxstruc.clusters.lattices import is_connected, unit_bond_cluster
from jaxstruc.clusters.structure_files import read_clusters, structure_remarks

BIN_WIDTH = 0.02
"""Width of a bin of distances, in units of the bond length."""
DISTANCE_TOLERANCE = 1e-4
"""Largest difference between the bins of two clusters that are considered equal, in units of the bond length. It
applies to the mean and, as its square, to the variance of a bin."""
MOMENT_RESOLUTION = 1e5 * math.pi
"""Number of rounding steps of `moments` per squared bond length. The moments of lattices are fractions and must not lie
halfway between two steps. The number is therefore irrational."""
FILE_VERSION = 1
"""Version of the format of the cached file."""


class Library(NamedTuple):
    """Candidate clusters with the histograms of their distances.

    The candidates are sorted by the number of atoms, except in a library of `from_clusters`.

    The atoms of candidate i are the rows `atom_starts[i]` to `atom_starts[i + 1]` of `positions`. The histogram of
    candidate i has the rows `bin_starts[i]` to `bin_starts[i + 1]` of `weight`, `mean` and `variance`.
    """

    families: np.ndarray
    """Family of each candidate [candidate]."""
    labels: np.ndarray
    """Label of each candidate, with its parameters within its family [candidate]."""
    atoms: np.ndarray
    """Number of atoms of each candidate [candidate]."""
    diameter: np.ndarray
    """Largest distance between two atoms of each candidate [candidate], in units of the bond length."""
    atom_starts: np.ndarray
    """First row of each candidate in `positions` [candidate + 1]."""
    positions: np.ndarray
    """Positions of the atoms of all candidates [atom, 3], in units of the bond length, float32."""
    bin_starts: np.ndarray
    """First row of each candidate in `weight`, `mean` and `variance` [candidate + 1]."""
    weight: np.ndarray
    """Weights of the bins of all candidates [bin], as in `Histogram`, float32."""
    mean: np.ndarray
    """Mean distances of the bins of all candidates [bin], in units of the bond length, float32."""
    variance: np.ndarray
    """Variances of the bins of all candidates [bin], in units of the squared bond length, float32."""


def build(
    names: Iterable[str] = tuple(families.FAMILIES),
    *,
    min_atoms: int = 5,
    max_atoms: int = 1000,
    progress: Callable[..., None] | None = None,
) -> Library:
    """Return the library of some families.

    Clusters with equal distances are listed once. They belong to the first family that contains them.

    Args:
        names: Names of families in `families.FAMILIES`, in any order.
        min_atoms: Smallest number of atoms, at least 2.
        max_atoms: Largest number of atoms.
        progress: Function that is called with the number of finished families, the number of all families, and the name
            of the next family.

    Raises:
        ValueError: If a family is unknown, if the limits are not valid, or if there is no cluster within the limits.
    """
    names = _check_names(names, min_atoms, max_atoms)

    def family_clusters() -> Iterator[Cluster]:
        for n_done, name in enumerate(names):
            if progress is not None:
                progress(n_done, len(names), name)
            yield from filter(_is_connected_cut, families.FAMILIES[name](min_atoms, max_atoms))

    library = collect(family_clusters())
    if not len(library.atoms):
        raise ValueError(
            f"No candidates: no cluster of {min_atoms} to {max_atoms} atoms is in the families {', '.join(names)}. "
            "Widen the limits."
        )
    if progress is not None:
        progress(len(names), len(names), "")
    return library


def collect(candidates: Iterable[Cluster]) -> Library:
    """Return a library of clusters, sorted by the number of atoms.

    If several clusters have equal distances, only the first one is kept.
    """
    entries: list[tuple[Cluster, Histogram]] = []
    histograms_by_moments: dict[tuple[int, ...], list[Histogram]] = {}
    for cluster in candidates:
        cluster_histogram = None
        similar_histograms = histograms_by_moments.setdefault(moments(cluster.positions), [])
        if similar_histograms:
            cluster_histogram = histogram(cluster.positions, width=BIN_WIDTH)
            if any(_have_equal_distances(cluster_histogram, other_histogram) for other_histogram in similar_histograms):
                continue
        similar_histograms.append(cluster_histogram or histogram(cluster.positions, width=BIN_WIDTH))
        entries.append((cluster, similar_histograms[-1]))
    return _pack_library(sorted(entries, key=lambda entry: len(entry[0].positions)))


def load_or_build(
    names: Iterable[str] = tuple(families.FAMILIES),
    *,
    min_atoms: int = 5,
    max_atoms: int = 1000,
    folder: Path | None = None,
    progress: Callable[..., None] | None = None,
) -> Library:
    """Return the library of `build` from the cache, or build it and write it to the cache.

    A damaged file in the cache is replaced. If the cache cannot be written, the library is still returned.

    Args:
        names: Names of families, as in `build`.
        min_atoms: Smallest number of atoms, as in `build`.
        max_atoms: Largest number of atoms, as in `build`.
        folder: Folder of the cache. The default is `files.cache_folder()`.
        progress: Function that is called with the progress, as in `build`.

    Raises:
        ValueError: If `build` raises it.
    """
    path = (
        folder or files.cache_folder()
    ) / f"library-{cache_key(names, min_atoms=min_atoms, max_atoms=max_atoms)}.npz"
    library = _load(path)
    if library is None:
        library = build(names, min_atoms=min_atoms, max_atoms=max_atoms, progress=progress)
        with (
            contextlib.suppress(OSError),
            files.atomic_replacement(path) as temporary_path,
            temporary_path.open("wb") as stream,
        ):
            np.savez(stream, **library._asdict())
    return library


def cache_key(names: Iterable[str], *, min_atoms: int = 5, max_atoms: int = 1000) -> str:
    """Return the text that identifies the library of `build` in the cache."""
    names = _check_names(names, min_atoms, max_atoms)
    rule = f"{FILE_VERSION} {families.VERSION} {BIN_WIDTH} {' '.join(names)} {min_atoms} {max_atoms}"
    return hashlib.sha256(rule.encode()).hexdigest()[:16]


def from_files(paths: Iterable[Path]) -> tuple[Library, list[str]]:
    """Return the library of all structures in files, and remarks on the structures.

    A path may be a folder, whose files are read. The clusters are scaled to a bond length of 1. Their family is "user".
    Pieces of a cluster are joined through the faces of its unit cell. If several structures have equal distances, only
    the first one is kept.

    Raises:
        ValueError: If a folder is empty, if a file does not exist, if ASE cannot read it, or if a structure is not a
            cluster of one element. The message names the file.
    """
    structure_files: list[Path] = []
    for path in map(Path, paths):
        folder_files = (
            sorted(child for child in path.iterdir() if child.is_file() and child.name[0] != ".")
            if path.is_dir()
            else [path]
        )
        if not folder_files:
            raise ValueError(f"Expected structure files, got the empty folder {path}; choose another folder.")
        structure_files += folder_files
    atoms_by_name = {name: atoms for path in structure_files for name, atoms in read_clusters(path).items()}
    clusters = [unit_bond_cluster("user", Path(name).name, atoms.positions) for name, atoms in atoms_by_name.items()]
    return collect(clusters), structure_remarks(atoms_by_name)


def from_clusters(clusters: Iterable[Cluster]) -> Library:
    """Return the library of all given clusters in the given order, including equal clusters."""
    return _pack_library([(cluster, histogram(cluster.positions, width=BIN_WIDTH)) for cluster in clusters])


def candidate_cluster(library: Library, index: int) -> Cluster:
    """Return the cluster of a candidate, with positions in double precision."""
    rows = slice(library.atom_starts[index], library.atom_starts[index + 1])
    positions = library.positions[rows].astype(np.float64)
    return Cluster(str(library.families[index]), str(library.labels[index]), positions)


def candidate_histogram(library: Library, index: int) -> Histogram:
    """Return the histogram of the distances of a candidate, in units of the bond length."""
    rows = slice(library.bin_starts[index], library.bin_starts[index + 1])
    return Histogram(library.weight[rows], library.mean[rows], library.variance[rows], int(library.atoms[index]))


def scaled_histograms(entries: Sequence[tuple[Library, int]], *, bond: float, max_distance: float) -> Histogram:
    """Return the histograms of candidates in Å, padded to equal numbers of bins [candidate, bin], in float32.

    Args:
        entries: Pairs of a library and the index of a candidate in it.
        bond: Nearest-neighbour distance in Å.
        max_distance: Longest distance of the histograms, in Å.
    """
    return pad_histograms(
        [candidate_histogram(library, index) for library, index in entries], bond=bond, max_distance=max_distance
    )


def pad_histograms(histograms: Sequence[Histogram], *, bond: float, max_distance: float) -> Histogram:
    """Return histograms in Å, padded to equal numbers of bins [cluster, bin], in float32.

    Args:
        histograms: Histogram of each cluster in units of the bond length, with bins of the width `BIN_WIDTH`.
        bond: Nearest-neighbour distance in Å.
        max_distance: Longest distance of the histograms, in Å.
    """
    n_bins = max(512, 64 * math.ceil((max_distance / (BIN_WIDTH * bond) + 2) / 64))
    weight, mean, variance = (np.zeros((len(histograms), n_bins), np.float32) for _ in range(3))
    mean[:] = bond
    for row, entry in enumerate(histograms):
        n_kept_bins = int(np.searchsorted(entry.mean * bond, max_distance))
        weight[row, :n_kept_bins] = entry.weight[:n_kept_bins]
        mean[row, :n_kept_bins] = entry.mean[:n_kept_bins] * bond
        variance[row, :n_kept_bins] = entry.variance[:n_kept_bins] * bond**2
    return Histogram(weight, mean, variance, np.array([entry.atoms for entry in histograms], np.float32))


def select(
    library: Library,
    *,
    names: Iterable[str] | None = None,
    diameter: tuple[float, float] = (0.0, math.inf),
    max_atoms: int | None = None,
) -> np.ndarray:
    """Return the indices of the candidates that meet all given conditions.

    Args:
        library: Library of candidates.
        names: Names of the families. By default all families are selected.
        diameter: Smallest and largest diameter, in units of the bond length.
        max_atoms: Largest number of atoms. By default it is not limited.
    """
    is_selected = (library.diameter >= diameter[0]) & (library.diameter <= diameter[1])
    if names is not None:
        is_selected &= np.isin(library.families, list(names))
    if max_atoms is not None:
        is_selected &= library.atoms <= max_atoms
    return np.flatnonzero(is_selected)


def moments(positions: np.ndarray) -> tuple[int, int, int]:
    r"""Return the number of atoms, the rounded mean of d², and the rounded ratio of the means of d⁴ and d².

    Here d are the distances of all pairs of atoms. Clusters with equal distances give equal results. Sums over the n
    atoms are enough. Let x be a position relative to the mean position, X the matrix of all x, and $a = |x|^2$. Then

    $$\sum d^2 = 2 n \sum a, \qquad \sum d^4 = 2 n \sum a^2 + 2 \left(\sum a\right)^2 + 4 \|X^T X\|^2$$
    """
    n = len(positions)
    x = positions - positions.mean(axis=0)
    a = np.einsum("ij,ij->i", x, x)
    second_moment = 2 * n * a.sum() / n**2
    fourth_moment = (2 * n * (a @ a) + 2 * a.sum() ** 2 + 4 * ((x.T @ x) ** 2).sum()) / n**2
    return n, round(second_moment * MOMENT_RESOLUTION), round(fourth_moment / second_moment * MOMENT_RESOLUTION)


def _is_connected_cut(cluster: Cluster) -> bool:
    """Return whether a cluster cut from a lattice is connected, which is assumed for clusters of more than 60 atoms."""
    return len(cluster.positions) > 60 or is_connected(cluster.positions)


def _have_equal_distances(first_histogram: Histogram, second_histogram: Histogram) -> bool:
    """Return whether two histograms have equal distances within `DISTANCE_TOLERANCE`."""
    return (
        len(first_histogram.mean) == len(second_histogram.mean)
        and np.array_equal(first_histogram.weight, second_histogram.weight)
        and float(abs(first_histogram.mean - second_histogram.mean).max()) < DISTANCE_TOLERANCE
        and float(abs(first_histogram.variance - second_histogram.variance).max()) < DISTANCE_TOLERANCE**2
    )


def _pack_library(entries: Sequence[tuple[Cluster, Histogram]]) -> Library:
    """Return the library of clusters and their histograms. The arrays of all clusters are concatenated."""
    histograms = [histogram for _, histogram in entries]
    atoms = np.array([len(cluster.positions) for cluster, _ in entries], np.int32)
    bin_counts = np.array([len(cluster_histogram.mean) for cluster_histogram in histograms], np.int64)
    return Library(
        families=np.array([cluster.family for cluster, _ in entries], str),
        labels=np.array([cluster.label for cluster, _ in entries], str),
        atoms=atoms,
        diameter=np.array([cluster_histogram.mean[-1] for cluster_histogram in histograms], np.float32),
        atom_starts=np.concatenate([[0], np.cumsum(atoms, dtype=np.int64)]),
        positions=np.concatenate([np.zeros((0, 3)), *(cluster.positions for cluster, _ in entries)]).astype(np.float32),
        bin_starts=np.concatenate([[0], np.cumsum(bin_counts)]),
        weight=np.concatenate(
            [np.zeros(0, np.float32), *(cluster_histogram.weight for cluster_histogram in histograms)]
        ),
        mean=np.concatenate([np.zeros(0, np.float32), *(cluster_histogram.mean for cluster_histogram in histograms)]),
        variance=np.concatenate(
            [np.zeros(0, np.float32), *(cluster_histogram.variance for cluster_histogram in histograms)]
        ),
    )


def _load(path: Path) -> Library | None:
    """Return the library in a file, or None if the file is missing or damaged."""
    try:
        with np.load(path) as archive:
            library = Library(**{name: archive[name] for name in archive.files})
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    lengths = len(library.atoms), len(library.labels), len(library.atom_starts) - 1, len(library.bin_starts) - 1
    is_consistent = len(set(lengths)) == 1 and len(library.positions) == library.atom_starts[-1]
    return library if is_consistent and len(library.weight) == len(library.variance) == library.bin_starts[-1] else None


def _check_names(names: Iterable[str], min_atoms: int, max_atoms: int) -> list[str]:
    """Return the names of the families in the order of `families.FAMILIES`.

    Raises:
        ValueError: If a family is unknown, if there is no family, or if the limits are not valid.
    """
    requested_names = set(names)
    if unknown_names := sorted(requested_names - set(families.FAMILIES)):
        raise ValueError(
            f"Expected families among {', '.join(families.FAMILIES)}, got {', '.join(unknown_names)}; remove these."
        )
    if not requested_names:
        raise ValueError(f"Expected at least one family, got none; choose among {', '.join(families.FAMILIES)}.")
    if not 2 <= min_atoms <= max_atoms:
        raise ValueError(
            "Expected a smallest number of atoms of at least 2 and a largest one that is not below it, got "
            f"{min_atoms} and {max_atoms}; correct the limits."
        )
    return [name for name in families.FAMILIES if name in requested_names]
