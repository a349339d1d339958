r"""Pair and satellite distances to coordinates: one L-BFGS problem for all atoms, differentiable.

KDD 2020 section 4.2 places one atom after another. Here all atoms move together, from a closed-form start, under the
weighted stress

$s(x) = \frac{1}{2N} [ \sum_{i<j} w_i w_j (|x_i - x_j| - d_{ij})^2 + \sum_{i,s} w_i (|x_i - a_s| - d_{is})^2
+ \sum_i (1 - w_i) |x_i - x_i^0|^2 ]$,

whose last term keeps absent atoms ($w_i = 0$) at their start. `jax.vmap` makes a batch of it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.structure import separation


class Trilateration(NamedTuple):
    """Coordinates and how they were found."""

    positions: Float[Array, "atom 3"]
    """In the distances' unit (radii of the particle)."""
    stress: Float[Array, ""]
    """Weighted root mean square difference of given and final distances."""
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    """True where the gradient fell below the tolerance before the iterations ran out, and all is finite."""


def trilaterate(
    pair: Float[Array, "atom atom"],
    satellite: Float[Array, "atom satellite"],
    presence: Float[Array, " atom"],
    anchors: Float[Array, "satellite 3"],
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> Trilateration:
    """Return the coordinates whose distances agree best with those given.

    Derivatives in the distances and in the presence come by implicit differentiation at the solution.

    Args:
        pair: distances between atoms, symmetric; the diagonal is not read.
        satellite: distances from atoms to satellites.
        presence: weight of each atom, 0 (padding) to 1.
        anchors: the satellites, at least four that are not coplanar.
        iterations: most iterations; what is not converged by then is flagged.
        tolerance: on the norm of the stress's gradient.
    """
    start = linear_start(satellite, anchors)
    solver = jaxopt.LBFGS(
        stress,
        maxiter=iterations,
        tol=tolerance,
        implicit_diff_solve=partial(jaxopt.linear_solve.solve_cg, maxiter=100),
    )
    positions, state = solver.run(start, pair, satellite, presence, start, anchors)
    count = jnp.maximum(_measured(presence, satellite.shape[1]), 1e-6)
    residual = 2 * presence.size * stress(positions, pair, satellite, presence, positions, anchors)
    finite = jnp.all(jnp.isfinite(positions))
    return Trilateration(
        positions=positions,
        stress=_root(residual / count),
        iterations=state.iter_num,
        converged=finite & (state.error <= tolerance),
    )


def linear_start(
    satellite: Float[Array, "atom satellite"], anchors: Float[Array, "satellite 3"]
) -> Float[Array, "atom 3"]:
    r"""Return the closed-form positions from satellite distances alone.

    $d_{is}^2 - |a_s|^2 = -2 a_s \cdot x_i + |x_i|^2$ is linear in $x_i$ and $|x_i|^2$: least squares over satellites.
    """
    design = jnp.concatenate([-2 * anchors, jnp.ones_like(anchors[:, :1])], axis=1)
    return (satellite**2 - jnp.sum(anchors**2, axis=1)) @ jnp.linalg.pinv(design)[:3].T


def stress(positions, pair, satellite, presence, start, anchors) -> Float[Array, ""]:
    """Return the stress of the module's docstring, s(x)."""
    atoms = presence.size
    weight = 0.5 * presence[:, None] * presence[None, :] * (1 - np.eye(atoms))
    between = jnp.sum(weight * (separation(positions, positions) - pair) ** 2)
    anchored = jnp.sum(presence[:, None] * (separation(positions, anchors) - satellite) ** 2)
    absent = jnp.sum((1 - presence)[:, None] * (positions - start) ** 2)
    return (between + anchored + absent) / (2 * atoms)


def check(pair, satellite, presence, anchors) -> None:
    """Refuse distances that cannot be trilaterated; for the edge, not inside `jit`.

    Raises:
        ValueError: for shapes that disagree, too few or coplanar satellites, negative or NaN distances.
    """
    pair, satellite, anchors = (np.asarray(given) for given in (pair, satellite, anchors))
    atoms = np.asarray(presence).shape[-1]
    if pair.shape[-2:] != (atoms, atoms) or satellite.shape[-2:] != (atoms, len(anchors)):
        raise ValueError(
            f"Expected pair distances [{atoms}, {atoms}] and satellite distances [{atoms}, {len(anchors)}], "
            f"got {list(pair.shape[-2:])} and {list(satellite.shape[-2:])}."
        )
    if len(anchors) < 4 or np.linalg.matrix_rank(anchors - anchors.mean(axis=0), tol=1e-6) < 3:
        raise ValueError(
            f"Expected at least 4 satellites that are not coplanar, got {len(anchors)}; see representation.satellites."
        )
    for name, given in (("pair", pair), ("satellite", satellite)):
        bad = np.argwhere(~(given >= 0))
        if len(bad):
            raise ValueError(
                f"Expected {name} distances of at least 0, got {given[tuple(bad[0])]} at "
                f"{bad[0].tolist()} and {len(bad) - 1} more such."
            )


def _measured(presence, satellites: int):
    """Return the weight of all distances that count."""
    total = jnp.sum(presence)
    return 0.5 * (total**2 - jnp.sum(presence**2)) + satellites * total


def _root(x):
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def batched(
    pair: Float[Array, "batch atom atom"],
    satellite: Float[Array, "batch atom satellite"],
    presence: Float[Array, "batch atom"],
    anchors: Float[Array, "satellite 3"],
) -> Trilateration:
    """Return `trilaterate` of each item of a batch."""
    return jax.vmap(lambda p, s, w: trilaterate(p, s, w, anchors))(pair, satellite, presence)
