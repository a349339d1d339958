"""Samples of a single cluster or a distribution of particles, solved with a small library."""

import dataclasses

import numpy as np
import particle_mixtures
import pytest
from simulated_pdfs_numpy import BOND

from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import DataOptions, SolveOptions
from jaxstruc.pdf import candidate_fits, distribution, solve
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.site_search import SearchResult
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.scattering import form_factors

PT_BOND = form_factors.bond_length("Pt")
HEADER = {name: particle_mixtures.SETTINGS[name] for name in ("qmin", "qmax", "qdamp")}


def make_plan(rows=None, *, ensemble="auto", source="library"):
    cluster_library = particle_mixtures.sphere_library()
    group = CandidateGroup(
        source,
        cluster_library,
        np.arange(len(cluster_library.atoms)) if rows is None else np.asarray(rows),
        max_atoms=500,
    )
    candidate_source = CandidateSource(
        float(cluster_library.diameter.max()), lambda measurements: (group for _ in measurements), {}, {}
    )
    return PdfPlan(
        "Pt", (candidate_source,), SolveOptions(data=DataOptions(**HEADER), search="none", ensemble=ensemble)
    )


def make_measurement(g, r=particle_mixtures.R):
    return Measurement("sample.gr", r, g, {})


def solve_sample(g, r=particle_mixtures.R, **options):
    plan = make_plan(**options)
    return next(solve.solve_measurements([solve.prepare_measurement(make_measurement(g, r), plan)], plan))


@pytest.fixture(scope="module")
def ensemble_case():
    rows = particle_mixtures.draw_rows(np.random.default_rng(7), mean=17.0, width=0.2)
    g = particle_mixtures.ensemble_pdf(rows, noise=0.02, stretch=PT_BOND / BOND)
    return rows, g, solve_sample(g)


@pytest.fixture(scope="module")
def single_case():
    rows = particle_mixtures.draw_rows(np.random.default_rng(8), mean=18.0, width=0.01, count=1)
    return rows, solve_sample(particle_mixtures.ensemble_pdf(rows, noise=0.02, stretch=PT_BOND / BOND))


def test_a_distribution_has_its_sizes_and_the_role_of_the_best_cluster(ensemble_case):
    rows, _, result = ensemble_case
    diameters = particle_mixtures.equivalent_diameters()[rows] * PT_BOND / BOND
    size_distribution = result.ensemble
    assert result.sample == size_distribution.sample == "distribution"
    assert "the sample is a distribution of particles: use its mean diameter" in result.message
    assert size_distribution.mean_diameter.low < diameters.mean() < size_distribution.mean_diameter.high
    assert size_distribution.mean_diameter.value == pytest.approx(diameters.mean(), rel=0.02)
    assert size_distribution.width.value == pytest.approx(diameters.std() / diameters.mean(), rel=0.12)
    assert next(iter(size_distribution.type_shares)) == "fcc" and size_distribution.type_shares["fcc"].value > 0.95
    assert size_distribution.rw_holdout == size_distribution.rw_holdout_ensemble < size_distribution.rw_holdout_single
    assert size_distribution.rw < result.best.rw


def test_the_table_and_the_curves_of_a_distribution_are_whole(ensemble_case):
    size_distribution = ensemble_case[2].ensemble
    np.testing.assert_allclose([size_distribution.volume.sum(), size_distribution.number.sum()], 1)
    middle_holdout = size_distribution.holdouts[len(size_distribution.holdouts) // 2]
    assert size_distribution.r[-1] == pytest.approx(middle_holdout.end, abs=0.1) and len(size_distribution.r) == len(
        size_distribution.observed
    )
    in_holdout = size_distribution.r > middle_holdout.cut
    residual = size_distribution.observed[in_holdout] - size_distribution.predicted[in_holdout]
    assert np.linalg.norm(residual) / np.linalg.norm(size_distribution.observed[in_holdout]) == pytest.approx(
        middle_holdout.ensemble, rel=0.02
    )
    assert set(ensemble_case[2].distribution) >= {
        "diameter",
        "volume",
        "number_low",
        "volume_fcc",
        "number_icosahedron",
    }


def test_one_cluster_is_single_and_its_message_is_silent_about_distributions(single_case):
    rows, result = single_case
    assert result.sample == "single" and "distribution" not in result.message
    assert result.best.n_atoms == particle_mixtures.sphere_library().atoms[rows[0]]
    assert result.ensemble.rw_holdout == result.ensemble.rw_holdout_single < result.ensemble.rw_holdout_ensemble


def compare_sample(g):
    """Return the comparison of a single cluster with a distribution, and the data of the fit."""
    plan = make_plan()
    measurement = solve.prepare_measurement(make_measurement(g), plan)
    target = solve.padded_target(measurement, plan, solve.target_sizes([measurement], plan))
    (group,) = plan.sources[0].candidates([measurement])
    case = solve.MeasurementCase(measurement, target, [group], plan, None)
    library_cache = distribution.LibraryCache()
    fitted = candidate_fits.fit_measurement(case, library_cache.binned_libraries, lambda remark: None)
    comparison = solve.cross_validate_sample(
        fitted.case, fitted.fitted_candidates, fitted.screened_candidates, 25.0, library_cache, lambda remark: None
    )
    return comparison, fitted.case, fitted.fitted_candidates


def test_a_particle_that_explains_the_data_better_than_the_ensemble_is_single(ensemble_case):
    """A particle with 40 % of the ensemble's Rw is single, unless its shape is too improbable."""
    comparison, case, fitted_candidates = compare_sample(ensemble_case[1])
    target = case.target
    assert comparison.is_distribution and comparison.width == pytest.approx(0.2, abs=0.06)
    ensemble_rw = distribution.describe_distribution(comparison, target).rw
    for rw, prior_cost, sample in (
        (0.4 * ensemble_rw, 0.0, "single"),
        (0.4 * ensemble_rw, 100 * np.log(2.5), "distribution"),
        (0.6 * ensemble_rw, 0.0, "distribution"),
    ):
        reconsidered = distribution.reconsider_sample(
            comparison, target, rw=rw, n_effective=100.0, prior_cost=prior_cost
        )
        assert reconsidered.validation.sample == sample
    # A searched particle that does not explain the data leaves the decision, and so does a search without a result.
    group = case.groups[0]._replace(source="search", rows=np.arange(1))
    search_result = SearchResult(group, np.zeros(1), [], np.zeros(0), np.zeros(0))
    for result in (search_result, None):
        assert solve.reconsider_sample(case, fitted_candidates, comparison, result) is comparison
    assert solve.reconsider_sample(case, fitted_candidates, "", search_result) == ""


def test_the_gain_of_a_particle_is_the_ratio_of_the_likelihoods():
    """The likelihood is the power -n of Rw. A Rw below the accuracy of the simulation counts as this accuracy."""
    assert distribution.particle_gain(0.02, 0.04, 50.0) == pytest.approx(50 * np.log(2))
    assert distribution.particle_gain(0.0, 0.002, 50.0) == pytest.approx(50 * np.log(2))


def test_the_ensemble_option_selects_no_method_or_one(ensemble_case):
    _, g, result = ensemble_case
    single_result = solve_sample(g, ensemble="none")
    assert single_result.ensemble is None and single_result.sample == "" and single_result.distribution == {}
    with pytest.raises(ValueError, match="--ensemble auto"):
        single_result.plot_distribution()
    for option, method in (("parametric", "parametric"), ("free", "free")):
        size_distribution = solve_sample(g, ensemble=option).ensemble
        assert size_distribution.method == method
        assert size_distribution.mean_diameter.value == pytest.approx(result.ensemble.mean_diameter.value, rel=0.02)


def test_a_sample_alone_has_the_numbers_that_it_has_among_others(ensemble_case):
    _, g, result = ensemble_case
    plan = make_plan()
    other_pdf = particle_mixtures.ensemble_pdf(
        particle_mixtures.draw_rows(np.random.default_rng(9), mean=14.0, width=0.1), noise=0.02
    )
    batch = [solve.prepare_measurement(make_measurement(pdf), plan) for pdf in (other_pdf, g)]
    _, repeated_result = solve.solve_measurements(batch, plan)
    assert repeated_result.ensemble.mean_diameter == result.ensemble.mean_diameter
    np.testing.assert_array_equal(repeated_result.ensemble.volume_high, result.ensemble.volume_high)


def test_too_few_clusters_are_no_distribution(ensemble_case):
    result = solve_sample(ensemble_case[1], rows=[5])
    assert result.ensemble is None and "fewer than 10 clusters" in result.message


def test_a_network_alone_is_no_distribution(ensemble_case):
    target, cluster_library = particle_mixtures.make_target(ensemble_case[1]), particle_mixtures.sphere_library()
    group = CandidateGroup("network", cluster_library, np.arange(3))
    message = distribution.cross_validate_sample(
        make_measurement(ensemble_case[1]),
        target,
        [group],
        None,
        signal_end=20.0,
        options=distribution.HoldoutOptions((), "auto", np.zeros(0, int)),
        library_cache=distribution.LibraryCache(),
    )
    assert "because there is no library" in message


def test_a_signal_that_ends_soon_is_undecided(ensemble_case):
    in_range = particle_mixtures.R < 9.41
    result = solve_sample(ensemble_case[1][in_range], particle_mixtures.R[in_range])
    assert (
        result.sample == "undecided" and "because the signal ends at 9.4 Å and a decision needs 10 Å" in result.message
    )
    assert result.ensemble.holdouts == () and result.ensemble.rw_holdout is None


def test_a_distribution_at_the_largest_sizes_is_reported(ensemble_case):
    size_distribution = ensemble_case[2].ensemble
    assert distribution.size_limit_remark(size_distribution) == ""
    volume = np.zeros_like(size_distribution.volume)
    volume[0, -1] = 1.0
    assert "100% of the atoms are in particles close to" in distribution.size_limit_remark(
        dataclasses.replace(size_distribution, volume=volume)
    )


def test_structures_of_the_user_are_classed_by_their_atoms():
    group = CandidateGroup(
        "file", particle_mixtures.sphere_library(), np.array([0, len(particle_mixtures.sphere_library().atoms) - 1])
    )
    assert set(distribution._candidate_packings(group)) <= {"fcc", "icosahedron", "other"}
