"""Sources of candidates: a network, a library of clusters, and the user's files.

The network draws structures for each measurement. A draw with a fault (e.g. atoms that are too close) remains a
candidate but ranks last. Duplicate draws are merged.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import pdist

from jaxstruc import files
from jaxstruc.clusters import families, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import FieldStore, cached_store
from jaxstruc.clusters.structure_files import (
    check_cluster,
    read_clusters,
    split_frames,
    structure_remarks,
    whole_cluster,
)
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.network.cvae import propose
from jaxstruc.network.cvae.propose import MIN_PRESENCE, Proposals, model_input, propose_structures
from jaxstruc.options.pdf import LibraryOptions, NetworkOptions
from jaxstruc.pdf.candidates import CandidateGroup, TableStore
from jaxstruc.scattering import form_factors

MAX_DRAW_DIAMETER = 20.0
"""Largest distance between atoms of a draw that a fit includes, in units of the bond length."""
MIN_ATOM_DISTANCE = 0.6
"""Smallest distance between two atoms of a draw without a fault, in units of the bond length."""
MAX_DUPLICATE_DIFFERENCE = 0.035
"""Root mean square difference of the sorted distances below which two draws are duplicates, in units of the bond
length."""


FAULT = "the structure drawn by the network is faulty"
"""Start of the remark on a draw with a fault."""


class CandidateSource(NamedTuple):
    """Source of candidates for measurements."""

    diameter: float
    """Largest diameter of a cluster of the source, in units of the bond length."""
    candidates: Callable[[Sequence[Measurement]], Iterator[CandidateGroup]]
    """Function that yields the candidates of each measurement, in the order of the measurements."""
    provenance: dict[str, Any]
    """Properties of the source that determine a result, as JSON values."""
    facts: dict[str, Any]
    """Information about the source that a result records."""
    fields: FieldStore | None = None
    """Displacement fields of the clusters of a library, which are kept for later runs; None if there are none."""
    n_user_structures: int = 0
    """Number of the user's structures, all of which are fitted and written; 0 for other sources."""


def network_source(options: NetworkOptions, element: str) -> CandidateSource:
    """Return the draws of a network as a source of candidates.

    Args:
        options: Weights, number of draws and seed.
        element: Symbol of the element.

    Raises:
        ValueError: If the weights cannot be read.
    """
    network, bond = weights.load_autoencoder(options.weights), form_factors.bond_length(element)
    shape_families = {shape.split()[0] for shape in network.card["data"]["shapes"]}
    family = shape_families.pop() if len(shape_families) == 1 else "drawn"
    propose_draws = jax.jit(partial(propose_structures, network=network.module, n_draws=options.draws, bond=bond))

    def iterate_candidates(measurements: Sequence[Measurement]) -> Iterator[CandidateGroup]:
        for measurement in measurements:  # one at a time, so that results do not depend on the other files
            pdf = jnp.asarray(model_input(measurement, rmin=measurement.settings_by_name["rmin"]), jnp.float32)
            network_draws = jax.device_get(propose_draws(network.params, pdf, jax.random.key(options.seed)))
            range_remarks = partial(propose.range_warnings, network.card["limits"], measurement, bond)
            group = network_candidates(network_draws, bond=bond, family=family)
            yield group._replace(training_warnings=range_remarks, fields=FieldStore(group.library, element))

    provenance = {"samples": options.draws, "seed": options.seed, "weights": files.sha256(options.weights)}
    facts = {"seed": options.seed, "model": network.card["name"]}
    return CandidateSource(MAX_DRAW_DIAMETER, iterate_candidates, provenance | {"model": facts["model"]}, facts)


def library_source(
    options: LibraryOptions, element: str, *, progress: Callable[[int, int, str], None] | None = None
) -> CandidateSource:
    """Return the clusters of a library as a source of candidates.

    Args:
        options: Families and largest number of atoms, or files.
        element: Symbol of the element.
        progress: Function that is called while the library is built.

    Raises:
        ValueError: If a family is unknown, if no cluster is within the limit, or if a file does not contain a cluster.
    """
    from_files = bool(options.library)
    remarks: list[str] = []
    if from_files:
        cluster_library, remarks = library.from_files(options.library)
        fields = FieldStore(cluster_library, element)
    else:
        names: tuple[str, ...] = options.families or tuple(families.FAMILIES)
        cluster_library = library.load_or_build(names, max_atoms=options.max_atoms, progress=progress)
        fields = cached_store(cluster_library, element, library.cache_key(names, max_atoms=options.max_atoms))
    allowed_rows = library.select(cluster_library, max_atoms=options.max_atoms)
    if not len(allowed_rows):
        raise ValueError(f"Expected a cluster of at most {options.max_atoms} atoms, got none; raise --max-atoms.")
    if from_files and (n_large := len(cluster_library.atoms) - len(allowed_rows)):
        remarks.append(
            f"{n_large} of {len(cluster_library.atoms)} structures of --library have more than {options.max_atoms} "
            "atoms and were left out: raise --max-atoms to include them"
        )

    tables = TableStore()

    def iterate_candidates(measurements: Sequence[Measurement]) -> Iterator[CandidateGroup]:
        source_name, max_atoms = ("file", 0) if from_files else ("library", options.max_atoms)
        for _ in measurements:
            yield CandidateGroup(
                source_name,
                cluster_library,
                allowed_rows,
                remarks=tuple(remarks),
                max_atoms=max_atoms,
                fields=fields,
                tables=tables,
            )

    provenance = {
        "families": sorted(options.families),
        "max_atoms": options.max_atoms,
        "library": {str(path): files.sha256(path) for path in _files_inside(options.library)},
    }
    diameter = float(cluster_library.diameter[allowed_rows].max())
    return CandidateSource(diameter, iterate_candidates, provenance, {}, fields)


def file_source(clusters: Sequence[ase.Atoms | Path | str]) -> tuple[str, CandidateSource]:
    """Return the element of the user's clusters, and these clusters as a source of candidates.

    Args:
        clusters: ASE atoms or paths of structure files. All structures (frames) of a file are candidates.

    Raises:
        ValueError: If a file does not contain a cluster of one element, or if the clusters have different elements.
    """
    named_structures: list[tuple[str, ase.Atoms]] = []
    for number, cluster in enumerate(clusters, start=1):
        if isinstance(cluster, ase.Atoms):
            name = f"{cluster.get_chemical_formula()}, number {number}"
            named_structures.append((name, whole_cluster(cluster, name)))
        else:
            named_structures += read_clusters(Path(cluster)).items()
    names, structures = [name for name, _ in named_structures], [atoms for _, atoms in named_structures]
    for name, atoms in named_structures:
        check_cluster(atoms, name)
    elements = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    if len(elements) != 1:
        raise ValueError(
            f"Expected clusters of one element, got {', '.join(elements) or 'none'}; refine each element separately."
        )
    bond, remarks = form_factors.bond_length(elements[0]), tuple(structure_remarks(dict(named_structures)))
    cluster_library = library.from_clusters(
        Cluster("file", name, (atoms.positions - atoms.positions.mean(axis=0)) / bond)
        for name, atoms in named_structures
    )

    fields, tables = FieldStore(cluster_library, elements[0]), TableStore()

    def iterate_candidates(measurements: Sequence[Measurement]) -> Iterator[CandidateGroup]:
        for _ in measurements:
            yield CandidateGroup(
                "file", cluster_library, np.arange(len(names)), remarks=remarks, fields=fields, tables=tables
            )

    paths = [Path(cluster) for cluster in clusters if not isinstance(cluster, ase.Atoms)]
    provenance = {"clusters": {str(path): files.sha256(split_frames(path)[0]) for path in paths}}
    diameter = float(cluster_library.diameter.max()) + 1
    return elements[0], CandidateSource(diameter, iterate_candidates, provenance, {}, n_user_structures=len(names))


def network_candidates(proposals: Proposals, *, bond: float, family: str) -> CandidateGroup:
    """Return the draws for one PDF as candidates.

    Draws with fewer than two atoms or with positions that are not finite are left out.

    Args:
        proposals: Draws of the network, as NumPy arrays.
        bond: Nearest-neighbour distance, in Å.
        family: Family of the clusters on which the network was trained.
    """
    clusters: list[Cluster] = []
    faults: dict[int, str] = {}
    sample_indices: list[int] = []
    for sample_index, (positions, presence) in enumerate(zip(proposals.positions, proposals.weights, strict=True)):
        present_positions = np.asarray(positions[presence > MIN_PRESENCE], float) / bond
        if len(present_positions) < 2 or not np.isfinite(present_positions).all():
            continue
        if (nearest_distance := pdist(present_positions).min()) < MIN_ATOM_DISTANCE:
            faults[len(clusters)] = f"{FAULT}: two atoms are only {nearest_distance * bond:.2f} Å apart"
        elif not proposals.converged[sample_index]:
            faults[len(clusters)] = f"{FAULT}: the placement of the atoms by their distances did not converge"
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
    """Return the index of the best candidate in each set of duplicates, and the group with the size of each set.

    The indices are in the order of Rw, with faulty candidates last. The group stores the sizes of the sets in its
    `notes` as `draws`.

    Args:
        group: Candidates of the network.
        rw: Rw of each candidate's fit.
        stretch: Stretch of each candidate's fit.
    """
    is_faulty = np.array([index in group.invalid_reasons for index in range(len(rw))], bool)
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


def _files_inside(inputs: Sequence[Path]) -> list[Path]:
    """Return the sorted paths of the files in a list of files and folders."""
    entries = [split_frames(entry)[0] for entry in inputs]
    file_paths = [path for entry in entries for path in ([entry] if entry.is_file() else entry.iterdir())]
    return sorted(path for path in file_paths if path.is_file())


def _are_duplicates(first_distances: np.ndarray, second_distances: np.ndarray) -> bool:
    """Return whether two draws with the given sorted distances are duplicates."""
    return (
        len(first_distances) == len(second_distances)
        and float(np.sqrt(np.mean((first_distances - second_distances) ** 2))) < MAX_DUPLICATE_DIFFERENCE
    )
