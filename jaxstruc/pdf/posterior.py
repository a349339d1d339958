"""Posterior and prior weights of candidates.

The posterior weight of a candidate is proportional to the product of its prior weight and the likelihood of its fit.
The prior weight does not depend on this fit.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SIZE_CLASS_WIDTH = 0.06
"""Width of a size class in the logarithm of the size, which is the diameter of a sphere of equal volume."""
MISFIT_EXPONENT = 0.5
"""Weight of the classifier's prediction of the type, relative to the likelihood of the fits, if the misfit of the best
candidate has no resemblance with noise."""
MIN_TYPE_EVIDENCE = 0.01
"""Smallest likelihood of a structure type that the classifier's prediction gives, relative to the most probable."""
DIAMETER_TOLERANCE = 0.05
"""Step to which diameters are rounded before they are compared, in units of the bond length. Clusters with equal
rounded diameters may be near copies of each other."""


def weights(
    rw: np.ndarray, n_independent: float, n_parameters: int, *, prior_weight: np.ndarray | float = 1.0
) -> Float[np.ndarray, " candidate"]:
    r"""Return the posterior weights of candidates, with the sum 1. Candidates whose Rw is NaN have weight 0.

    For noise of unknown size, the likelihood is proportional to $R_w^{-(n - p)}$. Here n is the number of independent
    points, and p is the number of fitted values.

    Args:
        rw: Rw of each candidate's fit.
        n_independent: Number of independent points n.
        n_parameters: Number of fitted values p.
        prior_weight: Prior weight of each candidate.
    """
    log_weight = -(n_independent - n_parameters) * np.log(np.maximum(rw, 1e-12))
    log_weight = np.where(np.isfinite(rw), log_weight + np.log(prior_weight), -np.inf)
    relative_weight = np.exp(log_weight - log_weight.max())
    return relative_weight / relative_weight.sum()


class Misfit(NamedTuple):
    """Misfit of the best candidate beyond the noise."""

    effective_fraction: float
    """Effective number of independent points of its residual, relative to the number for white noise."""
    structure_ratio: float | None
    """Mean squared residual (per degree of freedom) divided by the mean squared noise; None if the noise is unknown."""

    @property
    def noise_fraction(self) -> float:
        """Fraction of the mean squared residual that the noise explains."""
        return 1 / max(self.structure_ratio or 1.0, 1.0)

    @property
    def likelihood_exponent(self) -> float:
        r"""Exponent of the likelihoods of the fits: 1 if the best candidate explains the data, otherwise down to 1/2.

        The error of the model is taken as a second source of noise of known size. Its variance is that of the residual
        beyond the noise, so that the exponent is $1 / (1 + (\sigma_{res}^2 - \sigma_{noise}^2) / \sigma_{res}^2)$.
        """
        return 1 / (2 - self.noise_fraction)

    @property
    def model_error(self) -> float:
        """Degree to which the residual differs from noise: 0 for white noise of the known size, up to 1."""
        return 1 - min(self.effective_fraction, 1.0) * self.noise_fraction


def type_evidence(
    type_probabilities: Mapping[str, float], type_weights: Mapping[str, float], misfit: Misfit
) -> dict[str, float]:
    """Return the factor on the weights of each structure type that comes from the classifier's prediction.

    If the best candidate does not explain the data, the Rw of wrong types may be smaller by chance. The classifier has
    seen simulated data of all types, and its prediction enters the more, the less the residual resembles noise. The
    weights are then a logarithmic pool of two opinions (C. Genest, J. Zidek, Stat. Sci. 1, 114 (1986)).

    Args:
        type_probabilities: Probability of each type that the classifier predicts, with the prior weights.
        type_weights: Prior weight of each type, which is divided out.
        misfit: Misfit of the best candidate.
    """
    likelihood = {name: probability / type_weights[name] for name, probability in type_probabilities.items()}
    largest = max(likelihood.values())
    exponent = MISFIT_EXPONENT * misfit.model_error
    return {name: max(value / largest, MIN_TYPE_EVIDENCE) ** exponent for name, value in likelihood.items()}


def prior_weights(
    types: np.ndarray,
    n_atoms: np.ndarray,
    diameter: np.ndarray,
    *,
    listed_candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    type_weights: Mapping[str, float] | None = None,
) -> Float[np.ndarray, " candidate"]:
    """Return the prior weights of candidates, which do not depend on the fits.

    Each structure type has a total weight in each size class that does not depend on how many clusters the library
    lists. The weight is divided equally among the distinct clusters of the type and size class. Clusters of equal type
    with equal numbers of atoms and almost equal diameters are near copies. They share the weight of one cluster.

    Args:
        types: Structure type of each candidate.
        n_atoms: Number of atoms of each candidate.
        diameter: Diameter of each candidate, in units of the bond length.
        listed_candidates: Types, numbers of atoms and diameters of all candidates of the sources, fitted or not.
        type_weights: Prior weight of each structure type, with the mean 1 / (number of types). Other types have the
            mean weight. By default all types have equal weights.
    """
    factors = {name: len(type_weights) * weight for name, weight in type_weights.items()} if type_weights else {}
    type_factor = np.array([factors.get(name, 1.0) for name in types.tolist()])
    columns = [np.concatenate(pair) for pair in zip((types, n_atoms, diameter), listed_candidates, strict=True)]
    type_codes = {type_name: index for index, type_name in enumerate(dict.fromkeys(columns[0].tolist()))}
    type_code = np.array([type_codes[type_name] for type_name in columns[0].tolist()], np.int64)
    size_class = np.rint(np.log(columns[1].astype(float)) / (3 * SIZE_CLASS_WIDTH)).astype(np.int64)
    diameter_class = np.rint(columns[2] / DIAMETER_TOLERANCE).astype(np.int64)
    class_keys, index = np.unique(type_code * 1000 + size_class, return_inverse=True)
    copy_keys, copy_index = np.unique(
        (type_code * 10**6 + columns[1].astype(np.int64)) * 10**6 + diameter_class, return_inverse=True
    )
    copy_counts = np.bincount(copy_index[len(types) :], minlength=len(copy_keys))
    class_of_copy = np.zeros(len(copy_keys), np.int64)
    class_of_copy[copy_index] = index  # near copies belong to the same size class
    class_members = np.bincount(class_of_copy[copy_counts > 0], minlength=len(class_keys))
    candidate_slice = slice(0, len(types))
    return (
        type_factor
        / np.maximum(class_members[index[candidate_slice]], 1)
        / np.maximum(copy_counts[copy_index[candidate_slice]], 1)
    )
