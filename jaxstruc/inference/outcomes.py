"""Fits of all bodies and distributions to many patterns, in batches of one size."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.inference import kernels, sizing
from jaxstruc.inference.kernels import DesignMatrix, RadiusWindow, StartGrid
from jaxstruc.inference.pattern import SaxsData, WhitenedData
from jaxstruc.inference.sizing import SizeFit
from jaxstruc.scattering import particle
from jaxstruc.scattering.particle import FormFactorTable
from jaxstruc.scattering.size_distributions import FAMILIES

BATCH_SIZE = 16
"""A pattern and a body each; of a batch."""
N_STARTS, N_PAIR_STARTS = 2, 3
"""Of fits of one population and of two."""
N_PAIR_BODIES = 3
"""Bodies, the best with one population, to which two are fitted."""


class BodyFit(NamedTuple):
    """The fit of one body and distribution."""

    body: str
    distribution: str
    log_parameters: Float[np.ndarray, "population 2"]
    """ln mean (R_eq in Å) and ln width."""
    amplitude: Float[np.ndarray, " population"]
    chi2: float
    normal_matrix: Float[np.ndarray, "parameter parameter"]
    """Of ln means and ln widths, then ln amplitudes; without those that are not fitted."""
    at_bound: np.ndarray
    """[population, 2]"""
    converged: bool

    @property
    def distribution_shape(self) -> str:
        """Of each population."""
        return "gaussian" if self.distribution == "two" else self.distribution

    @property
    def n_parameters(self) -> int:
        """Fitted, amplitudes among them."""
        return len(self.amplitude) * (FAMILIES[self.distribution_shape].parameters + 1)


class SaxsFits(NamedTuple):
    """All fits to one pattern."""

    body_fits: tuple[BodyFit, ...]
    window: RadiusWindow
    """About the best of spheres of one population."""


def fit_all(patterns: Sequence[SaxsData], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[SaxsFits]:
    """Return the fits of bodies and distributions to patterns.

    Args:
        patterns: of any sizes; those alike go together.
        bodies: by name.
        distributions: by name; "free" is left out.
    """
    fits_by_pattern: list[SaxsFits | None] = [None] * len(patterns)
    indices_by_shape: dict[tuple, list[int]] = {}
    for index, entry in enumerate(patterns):
        shape = entry.whitened_data.background_basis.shape, entry.whitened_data.dq is None
        indices_by_shape.setdefault(shape, []).append(index)
    for indices in indices_by_shape.values():
        for start in range(0, len(indices), BATCH_SIZE):
            batch = indices[start : start + BATCH_SIZE]
            for index, fits in zip(
                batch,
                _fit_batch([patterns[pattern_index] for pattern_index in batch], bodies, distributions),
                strict=True,
            ):
                fits_by_pattern[index] = fits
    return [entry for entry in fits_by_pattern if entry is not None]


def _fit_batch(patterns: list[SaxsData], bodies: tuple[str, ...], distributions: tuple[str, ...]) -> list[SaxsFits]:
    """Return the fits to at most `ITEMS` patterns alike."""
    single_distributions = tuple(name for name in distributions if name in FAMILIES)
    if not single_distributions and "two" not in distributions:
        single_distributions = ("gaussian",)  # the free distribution begins from it
    whitened_data, body_tables = [saxs_data.whitened_data for saxs_data in patterns], form_factor_tables(bodies)
    windows = _start_windows(patterns)
    body_fits: list[list[BodyFit]] = [[] for _ in patterns]
    pattern_bodies = [(pattern_index, body) for pattern_index in range(len(patterns)) for body in range(len(bodies))]
    if single_distributions:
        for (pattern_index, body), size_fits in _fit_in_batches(
            pattern_bodies,
            whitened_data,
            windows,
            body_tables,
            partial(_fit_single_populations, names=single_distributions),
        ):
            body_fits[pattern_index] += [
                _body_fit(size_fits, row, bodies[body], name) for row, name in enumerate(single_distributions)
            ]
    if "two" in distributions:
        pattern_bodies = [
            (pattern_index, body)
            for pattern_index, single_fits in enumerate(body_fits)
            for body in _promising_bodies(single_fits, bodies)
        ]
        for (pattern_index, body), size_fits in _fit_in_batches(
            pattern_bodies, whitened_data, windows, body_tables, _fit_pair_populations
        ):
            body_fits[pattern_index].append(_body_fit(size_fits, 0, bodies[body], "two"))
    return [SaxsFits(tuple(pattern_fits), window) for pattern_fits, window in zip(body_fits, windows, strict=True)]


def _promising_bodies(body_fits: list[BodyFit], bodies: tuple[str, ...]) -> list[int]:
    """Return the bodies that fit best with one population."""
    if not body_fits:
        return list(range(len(bodies)))
    lowest_chi2 = [min(body_fit.chi2 for body_fit in body_fits if body_fit.body == body) for body in bodies]
    return [int(index) for index in np.argsort(lowest_chi2, kind="stable")[:N_PAIR_BODIES]]


def _start_windows(patterns: list[SaxsData]) -> list[RadiusWindow]:
    """Return where fits to each pattern begin; the curves that are tried are shared by patterns of the same Q."""
    grids: dict[bytes, StartGrid] = {}
    windows = []
    sphere_table = form_factor_tables(("sphere",))
    for entry in patterns:
        q_bytes = np.asarray(entry.whitened_data.q).tobytes()
        if q_bytes not in grids:
            grids[q_bytes] = start_grid(sphere_table, entry.whitened_data.q)
        windows.append(_start_window(grids[q_bytes], entry.whitened_data))
    return [jax.tree.map(np.asarray, entry) for entry in windows]


def _fit_in_batches(
    pattern_bodies,
    whitened_data: list[WhitenedData],
    windows: list[RadiusWindow],
    body_tables: FormFactorTable,
    fit_function,
):
    """Yield each item and its fits, from batches of `ITEMS`."""
    for start in range(0, len(pattern_bodies), BATCH_SIZE):
        batch = pattern_bodies[start : start + BATCH_SIZE]
        padded_batch = batch + [batch[-1]] * (BATCH_SIZE - len(batch))
        data, window = (
            jax.tree.map(
                lambda *leaves: np.stack(leaves), *[columns[pattern_index] for pattern_index, _ in padded_batch]
            )
            for columns in (whitened_data, windows)
        )
        size_fits = jax.tree.map(
            np.asarray, fit_function(body_tables, np.array([body for _, body in padded_batch]), data, window)
        )
        for row, pattern_body in enumerate(batch):
            yield pattern_body, jax.tree.map(lambda leaf, row=row: leaf[row], size_fits)


def _body_fit(size_fits: SizeFit, row: int, body: str, distribution: str) -> BodyFit:
    size_fit = jax.tree.map(lambda leaf: np.asarray(leaf[row], bool if leaf.dtype == bool else float), size_fits)
    return BodyFit(
        body,
        distribution,
        size_fit.place,
        size_fit.amplitude,
        float(size_fit.chi2),
        size_fit.normal,
        size_fit.bounded,
        bool(size_fit.converged),
    )


_FORM_FACTOR_TABLES: dict[tuple[str, ...], FormFactorTable] = {}


def form_factor_tables(bodies: tuple[str, ...]) -> FormFactorTable:
    """Return the tables of bodies, in single precision, with an axis of bodies in front; kept."""
    if bodies not in _FORM_FACTOR_TABLES:
        stacked_tables = particle.stack_tables(tuple(body.replace("-", " ") for body in bodies))
        _FORM_FACTOR_TABLES[bodies] = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), stacked_tables)
    return _FORM_FACTOR_TABLES[bodies]


@jax.jit
def start_grid(sphere_table: FormFactorTable, q) -> StartGrid:
    """Return the curves of spheres of all sizes at some Q; its table has an axis of one body in front."""
    return kernels.start_grid(jax.tree.map(lambda leaf: leaf[0], sphere_table), q)


_start_window = jax.jit(kernels.start_window)


def _design_matrix(body_tables: FormFactorTable, body, data: WhitenedData, window: RadiusWindow) -> DesignMatrix:
    return kernels.design_matrix(jax.tree.map(lambda leaf: leaf[body], body_tables), data, window)


@partial(jax.jit, static_argnames="names")
def _fit_single_populations(
    body_tables: FormFactorTable, bodies, data: WhitenedData, windows: RadiusWindow, *, names: tuple[str, ...]
) -> SizeFit:
    """Return the fits of distributions of one population, the best start of each."""

    def fit_body(body, data, window):
        design = _design_matrix(body_tables, body, data, window)
        start_parameters = jnp.tile(
            kernels.start_parameters(design, data, window, N_STARTS)[:, None], (len(names), 1, 1)
        )
        return sizing.best_of_starts(sizing.fit_distributions(design, data.data, start_parameters, names), N_STARTS)

    return jax.vmap(fit_body)(bodies, data, windows)


@jax.jit
def _fit_pair_populations(body_tables: FormFactorTable, bodies, data: WhitenedData, windows: RadiusWindow) -> SizeFit:
    """Return the fits of two Gaussian populations, the best start."""

    def fit_body(body, data, window):
        window = window._replace(step=jnp.full_like(window.step, kernels.PAIR_NODE_STEP))
        design = _design_matrix(body_tables, body, data, window)
        start_parameters = kernels.start_pairs(design, data, window, N_PAIR_STARTS)
        return sizing.best_of_starts(
            sizing.fit_distributions(design, data.data, start_parameters, ("gaussian",)), N_PAIR_STARTS
        )

    return jax.vmap(fit_body)(bodies, data, windows)
