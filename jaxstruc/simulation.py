"""A cluster's curves by the quickest sufficient way, chosen by size.

Few pairs are summed as they are. More are spread over even nodes (`spreading`), those of large clusters without a
list of pairs. G(r) needs F(Q) only at as many Chebyshev points as the cluster's diameter asks for; one constant matrix
carries these to the sine sum over the Q grid, at each r.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from ase.symbols import Symbols
from jaxtyping import Array, Bool, Float, Int

from jaxstruc import form_factors, scattering
from jaxstruc.scattering import Gathered, Grid, Instrument, Pairs
from jaxstruc.spreading import Nodes

STRETCH = 1.1
"""Nodes keep their accuracy up to this stretch."""
TINY = 0.2
"""Fewer pairs a node than this are summed exactly: a sine for each costs less than the nodes'."""
RIPPLES = 40 * np.pi
"""Divided by qmax: the distance beyond rmax up to which peaks are summed for their ripples within."""
LISTED = 200
"""Atoms up to which pairs are listed; beyond, blocks of positions measure faster."""
SMOOTH = 24
"""Chebyshev points beyond the bandwidth: for the form factors' and the Debye-Waller factors' own curvature."""


class Scatterers(NamedTuple):
    """What the atoms of a cluster are to the radiation."""

    kinds: Int[np.ndarray, " atom"]
    """Row of each atom in the coefficients."""
    coefficients: Float[np.ndarray, "kind 11"]
    """Form factor of each kind, for `form_factors.xray`; a neutron length is its constant."""
    names: list[str]
    """Element of each kind."""

    @property
    def composition(self) -> Float[np.ndarray, " kind"]:
        """Number of atoms of each kind."""
        return np.bincount(self.kinds, minlength=len(self.names)).astype(float)


def scatterers(symbols: Symbols | list[str], *, probe: str = "xray", ions: tuple[str, ...] = ()) -> Scatterers:
    """Return the scatterers of a list of elements.

    Args:
        symbols: of the atoms.
        probe: "xray" or "neutron".
        ions: form factors of these ions, as Cu2+, for the elements that they are of (X-rays only).

    Raises:
        ValueError: where an element or ion is in no table, or an ion's element not in the cluster.
    """
    elements = sorted(set(symbols))
    if probe == "neutron":
        lengths = form_factors.neutron(elements)
        coefficients = np.concatenate([np.zeros((len(elements), 10)), lengths[:, None]], axis=1)
    else:
        charged = {ion.rstrip("+-0123456789"): ion for ion in ions}
        absent = [charged[element] for element in charged if element not in elements]
        if absent:
            raise ValueError(f"Expected ions of the cluster's elements ({', '.join(elements)}), got {absent[0]!r}.")
        if len(charged) < len(ions):
            raise ValueError(f"Expected one ion an element, got {', '.join(ions)}.")
        coefficients = form_factors.coefficients([charged.get(element, element) for element in elements])
    return Scatterers(np.array([elements.index(symbol) for symbol in symbols]), coefficients, elements)


def alias_free_step(rmax: float, longest: float) -> float:
    r"""Return a Q step at which the sine sum is the integral, to about 1e-4 of a peak, in 1/Å.

    The sum repeats in r with the period $2\pi/\Delta Q$, so $\pi/(r_\mathrm{max} + r_\mathrm{longest})$ would keep
    repeats out of the range; a tenth of that makes the trapezoid rule's own error at the cut ends small too.
    """
    step = np.pi / (10 * (rmax + longest))
    magnitude = 10 ** np.floor(np.log10(step))
    return float(max(factor * magnitude for factor in (1, 2, 5) if factor * magnitude <= step))


def nodes(grid: Grid) -> Nodes:
    """Return the nodes for all clusters with no pair longer than the grid says."""
    if grid.longest is None:
        raise ValueError("Expected Grid.longest, the longest pair distance in Å, got None; the nodes end there.")
    return Nodes(grid.longest, grid.qmax * STRETCH, grid.accuracy)


def gather(
    positions: Float[Array, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    grid: Grid,
    *,
    kinds: Int[Array | np.ndarray, " atom"] | None = None,
    count: int = 1,
) -> Gathered:
    """Return the pairs of a cluster in the form that gives its curves quickest.

    Args:
        positions: in Å.
        mask: True for atoms, False for padding.
        grid: its `longest` bounds the distances; without it all pairs are summed exactly.
        kinds: of each atom; all alike where none are given.
        count: number of kinds.
    """
    atoms = positions.shape[0]
    if atoms <= LISTED or grid.longest is None:
        return _chosen(scattering.pairs_of(positions, mask, kinds), grid, count)
    kinds = np.zeros(atoms, np.int32) if kinds is None else kinds
    return scattering.spread_positions(positions, jnp.asarray(mask), kinds, nodes(grid), count=count)


def gather_distances(
    distances: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    grid: Grid,
    *,
    kinds: Int[Array | np.ndarray, " atom"] | None = None,
    count: int = 1,
) -> Gathered:
    """Return the pairs of a distance matrix in the form that gives their curves quickest.

    Arguments as in `gather`; `presence` may be a probability, which counts in proportion.
    """
    return _chosen(scattering.pairs(distances, presence, kinds), grid, count)


def _chosen(pairs: Pairs, grid: Grid, count: int) -> Gathered:
    """Return few pairs as they are, many spread."""
    if grid.longest is None or pairs.distance.size < TINY * nodes(grid).cells:
        return pairs
    return scattering.spread(pairs, nodes(grid), kinds=count)


def pdf(
    gathered: Gathered,
    coefficients: Float[Array | np.ndarray, "kind 11"],
    composition: Float[Array | np.ndarray, " kind"],
    instrument: Instrument,
    grid: Grid,
    *,
    floor: float = 0.0,
) -> Float[Array, " r"]:
    """Return G(r) on the grid, in 1/Å²: the trapezoid sum of F(Q) sin(Qr) over the grid's Q.

    Args:
        gathered: from `gather` or `gather_distances`, with the same grid.
        coefficients: form factor of each kind. For one element its size does not matter: `form_factors.UNIT` will do.
        composition: number of atoms of each kind.
        instrument: vibrations and instrument.
        grid: static Q and r grids.
        floor: see `scattering.pair_variance`.
    """
    q, to_r = _transform(grid)
    dtype = gathered.weight.dtype
    amplitudes = form_factors.xray(coefficients, jnp.asarray(q, dtype))
    composition = jnp.asarray(composition, dtype)
    f = scattering.reduced_structure_function(gathered, instrument, amplitudes, composition, q, floor=floor)
    curve = jnp.matmul(jnp.asarray(to_r, dtype), f, precision="highest")
    if isinstance(gathered, Pairs) and grid.longest is not None:  # of nodes, `spreading` has seen to it
        too_long = jnp.any((gathered.distance > grid.longest) & (gathered.weight != 0))
        curve = jnp.where(too_long, jnp.nan, curve)
    return scattering.envelope(instrument, jnp.asarray(grid.r, dtype)) * curve


def real_space_pdf(
    pairs: Pairs,
    coefficients: Float[Array | np.ndarray, "kind 11"],
    composition: Float[Array | np.ndarray, " kind"],
    instrument: Instrument,
    grid: Grid,
) -> Float[Array, " r"]:
    """Return G(r) by the other route, in 1/Å²: a sum of Gaussians, cut to the grid's Q range.

    Form factors are taken at Q = 0, so with several elements it differs from `pdf` by up to some per cent. Peaks
    must be wider than the grid's r step resolves: Uiso above about rstep²/2. Arguments as in `pdf`.
    """
    dtype = pairs.weight.dtype
    amplitudes = form_factors.xray(coefficients, jnp.zeros(1, dtype))[:, 0]
    longer = scattering.stretched(pairs, instrument.stretch)
    variance = scattering.pair_variance(longer, instrument)
    r = grid.rstep * np.arange(int((grid.rmax + RIPPLES / grid.qmax) / grid.rstep) + 1)
    summed = scattering.peaks(longer, variance, amplitudes, jnp.asarray(composition, dtype), jnp.asarray(r, dtype))
    weights = scattering.q_weights(jnp.asarray(grid.q, dtype), grid.qmin, grid.qmax)
    if grid.lorch:
        weights *= scattering.lorch(jnp.asarray(grid.q, dtype), grid.qmax)
    passed = scattering.band_pass(grid.r, r, grid.q, weights) @ summed
    return scattering.envelope(instrument, jnp.asarray(grid.r, dtype)) * passed


@functools.lru_cache(maxsize=16)
def _transform(grid: Grid) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "r point"]]:
    """Return Q points for F, and the matrix from F there to G(r), in double precision."""
    q = grid.q
    weights = np.full(q.size, grid.qstep)
    weights[[0, -1]] /= 2
    if grid.lorch:
        weights *= np.sinc(q / grid.qmax)
    sines = (2 / np.pi) * np.sin(grid.r[:, None] * q) * weights
    count = q.size if grid.longest is None else _bandwidth((q[-1] - q[0]) / 2 * grid.longest * STRETCH, grid.accuracy)
    if count >= q.size:
        return q, sines
    x = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    points = q[0] + (x + 1) / 2 * (q[-1] - q[0])
    orders = np.arange(count)
    series = np.cos(orders[:, None] * np.arccos(x)) * np.where(orders == 0, 1, 2)[:, None] / count
    at_grid = np.cos(np.arccos(np.linspace(-1, 1, q.size))[:, None] * orders)
    return points, (sines @ at_grid) @ series


def _bandwidth(phase: float, accuracy: float) -> int:
    """Return how many Chebyshev points a wave needs that has this phase over half the range: its series is of J_n."""
    orders = np.arange(int(phase), int(phase) + 400)
    needed = orders[np.abs(scipy.special.jv(orders, phase)) > 0.1 * accuracy]
    return int(needed.max(initial=int(phase))) + SMOOTH
