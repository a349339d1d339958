"""Draws of the network as candidates: what is wrong with some, and which are alike."""

import numpy as np
from scipy.spatial.distance import pdist

from jaxstruc.inference.candidates import CandidateGroup
from jaxstruc.network.propose import MIN_PRESENCE, Proposals
from jaxstruc.structures import library
from jaxstruc.structures.atoms import Cluster

MIN_ATOM_DISTANCE = 0.6
"""Atoms closer than this many bonds make no structure."""
MAX_DUPLICATE_DIFFERENCE = 0.035
"""Bonds. Structures whose sorted distances differ by less than this root mean square are one."""


def network_candidates(proposals: Proposals, *, bond: float, family: str) -> CandidateGroup:
    """Return the draws for one PDF that have two atoms or more, all finite.

    Args:
        proposals: on the host.
        bond: nearest-neighbour distance, in Å.
        family: of what the network knows.
    """
    clusters: list[Cluster] = []
    faults: dict[int, str] = {}
    sample_indices: list[int] = []
    for sample_index, (positions, weights) in enumerate(zip(proposals.positions, proposals.weights, strict=True)):
        present_positions = np.asarray(positions[weights > MIN_PRESENCE], float) / bond
        if len(present_positions) < 2 or not np.isfinite(present_positions).all():
            continue
        if (nearest_distance := pdist(present_positions).min()) < MIN_ATOM_DISTANCE:
            faults[len(clusters)] = f"atoms {nearest_distance * bond:.2f} Å apart"
        elif not proposals.converged[sample_index]:
            faults[len(clusters)] = "trilateration not converged"
        clusters.append(
            Cluster(family, f"drawn, sample {sample_index}", present_positions - present_positions.mean(axis=0))
        )
        sample_indices.append(sample_index)
    sample_notes = {
        "radius": np.asarray(proposals.radius)[sample_indices],
        "stress": np.asarray(proposals.stress)[sample_indices],
    }
    notes = {"draws": np.ones(len(sample_indices), int), **sample_notes}
    return CandidateGroup("network", library.from_clusters(clusters), np.arange(len(clusters)), faults, notes)


def merge_duplicates(group: CandidateGroup, rw: np.ndarray, stretch: np.ndarray) -> tuple[np.ndarray, CandidateGroup]:
    """Return the places of the best of those that are alike, sound ones first, and the candidates with their `draws`.

    Args:
        group: of `candidates`.
        rw: of the fit of each.
        stretch: likewise.
    """
    is_faulty = np.array([index in group.faults for index in range(len(rw))], bool)
    unique_indices: list[int] = []
    unique_distances: list[np.ndarray] = []
    draw_counts = np.zeros(len(rw), int)
    for index in np.lexsort((np.where(np.isfinite(rw), rw, np.inf), is_faulty)):
        candidate_distances = np.sort(pdist(group.cluster(index).positions)) * stretch[index]
        matches = (
            representative
            for representative, other_distances in zip(unique_indices, unique_distances, strict=True)
            if _are_duplicates(candidate_distances, other_distances)
        )
        if (representative := next(matches, None)) is None:
            unique_indices.append(int(index))
            unique_distances.append(candidate_distances)
            representative = index
        draw_counts[representative] += 1
    return np.array(unique_indices, int), group._replace(notes={**group.notes, "draws": draw_counts})


def _are_duplicates(first_distances: np.ndarray, second_distances: np.ndarray) -> bool:
    return (
        len(first_distances) == len(second_distances)
        and float(np.sqrt(np.mean((first_distances - second_distances) ** 2))) < MAX_DUPLICATE_DIFFERENCE
    )
