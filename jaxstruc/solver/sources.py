"""Where candidates come from: a network, a library of clusters, the user's own files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np

from jaxstruc import files
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference.candidates import Candidates
from jaxstruc.network import draws, limits, weights
from jaxstruc.network.propose import model_input, propose
from jaxstruc.options.pdf import LibraryOptions, NetworkOptions
from jaxstruc.scattering import form_factors
from jaxstruc.structures import families, library
from jaxstruc.structures.atoms import Cluster, check_cluster, read_cluster

REACH = 20.0
"""Bonds. Longest distance in a draw that the fit sees."""


class Source(NamedTuple):
    """A source of candidates."""

    diameter: float
    """Bonds. Of its largest cluster."""
    candidates: Callable[[Sequence[Measurement]], Iterator[Candidates]]
    """Gives those of each measurement, in order."""
    recorded: dict[str, Any]
    """What of it decides a result; as JSON."""
    facts: dict[str, Any]
    """What a result says of it."""


def of_network(options: NetworkOptions, *, bond: float) -> Source:
    """Return the draws of a network.

    Args:
        options: what is asked of it.
        bond: nearest-neighbour distance of the sample, in Å.

    Raises:
        ValueError: for weights that cannot be read.
    """
    network = weights.load(options.weights)
    known = {shape.split()[0] for shape in network.card["data"]["shapes"]}
    family = known.pop() if len(known) == 1 else "drawn"
    make = jax.jit(partial(propose, network=network.module, samples=options.samples, bond=bond))

    def candidates(measurements: Sequence[Measurement]) -> Iterator[Candidates]:
        for measurement in measurements:  # one by one: a result does not depend on the files beside it, to the last bit
            pdf = jnp.asarray(model_input(measurement, rmin=measurement.given["rmin"]), jnp.float32)
            drawn = jax.device_get(make(network.params, pdf, jax.random.key(options.seed)))
            outside = partial(limits.outside, network.card["limits"], measurement, bond)
            yield draws.candidates(drawn, bond=bond, family=family)._replace(outside=outside)

    recorded = {"samples": options.samples, "seed": options.seed, "weights": files.sha256(options.weights)}
    facts = {"seed": options.seed, "model": network.card["name"]}
    return Source(REACH, candidates, recorded | {"model": facts["model"]}, facts)


def of_library(
    options: LibraryOptions, *, bond: float, progress: Callable[[int, int, str], None] | None = None
) -> Source:
    """Return the clusters of a library.

    Args:
        options: which clusters.
        bond: nearest-neighbour distance of the sample, in Å.
        progress: called while the library is built.

    Raises:
        ValueError: for unknown families, limits that cannot be or files that are no clusters.
    """
    own = bool(options.library)
    if own:
        found = library.from_files(options.library)
    else:
        found = library.cached(
            options.families or tuple(families.FAMILIES), max_atoms=options.max_atoms, progress=progress
        )
    allowed = library.select(found, max_atoms=options.max_atoms)
    if not len(allowed):
        raise ValueError(f"Expected a cluster of at most {options.max_atoms} atoms, got none; raise --max-atoms.")

    def candidates(measurements: Sequence[Measurement]) -> Iterator[Candidates]:
        source, largest = ("file", 0) if own else ("library", options.max_atoms)
        for _ in measurements:
            yield Candidates(source, found, allowed, largest=largest)

    recorded = {
        "families": sorted(options.families),
        "max_atoms": options.max_atoms,
        "library": {str(path): files.sha256(path) for path in _inside(options.library)},
    }
    return Source(float(found.diameter[allowed].max()), candidates, recorded, {})


def of_files(clusters: Sequence[ase.Atoms | Path | str]) -> tuple[str, Source]:
    """Return the element of the user's clusters, and the clusters, all of them and as they are.

    Args:
        clusters: atoms, or structure files.

    Raises:
        ValueError: for a file that is no cluster of one element, or clusters of unlike elements.
    """
    names = [
        f"{one.get_chemical_formula()}, number {place}" if isinstance(one, ase.Atoms) else str(one)
        for place, one in enumerate(clusters, start=1)
    ]
    read = [one if isinstance(one, ase.Atoms) else read_cluster(Path(one)) for one in clusters]
    for name, atoms in zip(names, read, strict=True):
        check_cluster(atoms, name)
    elements = sorted({symbol for atoms in read for symbol in atoms.get_chemical_symbols()})
    if len(elements) != 1:
        raise ValueError(f"Expected clusters of one element, got {', '.join(elements) or 'none'}; refine them apart.")
    bond = form_factors.bond_length(elements[0])
    own = library.of_clusters(
        Cluster("file", name, (atoms.positions - atoms.positions.mean(axis=0)) / bond)
        for name, atoms in zip(names, read, strict=True)
    )

    def candidates(measurements: Sequence[Measurement]) -> Iterator[Candidates]:
        for _ in measurements:
            yield Candidates("file", own, np.arange(len(names)))

    paths = [Path(one) for one in clusters if not isinstance(one, ase.Atoms)]
    recorded = {"clusters": {str(path): files.sha256(path) for path in paths}}
    return elements[0], Source(float(own.diameter.max()) + 1, candidates, recorded, {})


def _inside(places: Sequence[Path]) -> list[Path]:
    """Return files, and those in folders."""
    found = [path for place in places for path in ([place] if place.is_file() else place.iterdir())]
    return sorted(path for path in found if path.is_file())
