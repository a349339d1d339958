"""Libraries of candidate clusters, with each one's distances gathered into bins: what cluster mining searches.

Lengths in bonds (nearest-neighbour distances), until a fit gives a bond its length in Å.
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
from jaxstruc.clusters.cluster import Cluster, read_cluster
from jaxstruc.clusters.distances import Histogram, histogram
from jaxstruc.clusters.lattices import is_connected, unit_bond_cluster

BIN_WIDTH = 0.02
"""Bonds, of a bin of distances."""
DISTANCE_TOLERANCE = 1e-4
"""Bonds, by which a bin's mean, and its spread, may differ between equal clusters."""
MOMENT_RESOLUTION = 1e5 * math.pi
"""Steps a bond² of `moments`: irrational, since moments of lattices are fractions, which must not lie on the edge of
their rounding."""
FILE_VERSION = 1
"""Of the cached file."""


class Library(NamedTuple):
    """Candidates, by number of atoms.

    The atoms of candidate i are rows `atom_starts[i]` to `atom_starts[i + 1]`; its bins likewise.
    """

    families: np.ndarray
    """[candidate] names."""
    labels: np.ndarray
    """[candidate] parameters within the family."""
    atoms: np.ndarray
    """[candidate] numbers of atoms."""
    diameter: np.ndarray
    """[candidate] largest distance, in bonds."""
    atom_starts: np.ndarray
    """[candidate + 1] rows of `positions`."""
    positions: np.ndarray
    """[atoms of all, 3] in bonds, float32."""
    bin_starts: np.ndarray
    """[candidate + 1] rows of `weight`, `mean` and `variance`."""
    weight: np.ndarray
    """[bins of all] as in `Histogram`, float32; so are the next two."""
    mean: np.ndarray
    variance: np.ndarray


def build(
    names: Iterable[str] = tuple(families.FAMILIES),
    *,
    min_atoms: int = 5,
    max_atoms: int = 1000,
    progress: Callable[..., None] | None = None,
) -> Library:
    """Return the library of some families, each distance list once: under the first of the families that have it.

    Args:
        names: of `families.FAMILIES`; their order does not matter.
        min_atoms: least atoms, at least 2.
        max_atoms: most atoms.
        progress: called as progress(families done, families in all, name).

    Raises:
        ValueError: for an unknown family, limits that cannot be, or families without a cluster within them.
    """
    names = _check_names(names, min_atoms, max_atoms)

    def family_clusters() -> Iterator[Cluster]:
        for n_done, name in enumerate(names):
            if progress is not None:
                progress(n_done, len(names), name)
            yield from filter(_is_connected_cut, families.FAMILIES[name](min_atoms, max_atoms))

    library = collect(family_clusters())
    if not len(library.atoms):
        raise ValueError(f"Expected a cluster of {min_atoms} to {max_atoms} atoms in {', '.join(names)}; widen this.")
    if progress is not None:
        progress(len(names), len(names), "")
    return library


def collect(candidates: Iterable[Cluster]) -> Library:
    """Return a library of clusters by size, the first of each distance list."""
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
    """Return `build`'s library from the cache, or build it and keep it there. A broken file is made again.

    Args:
        names: as in `build`.
        min_atoms: as in `build`.
        max_atoms: as in `build`.
        folder: of the cache, `files.cache_folder()` by default; where it cannot be written, nothing is kept.
        progress: as in `build`.

    Raises:
        ValueError: as `build`.
    """
    names = _check_names(names, min_atoms, max_atoms)
    rule = f"{FILE_VERSION} {families.VERSION} {BIN_WIDTH} {' '.join(names)} {min_atoms} {max_atoms}"
    path = (folder or files.cache_folder()) / f"library-{hashlib.sha256(rule.encode()).hexdigest()[:16]}.npz"
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


def from_files(paths: Iterable[Path]) -> Library:
    """Return the library, family "user", of structure files, and of all files in folders, scaled to bonds of 1.

    A cell is ignored: its atoms are the cluster. Of files with equal distances the first is kept.

    Raises:
        ValueError: naming the file, where it is missing, ASE cannot read it, or it is no cluster of one element.
    """
    structure_files: list[Path] = []
    for path in map(Path, paths):
        folder_files = (
            sorted(child for child in path.iterdir() if child.is_file() and child.name[0] != ".")
            if path.is_dir()
            else [path]
        )
        if not folder_files:
            raise ValueError(f"Expected structure files, got the empty folder {path}; pass a folder with some.")
        structure_files += folder_files
    return collect([unit_bond_cluster("user", path.name, read_cluster(path).positions) for path in structure_files])


def from_clusters(clusters: Iterable[Cluster]) -> Library:
    """Return the library of all clusters given, in their order; equal ones are kept."""
    return _pack_library([(cluster, histogram(cluster.positions, width=BIN_WIDTH)) for cluster in clusters])


def candidate_cluster(library: Library, index: int) -> Cluster:
    """Return a candidate, its positions in double precision."""
    rows = slice(library.atom_starts[index], library.atom_starts[index + 1])
    positions = library.positions[rows].astype(np.float64)
    return Cluster(str(library.families[index]), str(library.labels[index]), positions)


def candidate_histogram(library: Library, index: int) -> Histogram:
    """Return a candidate's distances in bins."""
    rows = slice(library.bin_starts[index], library.bin_starts[index + 1])
    return Histogram(library.weight[rows], library.mean[rows], library.variance[rows], int(library.atoms[index]))


def scaled_histograms(entries: Sequence[tuple[Library, int]], *, bond: float, max_distance: float) -> Histogram:
    """Return the distances of candidates in Å, up to `max_distance`, padded to one size [candidate, bin]; float32.

    Args:
        entries: each a library and an index into it.
        bond: nearest-neighbour distance, in Å.
        max_distance: distance, in Å.
    """
    n_bins = max(512, 64 * math.ceil((max_distance / (BIN_WIDTH * bond) + 2) / 64))
    weight, mean, variance = (np.zeros((len(entries), n_bins), np.float32) for _ in range(3))
    mean[:] = bond
    for row, (library, index) in enumerate(entries):
        start, end = library.bin_starts[index], library.bin_starts[index + 1]
        n_kept_bins = int(np.searchsorted(library.mean[start:end] * bond, max_distance))
        rows = slice(start, start + n_kept_bins)
        weight[row, :n_kept_bins] = library.weight[rows]
        mean[row, :n_kept_bins] = library.mean[rows] * bond
        variance[row, :n_kept_bins] = library.variance[rows] * bond**2
    return Histogram(weight, mean, variance, np.array([library.atoms[index] for library, index in entries], np.float32))


def select(
    library: Library,
    *,
    names: Iterable[str] | None = None,
    diameter: tuple[float, float] = (0.0, math.inf),
    max_atoms: int | None = None,
) -> np.ndarray:
    """Return the indices of the candidates of some families, within limits of diameter in bonds and of atoms."""
    is_selected = (library.diameter >= diameter[0]) & (library.diameter <= diameter[1])
    if names is not None:
        is_selected &= np.isin(library.families, list(names))
    if max_atoms is not None:
        is_selected &= library.atoms <= max_atoms
    return np.flatnonzero(is_selected)


def moments(positions: np.ndarray) -> tuple[int, int, int]:
    """Return the number of atoms and rounded means of d² and d⁴ over the pairs: equal for equal distance lists.

    From sums over atoms, not pairs. With a = |x|² about the centre of mass: Σ d² = 2 n Σ a, and
    Σ d⁴ = 2 n Σ a² + 2 (Σ a)² + 4 |XᵀX|² - 8 Σ a x · Σ x, whose last term is 0.
    """
    n = len(positions)
    x = positions - positions.mean(axis=0)
    a = np.einsum("ij,ij->i", x, x)
    second_moment = 2 * n * a.sum() / n**2
    fourth_moment = (2 * n * (a @ a) + 2 * a.sum() ** 2 + 4 * ((x.T @ x) ** 2).sum()) / n**2
    return n, round(second_moment * MOMENT_RESOLUTION), round(fourth_moment / second_moment * MOMENT_RESOLUTION)


def _is_connected_cut(cluster: Cluster) -> bool:
    """Return whether a cut of a lattice is connected; those of more than 60 atoms are."""
    return len(cluster.positions) > 60 or is_connected(cluster.positions)


def _have_equal_distances(first_histogram: Histogram, second_histogram: Histogram) -> bool:
    """Return whether distance lists are the same, to `DISTANCE_TOLERANCE`."""
    return (
        len(first_histogram.mean) == len(second_histogram.mean)
        and np.array_equal(first_histogram.weight, second_histogram.weight)
        and float(abs(first_histogram.mean - second_histogram.mean).max()) < DISTANCE_TOLERANCE
        and float(abs(first_histogram.variance - second_histogram.variance).max()) < DISTANCE_TOLERANCE**2
    )


def _pack_library(entries: Sequence[tuple[Cluster, Histogram]]) -> Library:
    """Return clusters and their histograms end to end."""
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
    """Return the library of a file, or None where there is no whole one."""
    try:
        with np.load(path) as archive:
            library = Library(**{name: archive[name] for name in archive.files})
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    lengths = len(library.atoms), len(library.labels), len(library.atom_starts) - 1, len(library.bin_starts) - 1
    is_consistent = len(set(lengths)) == 1 and len(library.positions) == library.atom_starts[-1]
    return library if is_consistent and len(library.weight) == len(library.variance) == library.bin_starts[-1] else None


def _check_names(names: Iterable[str], min_atoms: int, max_atoms: int) -> list[str]:
    """Return the families in their own order, or refuse."""
    requested_names = set(names)
    if unknown_names := sorted(requested_names - set(families.FAMILIES)):
        raise ValueError(
            f"Expected families of {', '.join(families.FAMILIES)}, got {', '.join(unknown_names)}; drop these."
        )
    if not requested_names:
        raise ValueError(f"Expected at least one family, got none; name some of {', '.join(families.FAMILIES)}.")
    if not 2 <= min_atoms <= max_atoms:
        raise ValueError(f"Expected 2 <= least <= most atoms, got {min_atoms} and {max_atoms}; correct the limits.")
    return [name for name in families.FAMILIES if name in requested_names]
