r"""Model of an ensemble of particles: fractions of atoms in classes of clusters, and the curve of each class.

A class contains clusters of one packing (e.g. fcc) and of similar size. For each packing, the fraction of atoms in
particles of size D follows

$$\varphi(D) = \varphi_0 \exp\left(-\frac{(\ln D - \mu)^2}{2\sigma^2} + \tau\, w(\ln D)\right).$$

Here $\varphi_0$ is a normalization, $\mu$ and $\sigma$ are the mean and the standard deviation of $\ln D$, and w is a
smooth function of unit variance. The strength $\tau$ is 0 for a lognormal distribution and positive for a free
distribution.

All classes have the same Uiso, delta2 and other fit parameters. One of them is the relaxation a: all particles have the
fraction a of the displacements with which they relax in vacuum. The displacements of a class are those of a few of its
clusters (`relax_classes`). Particles also contract when they relax, the small ones most. The stretch of a class is
therefore $s\,(1 + a\,e)$. Here s is the shared stretch, and e is the relative change of the particle's size in vacuum.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstruc.clusters import library, potential, size_classes
from jaxstruc.clusters.displacement_fields import DisplacementField, FieldStore
from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.library import BIN_WIDTH
from jaxstruc.clusters.size_classes import MAX_CLASS_DISTANCE, SizeClasses
from jaxstruc.pdf import fit
from jaxstruc.pdf.candidates import WIDE_AMPLITUDES
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange

SMOOTHING_LENGTH = 0.3
"""Correlation length of the smooth functions w, in units of ln(size)."""
AMPLITUDES = np.array([0.0, *WIDE_AMPLITUDES])
"""Amplitudes of the displacements for which the tables of the classes are made. The first one is the rigid class."""
MAX_SAMPLED_ATOMS = 120
"""Largest number of atoms of a relaxed cluster whose distances to all other atoms are computed."""


BALL_STRIDE, MAX_BALL_SIZE = 4, 17.5
"""Step between the classes that are represented by balls, in classes, and largest size of a ball in bond lengths."""


class ClassRelaxation(NamedTuple):
    """Changes of the classes when their particles relax. Those of some classes are interpolated between known ones."""

    histograms: Sequence[Histogram]
    """Mean histograms of the representatives of each known class, divided by the number of atoms [known, bin], for each
    of `AMPLITUDES`."""
    known_pair: Int[np.ndarray, "class 2"]
    """Indices of the two known classes between which each class lies."""
    pair_weight: Float[np.ndarray, "class 2"]
    """Weights of these two classes. They are 0 if the class is rigid."""
    expansion: Float[np.ndarray, " class"]
    """Relative change of the size of the particles in vacuum."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["cluster_tables", "packing", "size", "expansion", "smooth_modes", "packing_weight"],
    meta_fields=["n_packings"],
)
@dataclass(frozen=True)
class EnsembleModel:
    """Classes of clusters of similar size, with the tables from which their curves are computed."""

    cluster_tables: ClusterTable
    """Tables of the classes, with a leading axis."""
    packing: Int[Array, " class"]
    """Index of the packing of each class."""
    size: Float[Array, " class"]
    """Mean size of each class without relaxation, in Å."""
    expansion: Float[Array, " class"]
    """Relative change of the size of each class in vacuum. It is 0 if the relaxation is not fitted."""
    smooth_modes: Float[Array, "class wave"]
    """Values of the basis functions of w at the size of each class. The function w is a weighted sum of them."""
    packing_weight: Float[Array, " packing"]
    """Prior mean of the fraction of atoms in each packing. It is 1 if the prior of the packing is flat."""
    n_packings: int
    """Number of packings."""


class EnsembleParameters(NamedTuple):
    """Fitted parameters of an ensemble."""

    sqrt_fraction: Float[Array, " packing"]
    """Square root of (fraction of atoms in each packing, times the scale). A flat density in this root is Jeffreys'
    prior for fractions."""
    log_mean: Float[Array, " packing"]
    """Mean of the logarithm of the size in Å."""
    log_width: Float[Array, " packing"]
    """Logarithm of the standard deviation of the logarithm of the size."""
    mode_weights: Float[Array, "packing wave"]
    """Weights of the basis functions of w. Their prior is a standard normal distribution."""
    hyperparameters: Float[Array, " 2"]
    """Common `log_mean` and `log_width` of all packings, at which the priors on the values of the packings are
    centred."""
    normalized_values: Float[Array, " parameter"]
    """Shared parameters as fractions of the range between their bounds."""


def relax_classes(classes: SizeClasses, fields: FieldStore, rows: np.ndarray, packings: np.ndarray) -> ClassRelaxation:
    """Return the changes of size classes when their particles relax.

    A few particles represent a class. Some classes above the sizes of the library are represented by a ball, and the
    others are interpolated. Packings that are not close-packed stay rigid, because the potential is not valid for them.

    Args:
        classes: Size classes of a library.
        fields: Displacement fields of the library.
        rows: Indices of the candidates of the classes [row].
        packings: Packing of each candidate [row].
    """
    bulk_expansion = potential.bulk_expansion(potential.metal_potential(fields.element))
    moments, expansion = [], np.full(len(classes.mean_size), np.nan)
    for index, particles in _relaxed_representatives(classes, fields, rows, packings).items():
        moments.append(
            np.mean([_pair_moments(positions, field.displacements) for positions, field in particles], axis=0)
        )
        expansion[index] = np.mean([field.expansion for _, field in particles]) - bulk_expansion
    n_bins = round(MAX_CLASS_DISTANCE / BIN_WIDTH)
    all_moments = np.stack(moments, axis=2) if moments else np.zeros((3, len(AMPLITUDES), 0, n_bins))
    histograms = [size_classes.histogram_from_moments(entry) for entry in all_moments.swapaxes(0, 1)]
    return ClassRelaxation(histograms, *_interpolate_classes(expansion, classes))


def ensemble_model(
    classes: SizeClasses, *, bond: float, span: TableRange, relaxation: ClassRelaxation | None = None
) -> EnsembleModel:
    """Return the model of an ensemble for the size classes of a library.

    Args:
        classes: Size classes of a library.
        bond: Nearest-neighbour distance, in Å.
        span: Range of distances and Q that the tables cover.
        relaxation: Changes of the classes when their particles relax. By default the particles are rigid.
    """
    class_tables = _cluster_tables(_scaled_histogram(classes.histogram, bond, span), bond, span=span)
    if relaxation is not None:
        class_tables = _add_changes(class_tables, relaxation, bond, span)
    log_size = np.log(classes.size_grid)
    eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-0.5 * ((log_size[:, None] - log_size) / SMOOTHING_LENGTH) ** 2))
    selected_modes = eigenvalues > 1e-3 * eigenvalues[-1]
    smooth_modes = (eigenvectors[:, selected_modes] * np.sqrt(eigenvalues[selected_modes]))[classes.size_index]
    return EnsembleModel(
        class_tables,
        jnp.asarray(classes.packing_index),
        _float32(classes.mean_size * bond),
        _float32(np.zeros(len(classes.mean_size)) if relaxation is None else relaxation.expansion),
        _float32(smooth_modes),
        jnp.ones(len(classes.packing_names), jnp.float32),
        len(classes.packing_names),
    )


def weight_packings(model: EnsembleModel, classes: SizeClasses, type_weights: Mapping[str, float]) -> EnsembleModel:
    """Return the model with the prior weights of the packings, which are those of their structure types.

    The prior of a packing is flat if its type has at least the mean weight.

    Args:
        model: Model of an ensemble with equal weights.
        classes: Size classes of the model.
        type_weights: Prior weight of each structure type. Other types have the mean weight.
    """
    mean_weight = float(np.mean(list(type_weights.values())))
    packing_types = dict(zip(classes.packing_index.tolist(), classes.structure_types.tolist(), strict=True))
    weight = np.array([type_weights.get(packing_types[index], mean_weight) for index in range(model.n_packings)])
    return replace(model, packing_weight=_float32(np.where(weight < mean_weight, weight, 1.0)))


def atom_fractions(parameters: EnsembleParameters, model: EnsembleModel, strength) -> Float[Array, " class"]:
    """Return the fractions of atoms in all classes, times the scale."""
    return parameters.sqrt_fraction[model.packing] ** 2 * size_fractions(parameters, model, strength)


def size_fractions(parameters: EnsembleParameters, model: EnsembleModel, strength) -> Float[Array, " class"]:
    """Return the fraction of atoms in each class, relative to the atoms of its packing; the sum of a packing is 1."""
    packing = model.packing
    n_packings = len(parameters.log_mean)
    log_weight = (
        -0.5 * ((jnp.log(model.size) - parameters.log_mean[packing]) * jnp.exp(-parameters.log_width[packing])) ** 2
    )
    log_weight += strength * jnp.sum(model.smooth_modes * parameters.mode_weights[packing], axis=-1)
    log_weight -= jax.lax.stop_gradient(jax.ops.segment_max(log_weight, packing, n_packings))[packing]
    return jnp.exp(log_weight) / jax.ops.segment_sum(jnp.exp(log_weight), packing, n_packings)[packing]


def class_curves(
    model: EnsembleModel, normalized_values, names: tuple[str, ...], basis: FitBasis
) -> Float[Array, "class basis"]:
    """Return G(r) of all classes with scale 1, in the compact basis of the data (`pdf.target`)."""
    shared_values = fit.fractions_to_values(normalized_values, names, basis)
    stretch = class_stretches(shared_values.stretch, shared_values.relaxation, model)
    return jax.vmap(
        lambda cluster_table, class_stretch: fit.model_curve(
            cluster_table, shared_values._replace(stretch=class_stretch), basis
        )
    )(model.cluster_tables, stretch)


def class_stretches(stretch, relaxation, model: EnsembleModel) -> Float[Array, " class"]:
    """Return the stretches of all classes. Relaxed particles are contracted, small ones more than large ones."""
    return stretch * (1 + relaxation * model.expansion)


def _relaxed_representatives(
    classes: SizeClasses, fields: FieldStore, rows: np.ndarray, packings: np.ndarray
) -> dict[int, list[tuple[np.ndarray, DisplacementField]]]:
    """Return the ideal positions and the displacement fields of the particles that represent classes, by class."""
    is_close_packed = ~np.isin(np.array(classes.packing_names)[classes.packing_index], list(size_classes.ATOM_VOLUMES))
    class_rows = size_classes.class_representatives(fields.library, rows, packings, classes)
    class_rows = [entry if selected else entry[:0] for entry, selected in zip(class_rows, is_close_packed, strict=True)]
    fields.compute(np.concatenate(class_rows))
    representatives = {
        index: [
            (library.candidate_cluster(fields.library, int(row)).positions, field)
            for row in entry
            if (field := fields.displacement_field(int(row))) is not None
        ]
        for index, entry in enumerate(class_rows)
    }
    balls = _class_balls(classes)
    fields.compute_named(balls)
    for (index, name), positions in balls.items():
        if (field := fields.displacement_field(name)) is not None:
            representatives[index].append((positions, field))
    return {index: particles for index, particles in representatives.items() if particles}


def _class_balls(classes: SizeClasses) -> dict[tuple[int, str], np.ndarray]:
    """Return the positions of a ball for some classes above the sizes of the library, by class and name."""
    balls = {}
    for index in np.flatnonzero((classes.n_members == 0) & (classes.size_index % BALL_STRIDE == 0)):
        packing, diameter = classes.packing_names[classes.packing_index[index]], float(classes.mean_size[index])
        if diameter < MAX_BALL_SIZE:
            name = f"ball {packing} {diameter:.4f}"
            balls[int(index), name] = size_classes.ball_positions(packing, diameter)
    return balls


def _pair_moments(
    positions: Float[np.ndarray, "atom 3"], displacements: Float[np.ndarray, "atom 3"]
) -> Float[np.ndarray, "3 amplitude bin"]:
    """Return the moments of a cluster for each of `AMPLITUDES`, as sums over the pairs per atom.

    They are the number of pairs, and the sums of the distance and of its square. In a large cluster, only the pairs of
    some atoms are used, which are evenly spaced in the order of their distance from the centre.
    """
    displacements = displacements.astype(np.float64)
    order = np.argsort(np.linalg.norm(positions - positions.mean(axis=0), axis=1), kind="stable")
    n_sampled = min(len(positions), MAX_SAMPLED_ATOMS)
    sampled = order[((np.arange(n_sampled) + 0.5) * len(positions) / n_sampled).astype(int)]

    def products(first, second):
        diagonal = np.sum(first * second, axis=1)
        return diagonal[sampled, None] + diagonal - first[sampled] @ second.T - second[sampled] @ first.T

    squares, mixed, changes = (
        products(*pair) for pair in ((positions, positions), (positions, displacements), (displacements, displacements))
    )
    is_pair = (squares > 0.25) & (squares < (MAX_CLASS_DISTANCE - 1) ** 2)
    squares, mixed, changes = (matrix[is_pair] for matrix in (squares, mixed, changes))
    n_bins = round(MAX_CLASS_DISTANCE / BIN_WIDTH)
    moments = np.empty((3, len(AMPLITUDES), n_bins))
    for index, amplitude in enumerate(AMPLITUDES):
        squared_distance = squares + amplitude * (2 * mixed + amplitude * changes)
        distance = np.sqrt(np.maximum(squared_distance, 0.0))
        bin_index = np.rint(distance / BIN_WIDTH).astype(np.intp)
        for power, values in enumerate((None, distance, squared_distance)):
            moments[power, index] = np.bincount(bin_index, values, n_bins)
    return moments / n_sampled


def _interpolate_classes(
    expansion: Float[np.ndarray, " class"], classes: SizeClasses
) -> tuple[Int[np.ndarray, "class 2"], Float[np.ndarray, "class 2"], Float[np.ndarray, " class"]]:
    """Return the known classes between which each class lies, their weights, and the expansions of all classes.

    The weights are linear in ln D. The expansions are linear in 1/D, and infinite particles have the bond length of the
    bulk metal. A packing without a known class is rigid.

    Args:
        expansion: Expansion of each class; NaN if it is unknown.
        classes: Size classes.
    """
    place = np.cumsum(np.isfinite(expansion)) - 1
    known_pair = np.zeros((len(expansion), 2), int)
    pair_weight, filled = np.zeros((len(expansion), 2)), np.zeros(len(expansion))
    for packing in np.unique(classes.packing_index):
        in_packing = np.flatnonzero(classes.packing_index == packing)
        known_rows = in_packing[np.isfinite(expansion[in_packing])]
        if not len(known_rows):
            continue
        position = np.interp(
            np.log(classes.mean_size[in_packing]), np.log(classes.mean_size[known_rows]), np.arange(len(known_rows))
        )
        lower = position.astype(int)
        upper = np.minimum(lower + 1, len(known_rows) - 1)
        known_pair[in_packing] = place[known_rows][np.stack([lower, upper], axis=1)]
        pair_weight[in_packing] = np.stack([1 - (position - lower), position - lower], axis=1)
        inverse_size = 1 / classes.mean_size[known_rows][::-1]
        filled[in_packing] = np.interp(
            1 / classes.mean_size[in_packing], [0.0, *inverse_size], [0.0, *expansion[known_rows][::-1]]
        )
    return known_pair, pair_weight, filled


def _scaled_histogram(histogram: Histogram, bond: float, span: TableRange) -> Histogram:
    """Return histograms [class, bin] in Å, with the number of bins that the range requires."""
    n_bins = max(512, 64 * math.ceil((span.max_distance / (BIN_WIDTH * bond) + 2) / 64))
    weight, mean, variance = (
        np.pad(column[:, :n_bins], ((0, 0), (0, max(0, n_bins - column.shape[1])))) for column in histogram[:3]
    )
    in_range = (mean * bond < span.max_distance) & (weight > 0)
    return Histogram(
        np.where(in_range, weight, 0.0),
        np.where(in_range, mean * bond, bond),
        np.where(in_range, variance * bond**2, 0.0),
        histogram.atoms,
    )


def _add_changes(
    class_tables: ClusterTable, relaxation: ClassRelaxation, bond: float, span: TableRange
) -> ClusterTable:
    """Return the tables of the classes for all amplitudes: the rigid tables plus the changes of the representatives."""
    if not np.any(relaxation.pair_weight):
        return class_tables
    known_functions = [
        _cluster_tables(_scaled_histogram(histogram, bond, span), bond, span=span).shell_functions
        for histogram in relaxation.histograms
    ]
    return _interpolate_changes(
        class_tables, known_functions, relaxation.known_pair, relaxation.pair_weight.astype(np.float32)
    )


@jax.jit
def _interpolate_changes(class_tables: ClusterTable, known_functions, known_pair, pair_weight) -> ClusterTable:
    """Return the tables of the classes with the changes that are interpolated between known classes."""
    changes = jnp.concatenate([functions - known_functions[0] for functions in known_functions], axis=1)
    lower, upper = (pair_weight[:, side, None, None, None] * changes[known_pair[:, side]] for side in (0, 1))
    return replace(
        class_tables,
        shell_functions=class_tables.shell_functions + lower + upper,
        amplitudes=jnp.broadcast_to(_float32(AMPLITUDES), lower.shape[:2]),
        has_field=jnp.sum(pair_weight, axis=1),
    )


@partial(jax.jit, static_argnames="span")
def _cluster_tables(distances: Histogram, bond: float, *, span: TableRange) -> ClusterTable:
    return jax.vmap(lambda histogram: cluster_tables.tabulate_cluster(histogram, bond, span=span))(distances)


def _float32(values) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32)
