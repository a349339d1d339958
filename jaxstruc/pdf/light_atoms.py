r"""Search of a PDF for light atoms whose bonds to the metal are shorter than the bonds between the metal atoms.

Light atoms on the surface of a particle (e.g. sulfur on gold) give a peak of G(r) at distances that a particle of the
metal alone does not have. G(r) at small r hardly depends on the size and shape of a particle. It is fitted by a
non-negative mixture of balls of all packings, with a common stretch, Uiso and delta2, and with a smooth background. A
second fit also has peaks at short distances d,

$$G_d(r) = \frac{2}{\pi d} \int_{Q_{min}}^{Q_{max}} \sin(Qr) \sin(Qd)\, e^{-Q^2 s^2 / 2}\, dQ.$$

The gain of the second fit in the log-likelihood shows whether there are light atoms. Both fits include the termination
ripples of the Q range, so that a ripple is not taken for a peak.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize, nnls
from scipy.spatial.distance import pdist

from jaxstruc.clusters import size_classes
from jaxstruc.pdf.target import background_terms

PACKINGS, DIAMETERS = ("fcc", "hcp", "icosahedron", "decahedron", "bcc", "sc"), (3.2, 5.0, 8.0)
"""Packings and diameters (in bond lengths) of the balls."""
BIN_WIDTH, DISTANCE_END, FIT_END = 0.01, 4.0, 1.55
"""Width of the bins of distances, largest distance, and end of the fitted range of r, in bond lengths."""
SHORT_DISTANCES, DISTANCE_STEP, PEAK_WIDTH = (1.8, 0.93), 0.1, 0.12
"""Smallest distance to a light atom in Å and largest in bond lengths; step of the distances and width s, in Å."""
N_BACKGROUND_TERMS, N_NODES = 2, 120
"""Number of terms of the smooth background, and number of points of the Gauss-Legendre rule over Q."""
START_STRETCHES, START_UISO, START_DELTA2 = (0.98, 0.99, 1.0), (0.006, 0.012), 2.0
"""Values from which the start of the fits is chosen: stretch relative to that of the first peak, Uiso in Å² and delta2
in Å²."""
FIRST_PEAK_RANGE = (0.9, 1.1)
"""Range of r in which the first peak of the metal is searched, in bond lengths."""
BOUNDS = ((0.9, 1.1), (0.001, 0.05), (-1.0, 6.0))
"""Ranges of stretch, Uiso and delta2."""
SIMPLEX_STEPS = (0.01, 0.003, 1.0)
"""Steps of stretch, Uiso and delta2 at the start of a fit."""
N_EVALUATIONS = 110
"""Largest number of evaluations of a fit."""
NOISE_WINDOW, NOISE_WEIGHT = 5.0, 0.3
"""Length in Å of the range of r in which the data are smallest, and fraction of their mean square that is added to the
mean squared residuals. Fits that are much better than the noise are then equally good."""
MIN_LIGHT_ATOM_GAIN = 2.0
"""Gain in the log-likelihood above which a PDF shows light atoms. It was chosen on simulated particles."""


def light_atom_gain(
    r: Float[np.ndarray, " r"], g: Float[np.ndarray, " r"], *, qmin: float, qmax: float, qdamp: float, bond: float
) -> float:
    """Return the gain in the log-likelihood of G(r) at small r if there are light atoms.

    Args:
        r: Points of r, in Å.
        g: Measured G(r), in 1/Å².
        qmin: Start of the Q range, in 1/Å.
        qmax: End of the Q range, in 1/Å.
        qdamp: Damping of G(r) by the resolution in Q, in 1/Å.
        bond: Nearest-neighbour distance of the metal, in Å.
    """
    in_range = (r >= 1.0) & (r <= FIT_END * bond)
    fitted_r = r[in_range]
    nodes, rule_weights = np.polynomial.legendre.leggauss(N_NODES)
    q = qmin + (qmax - qmin) * (nodes + 1) / 2
    amplitudes = (qmax - qmin) / math.pi * rule_weights * np.exp(-0.5 * (fitted_r[:, None] * qdamp) ** 2)
    terms = background_terms(fitted_r, N_BACKGROUND_TERMS)
    transform = np.sin(fitted_r[:, None] * q) * amplitudes
    transform -= terms @ (terms.T @ transform)
    data = g[in_range] - terms @ (terms.T @ g[in_range])
    distances = np.arange(SHORT_DISTANCES[0], SHORT_DISTANCES[1] * bond, DISTANCE_STEP)
    light_atoms = transform @ _sines(q, distances, np.full(len(distances), PEAK_WIDTH**2))

    def misfit(values, further_curves):
        if any(not low < value < high for value, (low, high) in zip(values, BOUNDS, strict=True)):
            return 1e3 * float(np.linalg.norm(data))
        model_curves = np.hstack([_ball_curves(values, transform, q, bond), further_curves])
        return float(nnls(model_curves, data, maxiter=100 * model_curves.shape[1])[1])

    no_curves = light_atoms[:, :0]
    near_bond = (fitted_r > FIRST_PEAK_RANGE[0] * bond) & (fitted_r < FIRST_PEAK_RANGE[1] * bond)
    first_peak = float(fitted_r[near_bond][np.argmax(data[near_bond])]) / bond
    starts = [(stretch * first_peak, uiso, START_DELTA2) for stretch in START_STRETCHES for uiso in START_UISO]
    values, misfit_without = _minimize(misfit, min(starts, key=lambda start: misfit(start, no_curves)), no_curves)
    misfit_with = min(_minimize(misfit, values, light_atoms)[1], misfit_without)
    n_independent = (fitted_r[-1] - fitted_r[0]) * (qmax - qmin) / math.pi
    noise_squares = NOISE_WEIGHT * len(fitted_r) * _smallest_power(r, g)
    return 0.5 * n_independent * math.log((misfit_without**2 + noise_squares) / (misfit_with**2 + noise_squares))


def _minimize(misfit, start, further_curves) -> tuple[np.ndarray, float]:
    """Return the best values and their misfit, by the Nelder-Mead algorithm."""
    simplex = np.array(start) + np.vstack([np.zeros(3), np.diag(SIMPLEX_STEPS)])
    options = {"maxfev": N_EVALUATIONS, "initial_simplex": simplex}
    solution = minimize(misfit, start, args=(further_curves,), method="Nelder-Mead", options=options)
    return solution.x, float(solution.fun)


def _ball_curves(values, transform, q, bond: float) -> Float[np.ndarray, "r ball"]:
    """Return G(r) of the balls for a stretch, Uiso in Å² and delta2 in Å²."""
    stretch, uiso, delta2 = values
    ratios, counts = _ball_distances()
    distances = ratios * stretch * bond
    variance = 2 * uiso * np.maximum(1 - delta2 / distances**2, 0.05)
    return transform @ (_sines(q, distances, variance) @ counts)


def _sines(q, distances, variance) -> Float[np.ndarray, "q distance"]:
    """Return F(Q) of single pairs of atoms with a variance of their distance."""
    return np.sin(q[:, None] * distances) / distances * np.exp(-0.5 * q[:, None] ** 2 * variance)


@lru_cache(maxsize=1)
def _ball_distances() -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of the balls in bond lengths, and their numbers per atom [distance, ball]."""
    edges = np.arange(0.8, DISTANCE_END + BIN_WIDTH, BIN_WIDTH)
    columns = []
    for packing in PACKINGS:
        for diameter in DIAMETERS:
            positions = size_classes.ball_positions(packing, diameter)
            columns.append(2 * np.histogram(pdist(positions), edges)[0] / len(positions))
    counts = np.array(columns).T
    is_used = counts.sum(axis=1) > 0
    return ((edges[1:] + edges[:-1]) / 2)[is_used], counts[is_used]


def _smallest_power(r: Float[np.ndarray, " r"], g: Float[np.ndarray, " r"]) -> float:
    """Return the mean square of G(r) in the window in which it is smallest. It is an upper limit of the noise."""
    step = (r[-1] - r[0]) / (len(r) - 1)
    n_window = min(max(round(NOISE_WINDOW / step), 1), len(r) - 1)
    cumulative = np.concatenate([[0.0], np.cumsum(g**2)])
    return float(np.min(cumulative[n_window:] - cumulative[:-n_window])) / n_window
