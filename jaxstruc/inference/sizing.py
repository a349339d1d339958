r"""Mean and width of the sizes of bodies fitted to I(Q), for every body, distribution and pattern at once.

A pattern's curves of a body of each size, over the noise and without what the background can explain, are one matrix
(`kernels`); a population is a column of shares of volume, its curve their product. Amplitudes are projected out
(G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi 10.1137/0710036; derivatives as L. Kaufman's, BIT 15,
49 (1975), doi 10.1007/BF01932995); Levenberg and Marquardt descend in ln mean and ln width, inside bounds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.inference.kernels import Kernel, two
from jaxstruc.rounding import rounding_of_squares
from jaxstruc.scattering.size_distributions import FAMILIES, MIN_WIDTH

STEPS = 20
"""Most Levenberg-Marquardt steps."""
DAMPING = 1e-2
"""First damping, relative to the diagonal of the normal matrix."""
ENOUGH = 1e-6
"""Relative fall of chi-squared (plus 1) at which a fit is done."""
LONGEST = 0.5
"""Of a step, in ln mean or ln width."""
EDGE = 0.02
"""In the logarithms, from a bound, within which a value counts as at it."""
TINY = 1e-30


class Found(NamedTuple):
    """What fits found; each of one distribution, of one population or more."""

    place: Float[Array, "*batch fit population 2"]
    """ln mean (R in Å) and ln width."""
    amplitude: Float[Array, "*batch fit population"]
    """Of the kernel's curves; volumes of the populations, in one unit."""
    chi2: Float[Array, "*batch fit"]
    """Sum of squares of residuals over the noise."""
    normal: Float[Array, "*batch fit parameter parameter"]
    """Of ln mean and ln width of each population, then ln amplitude of each."""
    bounded: Bool[Array, "*batch fit population 2"]
    """Which of them are at a bound."""
    converged: Bool[Array, "*batch fit"]


class _Point(NamedTuple):
    place: Float[Array, "fit population 2"]
    amplitude: Float[Array, "fit population"]
    chi2: Float[Array, " fit"]
    slope: Float[Array, "fit inner"]
    """Half of chi-squared's."""
    normal: Float[Array, "fit inner inner"]
    whole: Float[Array, "fit parameter parameter"]


class _Descent(NamedTuple):
    here: _Point
    trial: Float[Array, "fit population 2"]
    expected: Float[Array, " fit"]
    """Fall of chi-squared there."""
    damping: Float[Array, " fit"]
    steps: Int[Array, ""]
    done: Bool[Array, " fit"]


def fitted(
    kernel: Kernel, data: Float[Array, " q"], begin: Float[Array, "fit population 2"], names: tuple[str, ...]
) -> Found:
    """Return the fits of distributions to a pattern.

    Args:
        kernel: of a body.
        data: the pattern's, weighted.
        begin: ln mean and ln width; as many fits for each distribution, one distribution after the other.
        names: of the distributions; of each population, where there are several.
    """
    count = begin.shape[0]
    low, high = (jnp.repeat(end, count // len(names), axis=0)[:, None] for end in bounds(kernel.u, names))

    def step(state: _Descent) -> _Descent:
        """Try the place that the last step chose, keep the better one, choose the next."""
        there = _point(kernel, data, state.trial, names=names)
        fall = state.here.chi2 - there.chi2
        better = (fall > 0) & ~state.done
        here = jax.tree.map(lambda new, old: jnp.where(_as(better, new), new, old), there, state.here)
        change = jnp.where(fall > 0.5 * state.expected, 0.1, jnp.where(fall > 0.2 * state.expected, 1.0, 5.0))
        damping = state.damping * jnp.where(better, change, 5.0)
        move, expected = _move(here, damping, low, high)
        small = ENOUGH * (1 + here.chi2)
        rounding = rounding_of_squares(here.chi2, data @ data)
        done = state.done | (better & (fall < small)) | (expected < small) | (damping > 1e6)
        done |= (jnp.abs(fall) <= rounding) & (state.expected <= 0.1 * rounding)
        return _Descent(here, jnp.clip(here.place - move, low, high), expected, damping, state.steps + 1, done)

    state = jax.lax.while_loop(
        lambda state: (state.steps < STEPS) & ~jnp.all(state.done), step, _begun(jnp.clip(begin, low, high))
    )
    here = state.here
    bounded = (here.place < low + EDGE) | (here.place > high - EDGE)
    good = jnp.isfinite(here.chi2) & jnp.any(here.amplitude > 0, axis=1)
    return Found(here.place, here.amplitude, here.chi2, here.whole, bounded, state.done & good)


def bounds(u: Float[Array, " node"], names: tuple[str, ...]) -> tuple[Float[Array, "name 2"], Float[Array, "name 2"]]:
    """Return the least and the largest ln mean and ln width of distributions on nodes."""
    most = jnp.log(jnp.asarray([FAMILIES[name].widest or 1e-3 for name in names], u.dtype))
    least = jnp.minimum(jnp.log(MIN_WIDTH * (u[1] - u[0])), most)
    ends = jnp.broadcast_to(u[4], most.shape), jnp.broadcast_to(u[-5], most.shape)
    return jnp.stack([ends[0], least], 1), jnp.stack([ends[1], most], 1)


def best(found: Found, starts: int) -> Found:
    """Return the best of each so many neighbouring fits, which differ in their starts."""

    def chosen(column):
        return column.reshape(column.shape[0] // starts, starts, *column.shape[1:])

    which = jnp.argmin(jnp.where(jnp.isfinite(found.chi2), found.chi2, jnp.inf).reshape(-1, starts), axis=1)
    return jax.tree.map(lambda column: chosen(column)[jnp.arange(which.shape[0]), which], found)


def _point(kernel: Kernel, data, place, *, names: tuple[str, ...]) -> _Point:
    starts = place.shape[0] // len(names)
    each = [place[k * starts : (k + 1) * starts] for k in range(len(names))]
    shares = jnp.concatenate(
        [columns(FAMILIES[name].volume_fractions, start, kernel.u) for name, start in zip(names, each, strict=True)]
    )
    curves = jnp.einsum("fpkn,qn->fpkq", shares, kernel.curves)
    model, slopes = curves[:, :, 0], curves[:, :, 1:]
    amplitude, across = _projected(model, slopes, data)
    residual = data - jnp.einsum("fp,fpq->fq", amplitude, model)
    fits, populations = amplitude.shape
    jacobian = (amplitude[..., None, None] * across).reshape(fits, 2 * populations, -1)
    full = jnp.concatenate(
        [(amplitude[..., None, None] * slopes).reshape(jacobian.shape), amplitude[..., None] * model], axis=1
    )
    return _Point(
        place, amplitude, jnp.sum(residual**2, axis=1), -jnp.einsum("fkq,fq->fk", jacobian, residual),
        jnp.einsum("fjq,fkq->fjk", jacobian, jacobian), jnp.einsum("fjq,fkq->fjk", full, full),
    )  # fmt: skip


def _begun(begin: Float[Array, "fit population 2"]) -> _Descent:
    """Return a descent before its first point, which any finite one betters."""
    count, populations, _ = begin.shape
    inner, every = 2 * populations, 3 * populations
    here = _Point(
        begin, jnp.zeros((count, populations)), jnp.full(count, jnp.inf), jnp.zeros((count, inner)),
        jnp.zeros((count, inner, inner)), jnp.zeros((count, every, every)),
    )  # fmt: skip
    none = jnp.zeros(count)
    return _Descent(here, begin, none, jnp.full(count, DAMPING), jnp.asarray(0), none > 0)


def _move(here: _Point, damping, low, high):
    """Return the step of Levenberg and Marquardt, and the fall of chi-squared that it promises."""
    slope = here.slope.reshape(here.place.shape)
    held = (((here.place <= low) & (slope > 0)) | ((here.place >= high) & (slope < 0))).reshape(here.slope.shape)
    slope = jnp.where(held, 0.0, here.slope)
    normal = jnp.where(held[:, :, None] | held[:, None, :], 0.0, here.normal)
    diagonal = jnp.diagonal(here.normal, axis1=1, axis2=2)
    diagonal = jnp.where(held, 1.0, damping[:, None] * jnp.maximum(diagonal, 1e-6) + 1e-9)
    move = _solved(normal + diagonal[:, :, None] * jnp.eye(held.shape[1]), slope)
    return jnp.clip(move, -LONGEST, LONGEST).reshape(here.place.shape), jnp.sum(move * slope, axis=1)


def columns(shares, place, u) -> Float[Array, "start population 3 node"]:
    """Return the shares of each population and their slopes along ln mean and ln width."""

    def of(at):
        def share(at):
            return shares(jnp.exp(at[0]), jnp.exp(at[1]), u)

        return jnp.concatenate([share(at)[None], jax.jacfwd(share)(at).T])

    return jax.vmap(jax.vmap(of))(place)


def _projected(model, slopes, data) -> tuple[Float[Array, "fit population"], Float[Array, "fit population 2 q"]]:
    """Return the best amplitudes, none negative, and the slopes without what these could make up for."""
    lengths = jnp.maximum(jnp.sum(model**2, axis=-1), TINY)
    unit = model / jnp.sqrt(lengths)[..., None]
    along = unit @ data
    if model.shape[1] == 1:
        amplitude, basis = jnp.maximum(along, 0.0), unit
    else:
        cosine = jnp.sum(unit[:, 0] * unit[:, 1], axis=-1)
        amplitude = two(along, cosine)
        second = unit[:, 1] - cosine[:, None] * unit[:, 0]
        second = second / jnp.sqrt(jnp.maximum(jnp.sum(second**2, axis=-1), 1e-12))[:, None]
        basis = jnp.stack([unit[:, 0], second], axis=1)
    weights = jnp.einsum("fpkq,fbq->fpkb", slopes, basis)
    return amplitude / jnp.sqrt(lengths), slopes - jnp.einsum("fpkb,fbq->fpkq", weights, basis)


def _as(flag, like):
    return flag.reshape(flag.shape + (1,) * (like.ndim - flag.ndim))


def _solved(matrix, side):
    """Return the solutions of small systems, by Cholesky's way written out: faster than a call for each."""
    size = side.shape[1]
    factor = [[None] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            left = matrix[:, row, column] - sum(
                (factor[row][k] * factor[column][k] for k in range(column)), start=jnp.zeros_like(side[:, 0])
            )
            factor[row][column] = jnp.sqrt(jnp.maximum(left, TINY)) if row == column else left / factor[column][column]
    forward: list = []
    for row in range(size):
        known = sum((factor[row][k] * forward[k] for k in range(row)), start=jnp.zeros_like(side[:, 0]))
        forward.append((side[:, row] - known) / factor[row][row])
    found: list = [None] * size
    for row in reversed(range(size)):
        known = sum((factor[k][row] * found[k] for k in range(row + 1, size)), start=jnp.zeros_like(side[:, 0]))
        found[row] = (forward[row] - known) / factor[row][row]
    return jnp.stack(found, axis=1)
