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
from jaxstruc.structures import families
from jaxstruc.structures.atoms import Cluster, read_cluster
from jaxstruc.structures.distances import Histogram, histogram
from jaxstruc.structures.lattices import connected, scaled

WIDTH = 0.02
"""Bonds, of a bin of distances."""
SAME = 1e-4
"""Bonds, by which a bin's mean, and its spread, may differ between equal clusters."""
RULER = 1e5 * math.pi
"""Steps a bond² of `moments`: irrational, since moments of lattices are fractions, which must not lie on the edge of
their rounding."""
LAYOUT = 1
"""Of the cached file."""


class Library(NamedTuple):
    """Candidates, by number of atoms. Those of candidate i are rows `starts[i]` to `starts[i + 1]`; so for the bins."""

    families: np.ndarray
    """[candidate] names."""
    labels: np.ndarray
    """[candidate] parameters within the family."""
    atoms: np.ndarray
    """[candidate] numbers of atoms."""
    diameter: np.ndarray
    """[candidate] largest distance, in bonds."""
    starts: np.ndarray
    """[candidate + 1] rows of `positions`."""
    positions: np.ndarray
    """[atoms of all, 3] in bonds, float32."""
    bins: np.ndarray
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
    names = _checked(names, min_atoms, max_atoms)

    def listed() -> Iterator[Cluster]:
        for done, name in enumerate(names):
            if progress is not None:
                progress(done, len(names), name)
            yield from filter(_in_one_piece, families.FAMILIES[name](min_atoms, max_atoms))

    library = collect(listed())
    if not len(library.atoms):
        raise ValueError(f"Expected a cluster of {min_atoms} to {max_atoms} atoms in {', '.join(names)}; widen this.")
    if progress is not None:
        progress(len(names), len(names), "")
    return library


def collect(candidates: Iterable[Cluster]) -> Library:
    """Return a library of clusters by size, the first of each distance list."""
    kept: list[tuple[Cluster, Histogram]] = []
    alike: dict[tuple[int, ...], list[Histogram]] = {}
    for cluster in candidates:
        table = None
        found = alike.setdefault(moments(cluster.positions), [])
        if found:
            table = histogram(cluster.positions, width=WIDTH)
            if any(_equal(table, other) for other in found):
                continue
        found.append(table or histogram(cluster.positions, width=WIDTH))
        kept.append((cluster, found[-1]))
    return _packed(sorted(kept, key=lambda item: len(item[0].positions)))


def cached(
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
    names = _checked(names, min_atoms, max_atoms)
    rule = f"{LAYOUT} {families.VERSION} {WIDTH} {' '.join(names)} {min_atoms} {max_atoms}"
    path = (folder or files.cache_folder()) / f"library-{hashlib.sha256(rule.encode()).hexdigest()[:16]}.npz"
    library = _loaded(path)
    if library is None:
        library = build(names, min_atoms=min_atoms, max_atoms=max_atoms, progress=progress)
        with contextlib.suppress(OSError), files.replacing(path) as part, part.open("wb") as stream:
            np.savez(stream, **library._asdict())
    return library


def from_files(paths: Iterable[Path]) -> Library:
    """Return the library, family "user", of structure files, and of all files in folders, scaled to bonds of 1.

    A cell is ignored: its atoms are the cluster. Of files with equal distances the first is kept.

    Raises:
        ValueError: naming the file, where it is missing, ASE cannot read it, or it is no cluster of one element.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(x for x in path.iterdir() if x.is_file() and x.name[0] != ".") if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"Expected structure files, got the empty folder {path}; pass a folder with some.")
        found += inside
    return collect([scaled("user", path.name, read_cluster(path).positions) for path in found])


def of_clusters(clusters: Iterable[Cluster]) -> Library:
    """Return the library of all clusters given, in their order; equal ones are kept."""
    return _packed([(cluster, histogram(cluster.positions, width=WIDTH)) for cluster in clusters])


def cluster(library: Library, index: int) -> Cluster:
    """Return a candidate, its positions in double precision."""
    rows = slice(library.starts[index], library.starts[index + 1])
    positions = library.positions[rows].astype(np.float64)
    return Cluster(str(library.families[index]), str(library.labels[index]), positions)


def table(library: Library, index: int) -> Histogram:
    """Return a candidate's distances in bins."""
    rows = slice(library.bins[index], library.bins[index + 1])
    return Histogram(library.weight[rows], library.mean[rows], library.variance[rows], int(library.atoms[index]))


def tables(entries: Sequence[tuple[Library, int]], *, bond: float, longest: float) -> Histogram:
    """Return the distances of candidates in Å, up to `longest`, padded to one size [candidate, bin]; float32.

    Args:
        entries: each a library and an index into it.
        bond: nearest-neighbour distance, in Å.
        longest: distance, in Å.
    """
    size = max(512, 64 * math.ceil((longest / (WIDTH * bond) + 2) / 64))
    weight, mean, variance = (np.zeros((len(entries), size), np.float32) for _ in range(3))
    mean[:] = bond
    for row, (library, index) in enumerate(entries):
        start, end = library.bins[index], library.bins[index + 1]
        count = int(np.searchsorted(library.mean[start:end] * bond, longest))
        rows = slice(start, start + count)
        weight[row, :count] = library.weight[rows]
        mean[row, :count] = library.mean[rows] * bond
        variance[row, :count] = library.variance[rows] * bond**2
    return Histogram(weight, mean, variance, np.array([library.atoms[index] for library, index in entries], np.float32))


def select(
    library: Library,
    *,
    names: Iterable[str] | None = None,
    diameter: tuple[float, float] = (0.0, math.inf),
    max_atoms: int | None = None,
) -> np.ndarray:
    """Return the indices of the candidates of some families, within limits of diameter in bonds and of atoms."""
    kept = (library.diameter >= diameter[0]) & (library.diameter <= diameter[1])
    if names is not None:
        kept &= np.isin(library.families, list(names))
    if max_atoms is not None:
        kept &= library.atoms <= max_atoms
    return np.flatnonzero(kept)


def moments(positions: np.ndarray) -> tuple[int, int, int]:
    """Return the number of atoms and rounded means of d² and d⁴ over the pairs: equal for equal distance lists.

    From sums over atoms, not pairs. With a = |x|² about the centre of mass: Σ d² = 2 n Σ a, and
    Σ d⁴ = 2 n Σ a² + 2 (Σ a)² + 4 |XᵀX|² - 8 Σ a x · Σ x, whose last term is 0.
    """
    n = len(positions)
    x = positions - positions.mean(axis=0)
    a = np.einsum("ij,ij->i", x, x)
    second = 2 * n * a.sum() / n**2
    fourth = (2 * n * (a @ a) + 2 * a.sum() ** 2 + 4 * ((x.T @ x) ** 2).sum()) / n**2
    return n, round(second * RULER), round(fourth / second * RULER)


def _in_one_piece(cluster: Cluster) -> bool:
    """Return whether a cut of a lattice is connected; those of more than 60 atoms are."""
    return len(cluster.positions) > 60 or connected(cluster.positions)


def _equal(one: Histogram, other: Histogram) -> bool:
    """Return whether distance lists are the same, to `SAME`."""
    return (
        len(one.mean) == len(other.mean)
        and np.array_equal(one.weight, other.weight)
        and float(abs(one.mean - other.mean).max()) < SAME
        and float(abs(one.variance - other.variance).max()) < SAME**2
    )


def _packed(kept: Sequence[tuple[Cluster, Histogram]]) -> Library:
    """Return clusters and their histograms end to end."""
    tables = [histogram for _, histogram in kept]
    atoms = np.array([len(cluster.positions) for cluster, _ in kept], np.int32)
    bins = np.array([len(table.mean) for table in tables], np.int64)
    return Library(
        families=np.array([cluster.family for cluster, _ in kept], str),
        labels=np.array([cluster.label for cluster, _ in kept], str),
        atoms=atoms,
        diameter=np.array([table.mean[-1] for table in tables], np.float32),
        starts=np.concatenate([[0], np.cumsum(atoms, dtype=np.int64)]),
        positions=np.concatenate([np.zeros((0, 3)), *(cluster.positions for cluster, _ in kept)]).astype(np.float32),
        bins=np.concatenate([[0], np.cumsum(bins)]),
        weight=np.concatenate([np.zeros(0, np.float32), *(table.weight for table in tables)]),
        mean=np.concatenate([np.zeros(0, np.float32), *(table.mean for table in tables)]),
        variance=np.concatenate([np.zeros(0, np.float32), *(table.variance for table in tables)]),
    )


def _loaded(path: Path) -> Library | None:
    """Return the library of a file, or None where there is no whole one."""
    try:
        with np.load(path) as archive:
            library = Library(**{name: archive[name] for name in archive.files})
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    rows = len(library.atoms), len(library.labels), len(library.starts) - 1, len(library.bins) - 1
    whole = len(set(rows)) == 1 and len(library.positions) == library.starts[-1]
    return library if whole and len(library.weight) == len(library.variance) == library.bins[-1] else None


def _checked(names: Iterable[str], min_atoms: int, max_atoms: int) -> list[str]:
    """Return the families in their own order, or refuse."""
    asked = set(names)
    if unknown := sorted(asked - set(families.FAMILIES)):
        raise ValueError(f"Expected families of {', '.join(families.FAMILIES)}, got {', '.join(unknown)}; drop these.")
    if not asked:
        raise ValueError(f"Expected at least one family, got none; name some of {', '.join(families.FAMILIES)}.")
    if not 2 <= min_atoms <= max_atoms:
        raise ValueError(f"Expected 2 <= least <= most atoms, got {min_atoms} and {max_atoms}; correct the limits.")
    return [name for name in families.FAMILIES if name in asked]
