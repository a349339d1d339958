r"""The pair distribution function G(r) of a cluster, by the fastest method that is accurate enough.

The method depends on the number of atoms. The pairs of a small cluster are summed exactly. The pairs of a larger
cluster are spread over equally spaced distances, called nodes (`fast_debye`). If the cluster is large, its pairs are
spread without a list of all pairs.

G(r) is the sine transform of F(Q) (see `pdf_from_f`). F(Q) is evaluated only at Chebyshev points, whose number
depends on the diameter of the cluster. One constant matrix gives G(r) from these values. It contains the interpolation
to the Q grid and the sum over this grid.

Lengths are in Å, Q is in 1/Å, F in 1/Å and G in 1/Å².
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float, Int, Real

from jaxstruc.clusters.structure_files import HYDROGEN_ISOTOPES
from jaxstruc.scattering import debye, form_factors
from jaxstruc.scattering.debye import Instrument, PairDistances, Pairs, apply_to_products
from jaxstruc.scattering.fast_debye import SpreadingNodes

MAX_STRETCH = 1.1
"""Largest stretch for which the nodes keep their accuracy."""
MIN_PAIRS_PER_CELL = 0.2
"""Number of pairs per interval between two nodes below which the pairs are summed exactly.

The exact sum is then faster.
"""
MAX_LISTED_ATOMS = 200
"""Largest number of atoms for which all pairs are listed. For more atoms it is faster to form the pairs in blocks."""
MAX_OCCUPANCY_KINDS = 30
"""Largest number of different occupancies of the sites of a cluster.

The time of a simulation increases with the square of the number of occupancies.
"""
N_EXTRA_CHEBYSHEV_POINTS = 24
"""Number of additional Chebyshev points, which the form factors and the Debye-Waller factors need."""


@dataclass(frozen=True)
class Grid:
    """The static Q and r grids of a simulation. The end of a range is included if the step reaches it."""

    qmin: float = 0.0
    """Start of the Q range, in 1/Å."""
    qmax: float = 30.0
    """End of the Q range, in 1/Å."""
    qstep: float = 0.1
    """Step of Q, in 1/Å."""
    rmin: float = 0.0
    """Start of the r range, in Å."""
    rmax: float = 30.0
    """End of the r range, in Å."""
    rstep: float = 0.1
    """Step of r, in Å."""
    max_distance: float | None = None
    """Longest pair distance of all clusters that use this grid, in Å. A longer distance turns the curve into NaN.

    If it is None, all pairs are summed exactly.
    """
    accuracy: float = 1e-6
    """Relative accuracy of the spread pairs and of the Chebyshev points."""
    lorch: bool = False
    """Whether Lorch's window replaces the sharp cut at qmax in the transform to G(r)."""

    @property
    def q(self) -> Float[np.ndarray, " q"]:
        """Grid of Q, in 1/Å."""
        return _axis(self.qmin, self.qmax, self.qstep)

    @property
    def r(self) -> Float[np.ndarray, " r"]:
        """Grid of r, in Å."""
        return _axis(self.rmin, self.rmax, self.rstep)


class Scatterers(NamedTuple):
    """The scattering amplitudes of the sites of a cluster.

    A site holds one atom. If it is partly occupied, or if several elements share it, its amplitude is the mean over all
    copies of the cluster. Sites with equal occupancies are of one kind.
    """

    atom_kinds: Int[np.ndarray, " atom"]
    """Kind of each site. This is the index of a row of `coefficients`."""
    element_coefficients: Float[np.ndarray, "element 11"]
    """Coefficients of each element for `form_factors.xray_form_factors`. A neutron scattering length is the constant
    coefficient c."""
    elements: list[str]
    """Symbols of the elements and hydrogen isotopes."""
    occupancy: Float[np.ndarray, "kind element"]
    """Occupancy of the sites of each kind by each element."""

    @property
    def has_whole_atoms(self) -> bool:
        """Whether one element fully occupies each site."""
        return np.array_equal(self.occupancy, np.eye(len(self.elements)))

    @property
    def composition(self) -> Float[np.ndarray, " kind"]:
        """Number of sites of each kind."""
        return np.bincount(self.atom_kinds, minlength=len(self.occupancy)).astype(float)

    @property
    def coefficients(self) -> Float[np.ndarray, "kind coefficient"]:
        """Coefficients of the mean form factor of each kind for `form_factors.xray_form_factors`."""
        if self.has_whole_atoms:
            return self.element_coefficients
        return form_factors.mean_coefficients(self.element_coefficients, self.occupancy)

    @property
    def mean_occupancy(self) -> float:
        """Number of atoms divided by the number of sites."""
        return float(self.composition @ self.occupancy.sum(axis=1) / self.composition.sum())


def scatterers(
    site_elements: Sequence[str] | Sequence[Mapping[str, float]], *, probe: str = "xray", ions: tuple[str, ...] = ()
) -> Scatterers:
    """Return the scattering amplitudes of the sites of a cluster.

    Args:
        site_elements: Element of each site, or its occupancy by each element. The hydrogen isotopes D and T differ from
            H for neutrons only.
        probe: Radiation, "xray" or "neutron".
        ions: Ions whose X-ray form factors replace those of their elements, e.g. Cu2+.

    Raises:
        ValueError: If an element or ion is not in the table, if the cluster has no atom of the element of an ion, if
            two ions are of one element, or if there are too many different occupancies.
    """
    occupancies = [{site: 1.0} if isinstance(site, str) else site for site in site_elements]
    if probe != "neutron":
        occupancies = [_merge_isotopes(site) for site in occupancies]
    elements = sorted({element for site in occupancies for element in site})
    if probe == "neutron":
        scattering_lengths = form_factors.neutron_lengths(elements)
        coefficients = np.concatenate([np.zeros((len(elements), 10)), scattering_lengths[:, None]], axis=1)
    else:
        ion_by_element = {ion.rstrip("+-0123456789"): ion for ion in ions}
        absent_ions = [ion_by_element[element] for element in ion_by_element if element not in elements]
        if absent_ions:
            raise ValueError(
                f"Expected ions of the elements of the cluster ({', '.join(elements)}), got {absent_ions[0]!r}."
            )
        if len(ion_by_element) < len(ions):
            raise ValueError(f"Expected at most one ion of each element, got {', '.join(ions)}.")
        coefficients = form_factors.xray_coefficients([ion_by_element.get(element, element) for element in elements])
    rows = [tuple(site.get(element, 0.0) for element in elements) for site in occupancies]
    distinct_rows = sorted(set(rows), reverse=True)
    if len(distinct_rows) > max(MAX_OCCUPANCY_KINDS, len(elements)):
        raise ValueError(
            f"Expected at most {MAX_OCCUPANCY_KINDS} different occupancies of sites, got {len(distinct_rows)}; round "
            "or remove them."
        )
    kind_index = {row: index for index, row in enumerate(distinct_rows)}
    return Scatterers(np.array([kind_index[row] for row in rows]), coefficients, elements, np.array(distinct_rows))


def alias_free_step(rmax: float, max_distance: float) -> float:
    r"""Return a Q step in 1/Å at which the sine sum equals the integral, to about 1e-4 of the height of a peak.

    The sum is periodic in r with the period $2\pi/\Delta Q$. A step below $\pi/(r_\mathrm{max} + r_\mathrm{longest})$
    keeps the repeated peaks out of the range. $r_\mathrm{longest}$ is the longest pair distance. A tenth of this step
    also makes the error of the trapezoid rule small.

    Args:
        rmax: End of the r range, in Å.
        max_distance: Longest pair distance, in Å.
    """
    step = np.pi / (10 * (rmax + max_distance))
    magnitude = 10 ** np.floor(np.log10(step))
    return float(max(factor * magnitude for factor in (1, 2, 5) if factor * magnitude <= step))


def spreading_nodes(grid: Grid) -> SpreadingNodes:
    """Return the nodes for all clusters whose distances do not exceed `grid.max_distance`."""
    if grid.max_distance is None:
        raise ValueError("Expected a number in Grid.max_distance (the longest pair distance in Å), got None.")
    return SpreadingNodes(grid.max_distance, grid.qmax * MAX_STRETCH, grid.accuracy)


def pair_distances_from_positions(
    positions: Float[Array | np.ndarray, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    grid: Grid,
    *,
    atom_kinds: Int[Array | np.ndarray, " atom"] | None = None,
    n_kinds: int = 1,
) -> PairDistances:
    """Return the pairs of a cluster in the form that gives its curves fastest.

    Args:
        positions: Positions of the atoms, in Å.
        mask: True for atoms, False for padding.
        grid: Grid whose `max_distance` bounds the distances. If that is None, all pairs are summed exactly.
        atom_kinds: Kind of each atom. By default all atoms have kind 0.
        n_kinds: Number of kinds.
    """
    n_atoms = positions.shape[0]
    if n_atoms <= MAX_LISTED_ATOMS or grid.max_distance is None:
        return _spread_if_many(debye.pairs_from_positions(positions, mask, atom_kinds), grid, n_kinds)
    atom_kinds = np.zeros(n_atoms, np.int32) if atom_kinds is None else atom_kinds
    return debye.spread_positions(positions, jnp.asarray(mask), atom_kinds, spreading_nodes(grid), n_kinds=n_kinds)


def pair_distances_from_matrix(
    distances: Float[Array, "atom atom"],
    presence: Float[Array | np.ndarray, " atom"],
    grid: Grid,
    *,
    atom_kinds: Int[Array | np.ndarray, " atom"] | None = None,
    n_kinds: int = 1,
) -> PairDistances:
    """Return the pairs of a distance matrix in the form that gives their curves fastest.

    Args:
        distances: Distances between the atoms, in Å.
        presence: Mask of the atoms, or probability of each atom. The weight of a pair contains the product of the
            values of its two atoms.
        grid: Grid whose `max_distance` bounds the distances. If that is None, all pairs are summed exactly.
        atom_kinds: Kind of each atom. By default all atoms have kind 0.
        n_kinds: Number of kinds.
    """
    return _spread_if_many(debye.pairs_from_distances(distances, presence, atom_kinds), grid, n_kinds)


def pdf(
    pair_distances: PairDistances,
    coefficients: Float[Array | np.ndarray, "kind coefficient"],
    composition: Real[Array | np.ndarray, " kind"],
    instrument: Instrument,
    grid: Grid,
    *,
    q_limits: tuple[Float[Array, ""] | float, Float[Array, ""] | float] | None = None,
    min_variance_factor: float = 0.0,
) -> Float[Array, " r"]:
    """Return G(r) on the grid, in 1/Å².

    The sine transform of F(Q) is evaluated by the trapezoid rule.

    Args:
        pair_distances: Pairs from `pair_distances_from_positions` or `pair_distances_from_matrix` with the same grid.
        coefficients: Coefficients of the form factor of each kind. For one element, `form_factors.UNIT_COEFFICIENTS`
            gives nearly the same curve, because the form factor cancels.
        composition: Number of atoms of each kind.
        instrument: Parameters of the vibrations and of the instrument.
        grid: Static Q and r grids.
        q_limits: Lower and upper limit of the integral, in 1/Å, within the Q range of the grid. They may be traced.
            By default the integral extends over the whole range.
        min_variance_factor: Smallest value of the factor b(r) of the variances, see `debye.pair_variance`.
    """
    q, q_matrix, r_matrix = _chebyshev_transform(grid)
    dtype = pair_distances.weight.dtype
    amplitudes = form_factors.xray_form_factors(coefficients, jnp.asarray(q, dtype))
    composition = jnp.asarray(composition, dtype)
    f = debye.reduced_structure_function(
        pair_distances, instrument, amplitudes, composition, q, min_variance_factor=min_variance_factor
    )
    if q_limits is None:
        curve = envelope(instrument, jnp.asarray(grid.r, dtype)) * jnp.matmul(
            jnp.asarray(r_matrix, dtype), f, precision="highest"
        )
    else:
        f = f if q_matrix is None else jnp.matmul(jnp.asarray(q_matrix, dtype), f, precision="highest")
        curve = pdf_from_f(f, instrument, grid, q_limits=q_limits)
    if (
        isinstance(pair_distances, Pairs) and grid.max_distance is not None
    ):  # Longer distances are an error, as they are for spread pairs.
        has_long_pairs = jnp.any((pair_distances.distance > grid.max_distance) & (pair_distances.weight != 0))
        curve = jnp.where(has_long_pairs, jnp.nan, curve)
    return curve


def pdf_from_f(
    f: Float[Array, " q"],
    instrument: Instrument,
    grid: Grid,
    *,
    q_limits: tuple[Float[Array, ""] | float, Float[Array, ""] | float] | None = None,
) -> Float[Array, " r"]:
    r"""Return $G(r) = s\,e^{-(r q_\mathrm{damp})^2/2} \frac{2}{\pi} \int F(Q) \sin(Qr)\,dQ$, in 1/Å².

    Args:
        f: F(Q) at the Q of the grid, in 1/Å.
        instrument: Values of the scale s and of qdamp. The other fields are not used here.
        grid: Static Q and r grids.
        q_limits: Limits of the integral, as in `pdf`.
    """
    qmin, qmax = (grid.qmin, grid.qmax) if q_limits is None else q_limits
    q = jnp.asarray(grid.q, f.dtype)
    weights = q_weights(q, qmin, qmax)
    if grid.lorch:
        weights = weights * lorch_window(q, qmax)
    return envelope(instrument, jnp.asarray(grid.r, f.dtype)) * sine_transform(f, grid.q, weights, grid.r)


def q_weights(
    q: Float[Array | np.ndarray, " q"], qmin: Float[Array, ""] | float, qmax: Float[Array, ""] | float
) -> Float[Array, " q"]:
    """Return the weights of the trapezoid rule for the integral from qmin to qmax, in 1/Å.

    A point of the even grid represents half a step on each side. These intervals are cut at the ends of the grid and
    at the limits. The limits therefore need not lie on the grid, and they may be traced.
    """
    step = q[1] - q[0]
    lower_bounds = jnp.maximum(jnp.maximum(q - step / 2, q[0]), qmin)
    upper_bounds = jnp.minimum(jnp.minimum(q + step / 2, q[-1]), qmax)
    return jnp.maximum(upper_bounds - lower_bounds, 0.0)


def lorch_window(q: Float[Array | np.ndarray, " q"], qmax: Float[Array, ""] | float) -> Float[Array, " q"]:
    r"""Return Lorch's window $\sin(\pi Q/Q_\mathrm{max})/(\pi Q/Q_\mathrm{max})$, a factor on `q_weights`.

    The window damps the ripples that the cut at qmax causes, and it widens the peaks (E. Lorch, J. Phys. C 2, 229
    (1969), doi 10.1088/0022-3719/2/2/305).
    """
    return jnp.sinc(q / qmax)


def sine_transform(
    f: Float[Array, " q"],
    q: Float[Array | np.ndarray, " q"],
    weights: Float[Array | np.ndarray, " q"],
    r: Float[Array | np.ndarray, " r"],
) -> Float[Array, " r"]:
    r"""Return $\frac{2}{\pi} \int F(Q) \sin(Qr)\,dQ$ as a sum with the weights of `q_weights`, in 1/Å².

    Args:
        f: F(Q) at each Q, in 1/Å.
        q: Grid of Q, in 1/Å.
        weights: Weights of the sum, in 1/Å.
        r: Distances at which the transform is evaluated, in Å.
    """
    sine_matrix = jnp.asarray(apply_to_products(np.sin, jnp.sin, r, q), f.dtype)
    return (2 / jnp.pi) * jnp.matmul(sine_matrix, weights * f, precision="highest")


def envelope(instrument: Instrument, r: Float[Array | np.ndarray, " r"]) -> Float[Array, " r"]:
    r"""Return $s\,e^{-(r q_\mathrm{damp})^2/2}$, the scale times the damping by the Q resolution."""
    return instrument.scale * jnp.exp(-0.5 * (r * instrument.qdamp) ** 2)


def _spread_if_many(pairs: Pairs, grid: Grid, n_kinds: int) -> PairDistances:
    """Return the pairs unchanged if they are few, otherwise spread over nodes."""
    if grid.max_distance is None or pairs.distance.size < MIN_PAIRS_PER_CELL * spreading_nodes(grid).n_cells:
        return pairs
    return debye.spread_pairs(pairs, spreading_nodes(grid), n_kinds=n_kinds)


@functools.lru_cache(maxsize=16)
def _chebyshev_transform(
    grid: Grid,
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "q point"] | None, Float[np.ndarray, "r point"]]:
    """Return the Q points at which F is evaluated, and the matrices that give F on the grid and G(r) from these values.

    All are in double precision. If the Q points are those of the grid, the first matrix is None.
    """
    q = grid.q
    weights = np.full(q.size, grid.qstep)
    weights[[0, -1]] /= 2
    if grid.lorch:
        weights *= np.sinc(q / grid.qmax)
    sine_matrix = (2 / np.pi) * np.sin(grid.r[:, None] * q) * weights
    n_points = (
        q.size
        if grid.max_distance is None
        else _chebyshev_count((q[-1] - q[0]) / 2 * grid.max_distance * MAX_STRETCH, grid.accuracy)
    )
    if n_points >= q.size:
        return q, None, sine_matrix
    x = np.cos(np.pi * (np.arange(n_points) + 0.5) / n_points)
    q_points = q[0] + (x + 1) / 2 * (q[-1] - q[0])
    orders = np.arange(n_points)
    series_matrix = np.cos(orders[:, None] * np.arccos(x)) * np.where(orders == 0, 1, 2)[:, None] / n_points
    grid_polynomials = np.cos(np.arccos(np.linspace(-1, 1, q.size))[:, None] * orders)
    return q_points, grid_polynomials @ series_matrix, (sine_matrix @ grid_polynomials) @ series_matrix


def _chebyshev_count(phase: float, accuracy: float) -> int:
    """Return the number of Chebyshev points for a sine whose phase changes by `phase` over half of the range.

    The Bessel functions J_n(phase) give the coefficients of the Chebyshev series of this sine.
    """
    orders = np.arange(int(phase), int(phase) + 400)
    needed_orders = orders[np.abs(scipy.special.jv(orders, phase)) > 0.1 * accuracy]
    return int(needed_orders.max(initial=int(phase))) + N_EXTRA_CHEBYSHEV_POINTS


def _merge_isotopes(site: Mapping[str, float]) -> dict[str, float]:
    """Return the occupancy of a site, with the isotopes of hydrogen replaced by H."""
    merged: dict[str, float] = {}
    for symbol, occupancy in site.items():
        element = "H" if symbol in HYDROGEN_ISOTOPES else symbol
        merged[element] = merged.get(element, 0.0) + occupancy
    return merged


def _axis(low: float, high: float, step: float) -> np.ndarray:
    return low + step * np.arange(int((high - low) / step + 1e-6) + 1)
