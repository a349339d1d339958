"""Candidates of any source, fitted alike: in batches of one size, with one compilation for files of the same span."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from jaxstruc.inference import fit
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.target import Basis, Target
from jaxstruc.scattering import templates
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.scattering.templates import Template
from jaxstruc.structures import library
from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.distances import Histogram
from jaxstruc.structures.library import Library

BATCH, BATCH_ON_ACCELERATORS, FEW = 64, 512, 16
"""Candidates fitted at once, which a processor's cache holds; on accelerators; and where there are few, at least."""


class Candidates(NamedTuple):
    """Clusters of one source that may be behind a measurement."""

    source: str
    """network, library or file."""
    library: Library
    rows: np.ndarray
    """[candidate] indices into the library."""
    faults: Mapping[int, str] = MappingProxyType({})
    """What is wrong with some, by their place; they rank last."""
    notes: Mapping[str, np.ndarray] = MappingProxyType({})
    """More that the source knows of each candidate, by name."""
    outside: Callable[[float], tuple[str, ...]] = lambda size: ()
    """What lies outside that which the source knows, in words, where the particle has a diameter in Å."""
    largest: int = 0
    """Most atoms that could have been found, where that is a choice; 0 where it is not."""

    def cluster(self, place: int) -> Cluster:
        """Return one cluster."""
        return library.cluster(self.library, int(self.rows[place]))


class Pool(NamedTuple):
    """Candidates of several sources as one list."""

    groups: tuple[Candidates, ...]
    group: np.ndarray
    """[candidate] which group it is of."""
    place: np.ndarray
    """[candidate] its place in the group."""

    def chosen(self, which: np.ndarray) -> "Pool":
        """Return some of the candidates, in that order."""
        return self._replace(group=self.group[which], place=self.place[which])

    def entry(self, at: int) -> tuple[Library, int]:
        """Return a candidate's library and index."""
        group = self.groups[self.group[at]]
        return group.library, int(group.rows[self.place[at]])

    @property
    def faulty(self) -> np.ndarray:
        """[candidate] whether something is wrong with it."""
        return np.array(
            [int(place) in self.groups[g].faults for g, place in zip(self.group, self.place, strict=True)], bool
        )

    @property
    def families(self) -> np.ndarray:
        """[candidate] the rule that lists it."""
        return self._column(lambda group: group.library.families[group.rows])

    @property
    def atoms(self) -> np.ndarray:
        """[candidate] numbers of atoms."""
        return self._column(lambda group: group.library.atoms[group.rows])

    @property
    def diameter(self) -> np.ndarray:
        """[candidate] largest distance, in bonds."""
        return self._column(lambda group: group.library.diameter[group.rows])

    def _column(self, of: Callable[[Candidates], np.ndarray]) -> np.ndarray:
        columns = [of(group) for group in self.groups]
        starts = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
        return np.concatenate(columns)[starts[self.group] + self.place]


def pool(groups: Sequence[Candidates]) -> Pool:
    """Return the candidates of several sources together."""
    sizes = [len(group.rows) for group in groups]
    return Pool(
        tuple(groups),
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([np.arange(size) for size in sizes]) if sizes else np.zeros(0, int),
    )


def fit_all(
    candidates: Pool,
    target: Target,
    *,
    free: tuple[str, ...] = USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Return the fits of all candidates, on the host.

    Args:
        candidates: at least one.
        target: the data.
        free: what is fitted.
        progress: called with candidates done and in all.
    """
    found, count = [], len(candidates.place)
    size = _padded(count)
    for start in range(0, count, size):
        batch = np.arange(start, min(start + size, count))
        found.append(fit_tables(tables(candidates.chosen(batch), target, size=size), target, free=free))
        if progress:
            progress(start + len(batch), count)
    fits = jax.tree.map(lambda *columns: np.concatenate(columns), *found)
    return rows(fits, slice(0, count))


def tables(candidates: Pool, target: Target, *, size: int = 0) -> Template:
    """Return the candidates' tables, as fits need them, with a leading axis.

    Args:
        candidates: at least one.
        target: the data.
        size: of the axis at least; further rows repeat the last candidate.
    """
    count = len(candidates.place)
    which = np.arange(max(size, count, _padded(count))).clip(max=count - 1)
    entries = [candidates.entry(at) for at in which]
    return _tables(library.tables(entries, bond=target.bond, longest=target.span.longest), target.basis)


def fit_tables(tables: Template, target: Target, *, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fits of candidates whose tables are made, on the host; those of padding too."""
    return jax.tree.map(np.asarray, _fits(tables, target.basis, free=free))


def rows(columns, which):
    """Return some rows of arrays that share their first axis, in any tree."""
    return jax.tree.map(lambda column: column[which], columns)


def joined(one, other):
    """Return arrays one after another along their first axis, in any tree."""
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), one, other)


def _padded(count: int) -> int:
    """Return the size of a batch for so many candidates."""
    largest = BATCH if jax.default_backend() == "cpu" else BATCH_ON_ACCELERATORS
    return min(largest, max(FEW, 1 << (count - 1).bit_length()))


@jax.jit
def _tables(histograms: Histogram, basis: Basis) -> Template:
    return jax.vmap(lambda histogram: templates.template(histogram, basis.bond, span=basis.span))(histograms)


@partial(jax.jit, static_argnames="free")
def _fits(tables: Template, basis: Basis, *, free: tuple[str, ...]) -> Fit:
    return fit.refine_all(tables, basis, free=free)
