"""Candidates of any source, fitted alike: in batches of one size, with one compilation for files of the same span."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

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

BATCH, FEW = 256, 16
"""Candidates fitted at once, and where there are few, at least."""


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
    facts: Mapping[str, Any] = MappingProxyType({})
    """What the source knows of the measurement, by name."""
    remarks: tuple[str, ...] = ()
    """What a person should know of it."""

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
    size = min(BATCH, max(FEW, 1 << (count - 1).bit_length()))
    for start in range(0, count, size):
        batch = np.arange(start, min(start + size, count))
        filled = np.concatenate([batch, np.full(size - len(batch), batch[-1])])
        fits = _fit_batch(_histograms(candidates, filled, target), target.basis, free=free)
        found.append(jax.tree.map(lambda column, count=batch.size: np.asarray(column[:count]), fits))
        if progress:
            progress(start + len(batch), count)
    return jax.tree.map(lambda *columns: np.concatenate(columns), *found)


def tables(candidates: Pool, target: Target) -> Template:
    """Return the candidates' tables, as fits need them, with a leading axis."""
    return _tables(_histograms(candidates, np.arange(len(candidates.place)), target), target.basis)


def _histograms(candidates: Pool, which: np.ndarray, target: Target) -> Histogram:
    entries = [candidates.entry(at) for at in which]
    return library.tables(entries, bond=target.bond, longest=target.span.longest)


@jax.jit
def _tables(histograms: Histogram, basis: Basis) -> Template:
    return jax.vmap(lambda histogram: templates.template(histogram, basis.bond, span=basis.span))(histograms)


@partial(jax.jit, static_argnames="free")
def _fit_batch(histograms: Histogram, basis: Basis, *, free: tuple[str, ...]) -> Fit:
    return fit.refine_all(_tables(histograms, basis), basis, free=free)
