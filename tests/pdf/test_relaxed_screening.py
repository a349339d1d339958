"""Selection of further candidates with data that are corrected for the relaxation."""

import numpy as np
import pytest
from simulated_pdfs_numpy import BOND, cluster_pdf

from jaxstruc.clusters import families, library
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, relaxed_screening, screening, target
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates

R = np.arange(1.5, 16.001, 0.05)
SPAN = target.table_range(rmax=16.0, qmax=18.0, diameter=24.0)
FREE = DEFAULT_FREE_PARAMETERS


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH_SIZE", 4)
        patch.setattr(candidates, "TABLE_BATCH_SIZE", 4)
        yield


@pytest.fixture(scope="module")
def group():
    """Return icosahedra about several centres and some decahedra, with displacements."""
    clusters = [*families.icosahedra(50, 150), *list(families.decahedra(70, 110))[:12]]
    cluster_library = library.from_clusters(clusters)
    rows = np.arange(len(clusters))
    return CandidateGroup("library", cluster_library, rows, fields=FieldStore(cluster_library, "Au"))


@pytest.fixture(scope="module")
def true_row(group):
    """Return the row of an icosahedron whose centre is not on an atom with fivefold axes."""
    library_of_group = group.library
    return next(
        row
        for row in np.flatnonzero(library_of_group.families == "icosahedron")
        if "shells" not in str(library_of_group.labels[row]) and 90 <= library_of_group.atoms[row] <= 140
    )


def make_target(group, row, amplitude):
    positions = library.candidate_cluster(group.library, row).positions + amplitude * group.fields.field(row)
    g = cluster_pdf(positions * BOND, R, noise=0.03, rng=np.random.default_rng(0))
    settings = target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)
    return target.make_target(R, g, settings)


def fitted_rows(group, rows, data):
    """Return candidates of a group with accurate fits, best first."""
    pool = candidates.candidate_pool([group._replace(rows=np.asarray(rows))])
    fits = candidates.fit_all(pool, data, free=FREE)
    fitted = candidates.select_fitted(FittedCandidates(pool, fits), np.argsort(fits.rw, kind="stable"))
    return candidates.refit_accurately(fitted, data, free=FREE)


@pytest.fixture(scope="module")
def first_selection(group, true_row):
    """Return the data of a relaxed particle, and the fits of the Mackay icosahedron and of three decahedra."""
    data = make_target(group, true_row, 1.0)
    is_mackay = [str(label).endswith("3 shells") for label in group.library.labels]
    decahedra = np.flatnonzero(group.library.families == "decahedron")[:3]
    return data, fitted_rows(group, [*np.flatnonzero(is_mackay), *decahedra], data)


@pytest.fixture(scope="module")
def distances(group):
    return screening.binned_distances(group.library, group.rows, bond=BOND, span=SPAN)


def test_an_icosahedron_that_the_first_selection_lacks_is_found(group, true_row, first_selection, distances):
    """The truth has 91 atoms. It is found, although the correction is that of the icosahedron of 147 atoms."""
    data, fitted = first_selection
    known_rows = fitted.pool.groups[0].rows
    assert true_row not in known_rows and abs(fitted.fits.values.relaxation[0]) > relaxed_screening.MIN_RELAXATION
    rows = relaxed_screening.further_rows(fitted, 0, distances, data, free=FREE, count=24)
    assert true_row in rows and not set(rows) & set(known_rows) and np.all(np.diff(rows) > 0) and len(rows) == 24
    further = fitted_rows(group, rows, data)
    assert further.pool.entry(0)[1] == true_row and further.fits.rw[0] < 0.5 * fitted.fits.rw[0]
    assert float(further.fits.values.relaxation[0]) == pytest.approx(1.0, abs=0.05)


def test_the_correction_is_the_change_of_the_curve_by_the_relaxation(first_selection):
    """A relaxation of zero changes nothing. The data minus the change keep their norm."""
    data, fitted = first_selection
    best = candidates.select_fitted(fitted, np.array([0, 1]))
    curves_of_best = relaxed_screening.relaxation_curves(best, data, free=FREE)
    assert curves_of_best.shape == (2, data.basis.data.size)
    assert np.linalg.norm(curves_of_best[0]) > 0.03 * np.linalg.norm(data.basis.data)
    values = best.fits.values._replace(relaxation=np.zeros(2, np.float32))
    rigid = best._replace(fits=best.fits._replace(values=values))
    rigid_change = relaxed_screening.relaxation_curves(rigid, data, free=FREE)
    assert np.linalg.norm(rigid_change) < 1e-5 * np.linalg.norm(data.basis.data)
    corrected = relaxed_screening.corrected_basis(data.basis, curves_of_best[0])
    np.testing.assert_allclose(corrected.data, data.basis.data - curves_of_best[0], atol=1e-6)
    assert float(corrected.norm) == float(data.basis.norm)


def test_nothing_is_added_for_rigid_particles_or_other_groups(first_selection, distances):
    data, fitted = first_selection
    values = fitted.fits.values._replace(relaxation=np.zeros_like(fitted.fits.values.relaxation))
    rigid = fitted._replace(fits=fitted.fits._replace(values=values))
    assert not len(relaxed_screening.further_rows(rigid, 0, distances, data, free=FREE, count=6))
    pool = fitted.pool._replace(groups=(*fitted.pool.groups, fitted.pool.groups[0]))
    other = fitted._replace(pool=pool)
    assert not len(relaxed_screening.further_rows(other, 1, distances, data, free=FREE, count=6))
