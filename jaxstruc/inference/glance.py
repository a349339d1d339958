r"""What a network says of a PDF at a glance, as draws that exact fits reweight.

The classifier's density is the proposal, $Q(c) \propto g(c)\, q(c \mid G)$ with g the candidates' weights before any
fit, and the fits' weights are the target, $\pi(c)$. Draws from Q, weighted by $\pi/Q$, count for a share
$1 / \sum_c \pi^2(c) / Q(c)$ of their number: near 1 the glance was right, near 0 it says nothing of what fits found.
(A. Kong, Technical Report 348, University of Chicago (1992); M. Dax et al., Phys. Rev. Lett. 130, 171403 (2023).)
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxstruc.statistics import Interval

SCREENED_PROBABILITY = 0.9999
"""Share of what is probable at a glance that is kept for fits."""
N_DRAWS = 1000
"""Whose effective number is told."""


@dataclass(frozen=True)
class ClassifierPrior:
    """What the classifier predicts before any fit, and how far the fits agree."""

    types: dict[str, float]
    """Probability of each type, the largest first."""
    intervals: dict[str, Interval]
    """n_atoms, diameter (Å), width, hexagonal and aspect, with medians."""
    distance: float
    """From the PDFs of the training, of which 95 % lie within 1."""
    n_listed: int
    """Number of candidates in the library."""
    n_screened: int
    """Number of them that were tried; all if the PDF lies outside the training."""
    effective_samples: float
    """Effective number of `DRAWS` draws once the exact fits reweight them."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""


def proposal_weights(
    log_density: Float[np.ndarray, " candidate"], prior_weight: np.ndarray
) -> Float[np.ndarray, " candidate"]:
    """Return what each candidate has of the glance's draws; sum 1.

    Args:
        log_density: logarithm of the network's density at each.
        prior_weight: weights before any fit.
    """
    log_weight = log_density + np.log(prior_weight)
    relative_weight = np.exp(log_weight - log_weight.max())
    return relative_weight / relative_weight.sum()


def probable_candidates(
    proposal_weight: Float[np.ndarray, " candidate"],
    *,
    probability: float = SCREENED_PROBABILITY,
    min_candidates: int = 0,
) -> np.ndarray:
    """Return the places of the fewest candidates with so much of the draws together, so many at least, in order."""
    order = np.argsort(-proposal_weight, kind="stable")
    preceding_weight = np.cumsum(proposal_weight[order]) - proposal_weight[order]
    return np.sort(order[(preceding_weight < probability) | (np.arange(len(order)) < min_candidates)])
