"""What the classifier says of PDFs before any fit: which candidates are worth trying, and where searches begin."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from jaxstruc import statistics
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import glance, posterior
from jaxstruc.inference.candidates import Candidates
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.network import naming, weights
from jaxstruc.network.classifier import CENTRE, SPREAD, Mixture
from jaxstruc.network.naming import Named
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.structures.cuts import TYPES
from jaxstruc.structures.families import TYPES as OF_FAMILY
from jaxstruc.structures.library import Library

WIDE, CLOSE = (0.12, 0.08), (0.03, 0.03)
"""Spreads of log n_atoms, and of log diameter less a third of it, that are added to the network's: of what is tried,
so that a likely size is not missed by a little; and of what it is judged by, since a list has gaps."""
LIKELY, DRAWN = 0.01, 256
"""Least probability of a packing that is searched; draws of its number of atoms."""
OF_PACKING = {"stack": ("fcc", "hcp", "faulted")} | {
    name: (name,) for name in ("bcc", "sc", "icosahedron", "decahedron")
}
MAY_BE = {"faulted": ("faulted", "fcc", "hcp"), "decahedron": ("decahedron", "faulted")}
"""What a rule's clusters may be by their atoms, beside what it is for: cuts show a part of its layers or its twins."""
LEAST, MOST = 10, 1000
"""Atoms of the particles that it was trained on; smaller and larger ones count as these."""


class Screen(NamedTuple):
    """The classifier, or why there is none."""

    network: TrainedClassifier | None
    missing: str = ""


class Look(NamedTuple):
    """What the classifier says of one PDF."""

    named: Named
    outside: tuple[str, ...]
    """How the PDF lies outside the training; it is then not screened."""


def screen(path: Path) -> Screen:
    """Return the classifier of a file; where it cannot be read, the reason."""
    try:
        return Screen(weights.load_classifier(path))
    except ValueError as error:
        return Screen(None, f"not screened: {error}")


def looks(measurements: Sequence[Measurement], own: Screen, *, bond: float) -> list[Look | None]:
    """Return what the classifier says of each PDF; None of all where there is none.

    Args:
        measurements: with all settings.
        own: the classifier.
        bond: nearest-neighbour distance, in Å.
    """
    if own.network is None:
        return [None] * len(measurements)
    named = naming.named(measurements, own.network, bond=bond)
    return [
        Look(one, naming.outside(measurement, one, bond=bond) if np.isfinite(one.oddness) else ("unreadable",))
        for measurement, one in zip(measurements, named, strict=True)
    ]


def kept(look: Look, group: Candidates, *, least: int = 0) -> np.ndarray:
    """Return the candidates that are probable at a glance, so many at least, as rows of their library, in its order."""
    return group.rows[glance.probable(_share(look, group, WIDE), least=least)]


def told(look: Look, group: Candidates, kept: int, tried: np.ndarray, weight: np.ndarray) -> ClassifierPrior:
    """Return what a result says of it.

    Args:
        look: of the PDF.
        group: candidates of the library, all of them.
        kept: number of those tried.
        tried: rows of the library that were fitted.
        weight: theirs, by the fits.
    """
    share = np.zeros(len(group.library.atoms))
    share[group.rows] = _share(look, group, CLOSE)
    part = statistics.effective_fraction(weight / weight.sum(), share[tried]) if weight.sum() > 0 else 0.0
    named = look.named
    return ClassifierPrior(named.types, named.intervals, named.distance, len(group.rows), kept, glance.DRAWS * part)


def likely(look: Look | None, groups: Sequence[Candidates]) -> dict[str, np.ndarray] | None:
    """Return `DRAWN` numbers of atoms of each packing of a library that is likely at a glance.

    None where it says nothing, or there is no library.
    """
    listed = {OF_FAMILY.get(name) for one in groups if one.source == "library" for name in set(one.library.families)}
    if look is None or look.outside or not listed:
        return None
    rng, mixture, found = np.random.default_rng(17), look.named.mixture, {}
    for packing, names in OF_PACKING.items():
        if not listed & set(names):
            continue
        kind = logsumexp(mixture.type[:, [TYPES.index(name) for name in names]], axis=1)
        weight = np.exp(mixture.weight + kind)
        if weight.sum() < LIKELY:
            continue
        component = rng.choice(len(weight), DRAWN, p=weight / weight.sum())
        log_n = rng.normal(mixture.mean[component, 0], mixture.deviation[component, 0]) * SPREAD[0] + CENTRE[0]
        found[packing] = np.clip(np.rint(np.exp(log_n)), LEAST, MOST).astype(int)
    return found


def _share(look: Look, group: Candidates, spread: tuple[float, float]) -> np.ndarray:
    """Return the share of the glance's draws of each candidate of a group."""
    library, rows = group.library, group.rows
    types = np.array([OF_FAMILY.get(family, "") for family in library.families[rows]], object)
    traits = types, library.atoms[rows], library.diameter[rows]
    return glance.share(
        density(look.named.mixture, library, rows, types, spread), posterior.prior(*traits, listed=traits)
    )


def density(mixture: Mixture, library: Library, rows: np.ndarray, types: np.ndarray, spread: tuple[float, float]):
    """Return the logarithm of the network's density at candidates [row], by type, number of atoms and diameter.

    Args:
        mixture: of one PDF, on the host.
        library: of the candidates.
        rows: of these.
        types: of these.
        spread: added to the network's.
    """
    log_n = np.log(np.clip(library.atoms[rows], LEAST, MOST))
    slimness = np.log(library.diameter[rows]) - np.log(library.atoms[rows]) / 3
    of_type = {
        name: logsumexp(mixture.type[:, [TYPES.index(each) for each in MAY_BE.get(name, (name,))]], axis=1)
        for name in set(types.tolist())
    }
    found = mixture.weight + np.stack([of_type[name] for name in types.tolist()])
    for column, value in enumerate((log_n, slimness)):
        wide = np.hypot(mixture.deviation[:, column], spread[column] / SPREAD[column])
        off = ((value - CENTRE[column]) / SPREAD[column])[:, None] - mixture.mean[:, column]
        found = found - 0.5 * (off / wide) ** 2 - np.log(wide) - 0.5 * math.log(2 * math.pi)
    return logsumexp(found, axis=1)
