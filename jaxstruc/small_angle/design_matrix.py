"""Matrix of the scattering curves of a body at many sizes, and start values of the fits.

A body is a shape of particle, e.g. a sphere or a cube. R is the radius of the sphere of equal volume. The matrix has
one column for each size. The sizes, called nodes, are equally spaced in ln R. A size distribution is then a vector of
volume fractions at the nodes (`size_distributions`), and its curve is the product of the matrix with this vector. A
population is a size distribution with one maximum.

A coarse search with spheres of all sizes finds a range of sizes, called the window, for each measured I(Q) (pattern). A
finer search inside the window finds the start values for each body.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstruc.small_angle import form_factors, size_distributions, smearing
from jaxstruc.small_angle.data import WhitenedData
from jaxstruc.small_angle.form_factors import CoreShellSpheres, FormFactorTable

N_NODES = 192
"""Number of nodes of ln R in a window."""
MIN_NODE_STEP, MAX_NODE_STEP = 0.004, 0.025
"""Smallest and largest step between the nodes, in ln R."""
STEPS_PER_WIDTH = 5.0
"""Standard deviation of the distribution from which a fit starts, in steps between the nodes."""
N_GRID_NODES, N_GRID_POINTS = 256, 128
"""Number of nodes of ln R, and number of points of Q, in the coarse search over all sizes."""
MIN_START_QR, MAX_START_QR = 1.0, 6.0
"""Smallest radius in the coarse search times the largest Q, and largest radius times the smallest Q."""
GRID_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.35)
"""Relative standard deviations of the radius that the coarse search tries."""
N_GRID_MEANS = 128
"""Number of mean radii that the coarse search tries."""
MAX_START_SHIFT, N_START_SHIFTS = 0.2, 17
"""Largest distance in ln R of a trial mean from the window's centre, and number of trial means for each body."""
START_WIDTH_FACTORS = (0.45, 0.8, 1.2)
"""Widths that are tried for each body, relative to `RadiusWindow.width`."""
MIN_START_DISTANCE = 0.04
"""Smallest distance in ln R between the starting points of two fits."""
MAX_SMEARED_WIDTH = 0.05
"""Largest start width if the data state a Q resolution.

The coarse search neglects the resolution, so that it finds widths that are too large.
"""
PAIR_NODE_STEP, MAX_PAIR_SHIFT = 0.0125, 1.05
"""Step between the nodes in fits of two populations, and largest distance of a trial mean from the window's centre.

Both are in ln R.
"""
N_PAIR_MEANS, PAIR_WIDTHS = 36, (0.03, 0.1)
"""Number of trial means, and trial relative widths, of each population of a pair."""


class RadiusWindow(NamedTuple):
    """Range of sizes: nodes of ln R around the size distribution from which a fit starts."""

    center: Float[Array, "*batch"]
    """ln R (R in Å) at the centre of the window, which is also the start value of the ln mean radius."""
    step: Float[Array, "*batch"]
    """Step between the nodes in ln R."""
    width: Float[Array, "*batch"]
    """Relative standard deviation of the radius in the size distribution from which a fit starts."""


class DesignMatrix(NamedTuple):
    """Scattering curves of one body at all nodes, for one measured I(Q)."""

    log_radius: Float[Array, "*batch node"]
    """ln R at the nodes (R in Å)."""
    whitened_curves: Float[Array, "*batch q node"]
    """Volume V times form factor P(QR), divided by the noise and with the background projected out.

    V is relative to the volume at the middle node.
    """


class StartGrid(NamedTuple):
    """Trial curves of the coarse search: a body, e.g. spheres, with size distributions of many means and widths."""

    size_parameters: Float[Array, "column 2"]
    """ln of the mean radius in Å, and relative width, of each distribution."""
    trial_curves: Float[Array, "q column"]
    """Curve of each distribution at every n-th point of Q, not divided by the noise."""


def log_radius_nodes(window: RadiusWindow, n_nodes: int = N_NODES) -> Float[Array, " node"]:
    """Return ln R (R in Å) at the nodes of a window."""
    return window.center + window.step * (jnp.arange(n_nodes, dtype=jnp.float32) - 0.5 * (n_nodes - 1))


def design_matrix(
    table: FormFactorTable | CoreShellSpheres, data: WhitenedData, window: RadiusWindow, *, n_nodes: int = N_NODES
) -> DesignMatrix:
    """Return the curves of a body at the nodes of a window, divided by the noise and without the background."""
    log_radius = log_radius_nodes(window, n_nodes)
    whitened_curves = data.whiten(size_curves(table, data.q, data.dq, log_radius))
    return DesignMatrix(log_radius, jnp.asarray(whitened_curves))


def start_grid(table: FormFactorTable | CoreShellSpheres, q: Float[Array, " q"]) -> StartGrid:
    """Return the trial curves of a body, e.g. of spheres, for all mean radii that the range of Q can distinguish."""
    coarse_q = q[:: q.shape[0] // min(N_GRID_POINTS, q.shape[0])]
    log_radius = jnp.linspace(jnp.log(MIN_START_QR / q[-1]), jnp.log(MAX_START_QR / q[0]), N_GRID_NODES)
    step = log_radius[1] - log_radius[0]
    widths = jnp.maximum(jnp.asarray(GRID_WIDTHS, log_radius.dtype), size_distributions.MIN_WIDTH * step)
    means = jnp.linspace(log_radius[4], log_radius[-4], N_GRID_MEANS)
    size_parameters = jnp.stack(jnp.meshgrid(means, widths, indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(
        lambda parameters: size_distributions.gaussian(jnp.exp(parameters[0]), parameters[1], log_radius)
    )(size_parameters)
    # The volumes differ by many orders of magnitude. Each column is therefore scaled. Its scale does not matter,
    # because it is fitted.
    columns = columns * jnp.exp(3 * (log_radius - size_parameters[:, :1]))
    return StartGrid(
        size_parameters, form_factors.squared_amplitude(table, coarse_q[:, None], jnp.exp(log_radius)) @ columns.T
    )


def start_window(grid: StartGrid, data: WhitenedData) -> RadiusWindow:
    """Return the window of sizes for a pattern, around the size distribution of spheres that fits best."""
    best = grid.size_parameters[jnp.argmin(unexplained_fractions(grid, data))]
    width = best[1] if data.dq is None else jnp.minimum(best[1], MAX_SMEARED_WIDTH)
    return RadiusWindow(best[0], jnp.clip(width / STEPS_PER_WIDTH, MIN_NODE_STEP, MAX_NODE_STEP), width)


def unexplained_fractions(grid: StartGrid, data: WhitenedData) -> Float[Array, " column"]:
    """Return the fraction of the sum of squared data that remains after the fit of each distribution.

    The fit has the scale and the background as parameters.
    """
    stride = data.q.shape[0] // grid.trial_curves.shape[0]
    inverse_sigma, background_terms = data.inverse_sigma[::stride], data.background_basis[::stride]
    basis = jnp.linalg.qr(background_terms)[0]
    residual = data.data[::stride] - basis @ (basis.T @ data.data[::stride])
    whitened_curves = grid.trial_curves * inverse_sigma[:, None]
    whitened_curves = whitened_curves - basis @ (basis.T @ whitened_curves)
    projections = residual @ whitened_curves
    squared_norms = jnp.maximum(jnp.sum(whitened_curves**2, axis=0), 1e-30)
    return 1 - jnp.where(projections > 0, projections**2 / squared_norms, 0.0) / jnp.maximum(residual @ residual, 1e-30)


def start_parameters(
    design: DesignMatrix, data: WhitenedData, window: RadiusWindow, n_starts: int
) -> Float[Array, "start 2"]:
    """Return ln mean radius and ln relative width of the best starting points near a window's centre, for one body."""
    step = window.step
    means = window.center + jnp.linspace(-MAX_START_SHIFT, MAX_START_SHIFT, N_START_SHIFTS)
    widths = jnp.maximum(window.width * jnp.asarray(START_WIDTH_FACTORS), 1.2 * size_distributions.MIN_WIDTH * step)
    size_parameters = jnp.stack(jnp.meshgrid(means, widths, indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(
        lambda parameters: size_distributions.gaussian(jnp.exp(parameters[0]), parameters[1], design.log_radius)
    )(size_parameters)
    trial_curves = design.whitened_curves @ columns.T
    projections = data.data @ trial_curves
    explained_squares = jnp.where(
        projections > 0, projections**2 / jnp.maximum(jnp.sum(trial_curves**2, axis=0), 1e-30), 0.0
    )
    selected_starts = []
    for _ in range(n_starts):
        best = size_parameters[jnp.argmax(explained_squares)]
        selected_starts.append(best)
        explained_squares = jnp.where(
            jnp.abs(size_parameters[:, 0] - best[0]) < MIN_START_DISTANCE, -1.0, explained_squares
        )
    start_array = jnp.stack(selected_starts)
    return jnp.stack([start_array[:, 0], jnp.log(start_array[:, 1])], axis=1)


def start_pairs(
    design: DesignMatrix, data: WhitenedData, window: RadiusWindow, n_starts: int
) -> Float[Array, "start 2 2"]:
    """Return ln mean radius and ln relative width of the pairs of populations that fit best.

    The search covers all pairs of trial populations.
    """
    means = window.center + jnp.linspace(-MAX_PAIR_SHIFT, MAX_PAIR_SHIFT, N_PAIR_MEANS)
    size_parameters = jnp.stack(jnp.meshgrid(means, jnp.asarray(PAIR_WIDTHS), indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(
        lambda parameters: size_distributions.gaussian(jnp.exp(parameters[0]), parameters[1], design.log_radius)
    )(size_parameters)
    trial_curves = design.whitened_curves @ columns.T
    trial_curves = trial_curves / jnp.sqrt(jnp.maximum(jnp.sum(trial_curves**2, axis=0), 1e-30))
    projections, cosine = data.data @ trial_curves, trial_curves.T @ trial_curves
    pair_projections = jnp.stack(jnp.broadcast_arrays(projections[:, None], projections[None, :]), axis=-1)
    amplitudes = nonnegative_pair(pair_projections, cosine)
    explained_squares = jnp.sum(amplitudes * pair_projections, axis=-1)
    explained_squares = jnp.where(
        size_parameters[:, None, 0] < size_parameters[None, :, 0] - 0.5 * MIN_START_DISTANCE, explained_squares, -1.0
    )
    selected_starts = []
    for _ in range(n_starts):
        first_index, second_index = jnp.unravel_index(jnp.argmax(explained_squares), explained_squares.shape)
        selected_starts.append(jnp.stack([size_parameters[first_index], size_parameters[second_index]]))
        start_distance = (
            jnp.abs(size_parameters[:, 0] - size_parameters[first_index, 0])[:, None]
            + jnp.abs(size_parameters[:, 0] - size_parameters[second_index, 0])[None, :]
        )
        explained_squares = jnp.where(start_distance < 4 * MIN_START_DISTANCE, -1.0, explained_squares)
    start_array = jnp.stack(selected_starts)
    return jnp.stack([start_array[..., 0], jnp.log(start_array[..., 1])], axis=-1)


def nonnegative_pair(projections: Float[Array, "*batch 2"], cosine: Float[Array, "*batch"]) -> Float[Array, "*batch 2"]:
    """Return the non-negative amplitudes of two curves of unit norm whose sum fits the data best.

    Args:
        projections: Scalar products of the data with each curve.
        cosine: Scalar product of the two curves.
    """
    determinant = jnp.maximum(1 - cosine**2, 1e-6)
    first_projection, second_projection = projections[..., 0], projections[..., 1]
    joint_amplitudes = (
        jnp.stack(
            [first_projection - cosine * second_projection, second_projection - cosine * first_projection], axis=-1
        )
        / determinant[..., None]
    )
    single_amplitudes = jnp.where(
        (first_projection > second_projection)[..., None],
        jnp.stack([first_projection, 0 * second_projection], axis=-1),
        jnp.stack([0 * first_projection, second_projection], axis=-1),
    )
    return jnp.where(
        jnp.all(joint_amplitudes > 0, axis=-1, keepdims=True), joint_amplitudes, jnp.maximum(single_amplitudes, 0.0)
    )


def size_curves(
    table: FormFactorTable | CoreShellSpheres, q: Float[Array, " q"], dq: Float[Array, " q"] | None, log_radius
) -> Float[Array, "q node"]:
    """Return volume V times form factor P(QR) at each size. The curves are smeared by the resolution if `dq` is given.

    V is relative to the volume at the middle node.
    """

    def unit_curves(shifted_q):
        return form_factors.squared_amplitude(table, shifted_q[:, None], jnp.exp(log_radius))

    volume = jnp.exp(3 * (log_radius - log_radius[log_radius.shape[0] // 2]))
    return volume * (unit_curves(q) if dq is None else smearing.smear(unit_curves, q, dq))
