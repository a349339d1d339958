r"""Model of an ensemble of particles: fractions of atoms in classes of clusters, and the curve of each class.

A class contains clusters of one packing (e.g. fcc) and of similar size. For each packing, the fraction of atoms in
particles of size D follows

$$\varphi(D) = \varphi_0 \exp\left(-\frac{(\ln D - \mu)^2}{2\sigma^2} + \tau\, w(\ln D)\right).$$

Here $\varphi_0$ is a normalization, $\mu$ and $\sigma$ are the mean and the standard deviation of $\ln D$, and w is a
smooth function of unit variance. The strength $\tau$ is 0 for a lognormal distribution and positive for a free
distribution.

All classes have the same Uiso, delta2 and other fit parameters, except the stretch. Small particles contract, so the
stretch of a class is $s\,(1 - k/D)$. Here s is the shared stretch and k is the contraction in Å.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.library import BIN_WIDTH
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.pdf import fit
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange

SMOOTHING_LENGTH = 0.3
"""Correlation length of the smooth functions w, in units of ln(size)."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["cluster_tables", "packing", "size", "smooth_modes"],
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
    """Mean size of each class, in Å."""
    smooth_modes: Float[Array, "class wave"]
    """Values of the basis functions of w at the size of each class. The function w is a weighted sum of them."""
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
    contraction: Float[Array, " 1"]
    """Contraction k of small particles, in Å."""


def ensemble_model(classes: SizeClasses, *, bond: float, span: TableRange) -> EnsembleModel:
    """Return the model of an ensemble for the size classes of a library.

    Args:
        classes: Size classes of a library.
        bond: Nearest-neighbour distance, in Å.
        span: Range of distances and Q that the tables cover.
    """
    n_bins = max(512, 64 * math.ceil((span.max_distance / (BIN_WIDTH * bond) + 2) / 64))
    weight, mean, variance = (
        np.pad(column[:, :n_bins], ((0, 0), (0, max(0, n_bins - column.shape[1])))) for column in classes.histogram[:3]
    )
    in_range = (mean * bond < span.max_distance) & (weight > 0)
    distances = Histogram(
        np.where(in_range, weight, 0.0),
        np.where(in_range, mean * bond, bond),
        np.where(in_range, variance * bond**2, 0.0),
        classes.histogram.atoms,
    )
    log_size = np.log(classes.size_grid)
    eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-0.5 * ((log_size[:, None] - log_size) / SMOOTHING_LENGTH) ** 2))
    selected_modes = eigenvalues > 1e-3 * eigenvalues[-1]
    smooth_modes = (eigenvectors[:, selected_modes] * np.sqrt(eigenvalues[selected_modes]))[classes.size_index]
    return EnsembleModel(
        _cluster_tables(distances, bond, span=span),
        jnp.asarray(classes.packing_index),
        _float32(classes.mean_size * bond),
        _float32(smooth_modes),
        len(classes.packing_names),
    )


@partial(jax.jit, static_argnames="span")
def _cluster_tables(distances: Histogram, bond: float, *, span: TableRange) -> ClusterTable:
    return jax.vmap(lambda histogram: cluster_tables.tabulate_cluster(histogram, bond, span=span))(distances)


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
    model: EnsembleModel, normalized_values, contraction, names: tuple[str, ...], basis: FitBasis
) -> Float[Array, "class basis"]:
    """Return G(r) of all classes with scale 1, in the compact basis of the data (`pdf.target`)."""
    shared_values = fit.fractions_to_values(normalized_values, names, basis)
    stretch = class_stretches(shared_values.stretch, contraction, model)
    return jax.vmap(
        lambda cluster_table, class_stretch: fit.model_curve(
            cluster_table, shared_values._replace(stretch=class_stretch), basis
        )
    )(model.cluster_tables, stretch)


def class_stretches(stretch, contraction, model: EnsembleModel) -> Float[Array, " class"]:
    """Return the stretches of all classes. Small particles are contracted more."""
    return stretch * (1 - contraction / model.size)


def _float32(values) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32)
