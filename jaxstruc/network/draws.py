"""Draws of the network as candidates: what is wrong with some, and which are alike."""

import numpy as np
from scipy.spatial.distance import pdist

from jaxstruc.inference.candidates import Candidates
from jaxstruc.network.propose import PRESENT, Proposals
from jaxstruc.structures import library
from jaxstruc.structures.atoms import Cluster

OVERLAPPING = 0.6
"""Atoms closer than this many bonds make no structure."""
ALIKE = 0.035
"""Bonds. Structures whose sorted distances differ by less than this root mean square are one."""


def candidates(found: Proposals, *, bond: float, family: str) -> Candidates:
    """Return the draws for one PDF that have two atoms or more, all finite.

    Args:
        found: on the host.
        bond: nearest-neighbour distance, in Å.
        family: of what the network knows.
    """
    clusters: list[Cluster] = []
    faults: dict[int, str] = {}
    samples: list[int] = []
    for sample, (positions, weights) in enumerate(zip(found.positions, found.weights, strict=True)):
        there = np.asarray(positions[weights > PRESENT], float) / bond
        if len(there) < 2 or not np.isfinite(there).all():
            continue
        if (nearest := pdist(there).min()) < OVERLAPPING:
            faults[len(clusters)] = f"atoms {nearest * bond:.2f} Å apart"
        elif not found.converged[sample]:
            faults[len(clusters)] = "trilateration not converged"
        clusters.append(Cluster(family, f"drawn, sample {sample}", there - there.mean(axis=0)))
        samples.append(sample)
    told = {"radius": np.asarray(found.radius)[samples], "stress": np.asarray(found.stress)[samples]}
    notes = {"draws": np.ones(len(samples), int), **told}
    return Candidates("network", library.of_clusters(clusters), np.arange(len(clusters)), faults, notes)


def merged(drawn: Candidates, rw: np.ndarray, stretch: np.ndarray) -> tuple[np.ndarray, Candidates]:
    """Return the places of the best of those that are alike, sound ones first, and the candidates with their `draws`.

    Args:
        drawn: of `candidates`.
        rw: of the fit of each.
        stretch: likewise.
    """
    faulty = np.array([place in drawn.faults for place in range(len(rw))], bool)
    kept: list[int] = []
    lists: list[np.ndarray] = []
    draws = np.zeros(len(rw), int)
    for place in np.lexsort((np.where(np.isfinite(rw), rw, np.inf), faulty)):
        own = np.sort(pdist(drawn.cluster(place).positions)) * stretch[place]
        same = (first for first, other in zip(kept, lists, strict=True) if _alike(own, other))
        if (first := next(same, None)) is None:
            kept.append(int(place))
            lists.append(own)
            first = place
        draws[first] += 1
    return np.array(kept, int), drawn._replace(notes={**drawn.notes, "draws": draws})


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return len(a) == len(b) and float(np.sqrt(np.mean((a - b) ** 2))) < ALIKE
