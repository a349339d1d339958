"""What fits say of candidates: their weights, and what they weigh before any fit."""

import numpy as np
from jaxtyping import Float

SIZE = 0.06
"""Of a class of sizes, in the logarithm of the diameter of a sphere."""
ALIKE = 0.05
"""Bonds, of the diameters of near copies."""


def weights(
    rw: np.ndarray, independent: float, parameters: int, *, before: np.ndarray | float = 1.0
) -> Float[np.ndarray, " candidate"]:
    r"""Return the relative weights of candidates from their misfits; NaN counts as 0.

    With noise of unknown size the likelihood is proportional to $R_w^{-(n - p)}$, n the number of independent points
    and p of fitted values.

    Args:
        rw: of the fits.
        independent: points.
        parameters: fitted.
        before: weights before the fit.
    """
    logarithm = -(independent - parameters) * np.log(np.maximum(rw, 1e-12))
    logarithm = np.where(np.isfinite(rw), logarithm + np.log(before), -np.inf)
    relative = np.exp(logarithm - logarithm.max())
    return relative / relative.sum()


def prior(
    types: np.ndarray,
    atoms: np.ndarray,
    diameter: np.ndarray,
    *,
    listed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Float[np.ndarray, " candidate"]:
    """Return the weights of candidates before any fit: each type has the same at each size, whatever its rules list.

    A type's weight at a size is divided among its distinct members listed there; near copies, with the same number of
    atoms and nearly the same diameter, share one part.

    Args:
        types: of the candidates.
        atoms: numbers of theirs.
        diameter: theirs, in bonds.
        listed: types, atoms and diameters of all that were listed, fitted or not.
    """
    every = [np.concatenate(pair) for pair in zip((types, atoms, diameter), listed, strict=True)]
    names = {name: place for place, name in enumerate(dict.fromkeys(every[0].tolist()))}
    kind = np.array([names[name] for name in every[0].tolist()], np.int64)
    size = np.rint(np.log(every[1].astype(float)) / (3 * SIZE)).astype(np.int64)
    near = np.rint(every[2] / ALIKE).astype(np.int64)
    of_place, place = np.unique(kind * 1000 + size, return_inverse=True)
    of_copy, copy = np.unique((kind * 10**6 + every[1].astype(np.int64)) * 10**6 + near, return_inverse=True)
    count = np.bincount(copy[len(types) :], minlength=len(of_copy))
    first = np.zeros(len(of_copy), np.int64)
    first[copy] = place  # copies of one kind and number of atoms have one place
    members = np.bincount(first[count > 0], minlength=len(of_place))
    own = slice(0, len(types))
    return 1 / np.maximum(members[place[own]], 1) / np.maximum(count[copy[own]], 1)
