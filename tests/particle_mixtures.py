"""A small library, its size classes, and mixtures of its clusters simulated with NumPy, for tests of ensembles."""

import itertools
from functools import lru_cache

import numpy as np
from simulated_pdfs_numpy import BOND

from jaxstruc.clusters import distances, families, library, potential, size_classes
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.pdf import candidates, cross_validation, ensemble_model, screening, target
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.scattering.cluster_tables import TableRange

R = np.arange(1.5, 26.001, 0.05)
SPAN = TableRange(28.0, 24.0)
SETTINGS = {"qmin": 1.0, "qmax": 18.0, "qdamp": 0.03, "qbroad": 0.0}
NONLINEAR_PARAMETERS = ("stretch", "uiso", "delta2")
MIN_Q_NODES, MIN_BASIS_SIZE = 256, 128
"""Sizes to which targets are padded, so that all tests share one compilation."""


@lru_cache(maxsize=1)
def sphere_library():
    """Return a library of fcc and icosahedral spheres of 30 to 500 atoms."""
    fcc_spheres = (cluster for cluster in families.fcc_clusters(30, 500) if "sphere" in cluster.label)
    cluster_iterators = (itertools.islice(fcc_spheres, 250), families.icosahedra(30, 500))
    return library.collect(itertools.chain(*cluster_iterators))


def sphere_packings():
    return np.array([size_classes.FAMILY_PACKINGS[family] for family in sphere_library().families], object)


@lru_cache(maxsize=1)
def sphere_classes():
    cluster_library = sphere_library()
    return size_classes.build_size_classes(cluster_library, np.arange(len(cluster_library.atoms)), sphere_packings())


@lru_cache(maxsize=1)
def sphere_fields():
    """Return the displacement fields of the library for copper."""
    return FieldStore(sphere_library(), "Cu")


@lru_cache(maxsize=1)
def relaxed_model():
    """Return the model of an ensemble whose particles may relax."""
    rows = np.arange(len(sphere_library().atoms))
    relaxation = ensemble_model.relax_classes(sphere_classes(), sphere_fields(), rows, sphere_packings())
    return ensemble_model.ensemble_model(sphere_classes(), bond=BOND, span=SPAN, relaxation=relaxation)


@lru_cache(maxsize=1)
def sphere_model():
    return ensemble_model.ensemble_model(sphere_classes(), bond=BOND, span=SPAN)


def equivalent_diameters():
    """Return the diameters of spheres of the clusters' volumes, in Å."""
    cluster_library = sphere_library()
    return size_classes.candidate_sizes(cluster_library, np.arange(len(cluster_library.atoms))) * BOND


def draw_rows(rng, *, mean, width, families=("fcc",), count=60):
    """Return rows of the library whose sizes follow a lognormal distribution."""
    rows = np.flatnonzero(np.isin(sphere_library().families, families))
    log_width = np.sqrt(np.log1p(width**2))
    lognormal_diameters = mean * np.exp(log_width * rng.normal(size=count) - log_width**2 / 2)
    return np.array(
        [rows[np.argmin(abs(np.log(equivalent_diameters()[rows] / diameter)))] for diameter in lognormal_diameters]
    )


def ensemble_pdf(rows, *, noise=0.0, seed=0, uiso=0.008, delta2=2.0, stretch=1.0, amplitude=0.0):
    """Return G(r) of a mixture with equal shares of atoms for all rows, in double precision.

    The particles are displaced along their fields, and contract, with the given amplitude. Particles without a field
    stay rigid.
    """
    cluster_library, q = sphere_library(), np.linspace(SETTINGS["qmin"], SETTINGS["qmax"], 851)
    f = np.zeros(q.size)
    rows, counts = np.unique(rows, return_counts=True)
    for row, count in zip(rows, counts, strict=True):
        histogram = library.candidate_histogram(cluster_library, int(row))
        scaled_bond = BOND * stretch
        sphere_fields().compute([row] if amplitude else [])
        if amplitude and (field := sphere_fields().displacement_field(int(row))) is not None:
            positions = library.candidate_cluster(cluster_library, int(row)).positions
            histogram = distances.histogram(positions + amplitude * field.displacements, width=library.BIN_WIDTH)
            bulk_expansion = potential.bulk_expansion(potential.metal_potential("Cu"))
            scaled_bond *= 1 + amplitude * (field.expansion - bulk_expansion)
        distance = histogram.mean.astype(float) * scaled_bond
        variance = 2 * uiso * np.maximum(1 - delta2 / distance**2, 0) + histogram.variance * scaled_bond**2
        damped_sines = np.sin(q[:, None] * distance) * np.exp(-0.5 * variance * q[:, None] ** 2)
        f += count / counts.sum() * damped_sines @ (histogram.weight / distance / histogram.atoms)
    f = f + noise * np.sqrt(np.mean(f**2)) * np.random.default_rng(seed).normal(size=q.size)
    q_weights = np.full(q.size, q[1] - q[0])
    q_weights[[0, -1]] /= 2
    return 2 / np.pi * np.sin(R[:, None] * q) @ (q_weights * f) * np.exp(-0.5 * (R * SETTINGS["qdamp"]) ** 2)


def make_target(g, rmax=20.0):
    in_range = rmax + 1e-9 >= R
    return target.make_target(
        R[in_range],
        g[in_range],
        target.TargetSettings(**SETTINGS, bond=BOND, span=SPAN, min_q_nodes=MIN_Q_NODES, min_basis_size=MIN_BASIS_SIZE),
    )


def rank_single_clusters(g, rmax=20.0):
    """Return the pool of all candidates and their fits, sorted by Rw."""
    target = make_target(g, rmax)
    pool = candidates.candidate_pool(
        [CandidateGroup("library", sphere_library(), np.arange(len(sphere_library().atoms)))]
    )
    fits = candidates.fit_all(pool, target)
    order = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf))
    return pool.select(order), candidates.select_rows(fits, order)


def cross_validate_curve(g, *, signal_end=None, is_relaxed=False, **options):
    """Return the cross-validation of a curve, with the four best rigid clusters as rivals of the ensemble.

    With `is_relaxed`, the relaxation of the rivals and of the ensemble is fitted up to each cut.
    """
    pool, fits = rank_single_clusters(g)
    group, free, model = pool.groups[0], ("scale", *NONLINEAR_PARAMETERS), sphere_model()
    if is_relaxed:
        group, free, model = group._replace(fields=sphere_fields()), (*free, "relaxation"), relaxed_model()
        pool = pool._replace(groups=(group,))
        options["best"] = candidates.select_fitted(FittedCandidates(pool, fits), np.arange(1))
    bins = screening.binned_distances(sphere_library(), group.rows, bond=BOND, span=SPAN)
    signal_end = signal_end or screening.diameter_estimate(R, g, bond=BOND, qdamp=SETTINGS["qdamp"]).signal_end
    holdout_data = cross_validation.HoldoutData(R, g, make_target(g), signal_end, SPAN, MIN_Q_NODES, MIN_BASIS_SIZE)
    best_row = pool.entry(0)[1]
    models = cross_validation.HoldoutModels(
        model,
        values=candidates.select_rows(fits.values, 0),
        mean_size=float(equivalent_diameters()[best_row]),
        libraries=[(group, bins)],
        rivals=pool.select(np.arange(4)),
        free=free,
        **options,
    )
    return cross_validation.cross_validate(holdout_data, models)
