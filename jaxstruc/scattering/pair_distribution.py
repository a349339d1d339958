"""A cluster's G(r), and its other curves, by the quickest sufficient way, chosen by size.

Few pairs are summed as they are. More are spread over even nodes (`fast_debye`), those of large clusters without a
list of pairs. G(r) needs F(Q) only at as many Chebyshev points as the cluster's diameter asks for; one constant matrix
carries these to the sine sum over the Q grid, at each r.

Lengths in Å, Q in 1/Å, F in 1/Å, G in 1/Å².
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from ase.symbols import Symbols
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.scattering import debye, form_factors
from jaxstruc.scattering.debye import Instrument, PairDistances, Pairs, apply_to_products
from jaxstruc.scattering.fast_debye import SpreadingNodes

MAX_STRETCH = 1.1
"""Nodes keep their accuracy up to this stretch."""
MIN_PAIRS_PER_CELL = 0.2
"""Fewer pairs a node than this are summed exactly: a sine for each costs less than the nodes'."""
MAX_LISTED_ATOMS = 200
"""Atoms up to which pairs are listed; beyond, blocks of positions measure faster."""
N_EXTRA_CHEBYSHEV_POINTS = 24
"""Chebyshev points beyond the bandwidth: for the form factors' and the Debye-Waller factors' own curvature."""


@dataclass(frozen=True)
class Grid:
    """The static Q and r grids of a simulation. Both ends are included where the step hits them."""

    qmin: float = 0.0
    qmax: float = 30.0
    qstep: float = 0.1
    rmin: float = 0.0
    rmax: float = 30.0
    rstep: float = 0.1
    max_distance: float | None = None
    """Longest pair distance of any cluster that will come, in Å; it makes the fast route possible. A longer one
    turns the curve into NaN."""
    accuracy: float = 1e-6
    """Of the fast route, relative."""
    lorch: bool = False
    """Whether G(r) is made with Lorch's window in place of the sharp cut."""

    @property
    def q(self) -> Float[np.ndarray, " q"]:
        """Q, in 1/Å."""
        return _axis(self.qmin, self.qmax, self.qstep)

    @property
    def r(self) -> Float[np.ndarray, " r"]:
        """The distances r of the PDF, in Å."""
        return _axis(self.rmin, self.rmax, self.rstep)


class Scatterers(NamedTuple):
    """What the atoms of a cluster are to the radiation."""

    atom_kinds: Int[np.ndarray, " atom"]
    """Row of each atom in the coefficients."""
    coefficients: Float[np.ndarray, "kind 11"]
    """Form factor of each kind, for `form_factors.xray`; a neutron length is its constant."""
    elements: list[str]
    """Element of each kind."""

    @property
    def composition(self) -> Float[np.ndarray, " kind"]:
        """Number of atoms of each kind."""
        return np.bincount(self.atom_kinds, minlength=len(self.elements)).astype(float)


def scatterers(symbols: Symbols | list[str], *, probe: str = "xray", ions: tuple[str, ...] = ()) -> Scatterers:
    """Return the scatterers of a list of elements.

    Args:
        symbols: of the atoms.
        probe: "xray" or "neutron".
        ions: form factors of these ions, e.g. Cu2+, for the elements that they are of (X-rays only).

    Raises:
        ValueError: where an element or ion is in no table, or an ion's element not in the cluster.
    """
    elements = sorted(set(symbols))
    if probe == "neutron":
        scattering_lengths = form_factors.neutron_lengths(elements)
        coefficients = np.concatenate([np.zeros((len(elements), 10)), scattering_lengths[:, None]], axis=1)
    else:
        ion_by_element = {ion.rstrip("+-0123456789"): ion for ion in ions}
        absent_ions = [ion_by_element[element] for element in ion_by_element if element not in elements]
        if absent_ions:
            raise ValueError(
                f"Expected ions of the cluster's elements ({', '.join(elements)}), got {absent_ions[0]!r}."
            )
        if len(ion_by_element) < len(ions):
            raise ValueError(f"Expected one ion an element, got {', '.join(ions)}.")
        coefficients = form_factors.xray_coefficients([ion_by_element.get(element, element) for element in elements])
    return Scatterers(np.array([elements.index(symbol) for symbol in symbols]), coefficients, elements)


def alias_free_step(rmax: float, max_distance: float) -> float:
    r"""Return a Q step at which the sine sum is the integral, to about 1e-4 of a peak, in 1/Å.

    The sum repeats in r with the period $2\pi/\Delta Q$, so $\pi/(r_\mathrm{max} + r_\mathrm{longest})$ would keep
    repeats out of the range; a tenth of that makes the trapezoid rule's own error at the cut ends small too.
    """
    step = np.pi / (10 * (rmax + max_distance))
    magnitude = 10 ** np.floor(np.log10(step))
    return float(max(factor * magnitude for factor in (1, 2, 5) if factor * magnitude <= step))


def spreading_nodes(grid: Grid) -> SpreadingNodes:
    """Return the nodes for all clusters with no pair longer than the grid says."""
    if grid.max_distance is None:
        raise ValueError("Expected Grid.max_distance, the longest pair distance in Å, got None; the nodes end there.")
    return SpreadingNodes(grid.max_distance, grid.qmax * MAX_STRETCH, grid.accuracy)


def pair_distances_from_positions(
    positions: Float[Array | np.ndarray, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    grid: Grid,
    *,
    atom_kinds: Int[Array | np.ndarray, " atom"] | None = None,
    n_kinds: int = 1,
) -> PairDistances:
    """Return the pairs of a cluster in the form that gives its curves quickest.

    Args:
        positions: in Å.
        mask: True for atoms, False for padding.
        grid: its `max_distance` bounds the distances; without it all pairs are summed exactly.
        atom_kinds: of each atom; all alike where none are given.
        n_kinds: number of kinds.
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
    """Return the pairs of a distance matrix in the form that gives their curves quickest.

    Arguments as in `pair_distances_from_positions`; `presence` may be a probability, which counts in proportion.
    """
    return _spread_if_many(debye.pairs_from_distances(distances, presence, atom_kinds), grid, n_kinds)


def pdf(
    pair_distances: PairDistances,
    coefficients: Float[Array | np.ndarray, "kind 11"],
    composition: Float[Array | np.ndarray, " kind"],
    instrument: Instrument,
    grid: Grid,
    *,
    q_limits: tuple[Float[Array, ""] | float, Float[Array, ""] | float] | None = None,
    min_variance_factor: float = 0.0,
) -> Float[Array, " r"]:
    """Return G(r) on the grid, in 1/Å²: the trapezoid sum of F(Q) sin(Qr) over Q. The one way from pairs to G(r).

    Args:
        pair_distances: from `pair_distances_from_positions` or `pair_distances_from_matrix`, with the same grid.
        coefficients: form factor of each kind. For one element its size does not matter:
            `form_factors.UNIT_COEFFICIENTS` will do.
        composition: number of atoms of each kind.
        instrument: vibrations and instrument.
        grid: static Q and r grids.
        q_limits: of Q, in 1/Å, within the grid's; they may be traced. Without them the whole grid counts.
        min_variance_factor: see `debye.pair_variance`.
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
    if isinstance(pair_distances, Pairs) and grid.max_distance is not None:  # nodes reach no farther
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
    r"""Return $G(r) = s\,e^{-(r q_\mathrm{damp})^2/2} \frac{2}{\pi} \int F(Q) \sin(Qr)\,dQ$ of F on the grid's Q.

    Args:
        f: F(Q), in 1/Å.
        instrument: whose scale and qdamp act here.
        grid: static Q and r grids.
        q_limits: as in `pdf`.
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
    """Return each grid point's share of the integral from qmin to qmax, in 1/Å: the trapezoid rule.

    On an even grid, a point stands for the half step to either side of it, cut at the grid's and the
    range's ends, so the limits need not lie on the grid and may be traced.
    """
    step = q[1] - q[0]
    lower_bounds = jnp.maximum(jnp.maximum(q - step / 2, q[0]), qmin)
    upper_bounds = jnp.minimum(jnp.minimum(q + step / 2, q[-1]), qmax)
    return jnp.maximum(upper_bounds - lower_bounds, 0.0)


def lorch_window(q: Float[Array | np.ndarray, " q"], qmax: Float[Array, ""] | float) -> Float[Array, " q"]:
    r"""Return Lorch's window $\sin(\pi Q/Q_\mathrm{max})/(\pi Q/Q_\mathrm{max})$, a factor on `q_weights`.

    E. Lorch, J. Phys. C 2, 229 (1969), doi 10.1088/0022-3719/2/2/305. It damps the cut's ripples and widens peaks.
    """
    return jnp.sinc(q / qmax)


def sine_transform(
    f: Float[Array, " q"],
    q: Float[Array | np.ndarray, " q"],
    weights: Float[Array | np.ndarray, " q"],
    r: Float[Array | np.ndarray, " r"],
) -> Float[Array, " r"]:
    r"""Return $\frac{2}{\pi} \int F(Q) \sin(Qr)\,dQ$ as a sum with the weights of `q_weights`, in 1/Å²."""
    sine_matrix = jnp.asarray(apply_to_products(np.sin, jnp.sin, r, q), f.dtype)
    return (2 / jnp.pi) * jnp.matmul(sine_matrix, weights * f, precision="highest")


def envelope(instrument: Instrument, r: Float[Array | np.ndarray, " r"]) -> Float[Array, " r"]:
    r"""Return the scale times the damping by the resolution, $s\,e^{-(r q_\mathrm{damp})^2/2}$."""
    return instrument.scale * jnp.exp(-0.5 * (r * instrument.qdamp) ** 2)


def _spread_if_many(pairs: Pairs, grid: Grid, n_kinds: int) -> PairDistances:
    """Return few pairs as they are, many spread."""
    if grid.max_distance is None or pairs.distance.size < MIN_PAIRS_PER_CELL * spreading_nodes(grid).n_cells:
        return pairs
    return debye.spread_pairs(pairs, spreading_nodes(grid), n_kinds=n_kinds)


@functools.lru_cache(maxsize=16)
def _chebyshev_transform(
    grid: Grid,
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "q point"] | None, Float[np.ndarray, "r point"]]:
    """Return Q points for F, and the matrices from F there to the grid's Q and to G(r), in double precision.

    The first matrix is None where the points are the grid's.
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
    """Return how many Chebyshev points a wave needs that has this phase over half the range: its series is of J_n."""
    orders = np.arange(int(phase), int(phase) + 400)
    needed_orders = orders[np.abs(scipy.special.jv(orders, phase)) > 0.1 * accuracy]
    return int(needed_orders.max(initial=int(phase))) + N_EXTRA_CHEBYSHEV_POINTS


def _axis(low: float, high: float, step: float) -> np.ndarray:
    return low + step * np.arange(int((high - low) / step + 1e-6) + 1)
