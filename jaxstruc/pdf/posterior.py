"""What fits say of candidates: their weights, and what they weigh before any fit."""

import numpy as np
from jaxtyping import Float

SIZE_CLASS_WIDTH = 0.06
"""Of a class of sizes, in the logarithm of the diameter of a sphere."""
DIAMETER_TOLERANCE = 0.05
"""Bonds, of the diameters of near copies."""


def weights(
    rw: np.ndarray, n_independent: float, n_parameters: int, *, prior_weight: np.ndarray | float = 1.0
) -> Float[np.ndarray, " candidate"]:
    r"""Return the relative weights of candidates from their misfits; NaN counts as 0.

    With noise of unknown size the likelihood is proportional to $R_w^{-(n - p)}$, n the number of independent points
    and p of fitted values.

    Args:
        rw: of the fits.
        n_independent: points.
        n_parameters: fitted.
        prior_weight: weights before the fit.
    """
    log_weight = -(n_independent - n_parameters) * np.log(np.maximum(rw, 1e-12))
    log_weight = np.where(np.isfinite(rw), log_weight + np.log(prior_weight), -np.inf)
    relative_weight = np.exp(log_weight - log_weight.max())
    return relative_weight / relative_weight.sum()


def prior_weights(
    types: np.ndarray,
    n_atoms: np.ndarray,
    diameter: np.ndarray,
    *,
    listed_candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Float[np.ndarray, " candidate"]:
    """Return the weights of candidates before any fit: each type has the same at each size, whatever its rules list.

    A type's weight at a size is divided among its distinct members listed there; near copies, with the same number of
    atoms and nearly the same diameter, share one part.

    Args:
        types: of the candidates.
        n_atoms: numbers of theirs.
        diameter: theirs, in bonds.
        listed_candidates: types, atoms and diameters of all that were listed, fitted or not.
    """
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
    class_of_copy[copy_index] = index  # copies of one kind and number of atoms have one place
    class_members = np.bincount(class_of_copy[copy_counts > 0], minlength=len(class_keys))
    candidate_slice = slice(0, len(types))
    return (
        1
        / np.maximum(class_members[index[candidate_slice]], 1)
        / np.maximum(copy_counts[copy_index[candidate_slice]], 1)
    )
