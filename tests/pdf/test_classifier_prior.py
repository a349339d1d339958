import numpy as np
import pytest
from classifier_predictions import classifier_prediction

from jaxstruc.clusters import library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier.model import COORDINATE_CENTRE, COORDINATE_SCALE, MixtureDensity
from jaxstruc.network.classifier.simulated_pdfs import VALUE_NAMES
from jaxstruc.pdf import candidates, classifier_prior, screening, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.screening import FitLimits


@pytest.fixture(scope="module")
def library_group():
    """Return a group of some hundred clusters of three types."""
    return CandidateGroup(
        "library", *all_rows(library.load_or_build(("icosahedron", "decahedron", "octahedron"), max_atoms=400))
    )


def all_rows(cluster_library):
    return cluster_library, np.arange(len(cluster_library.atoms))


def test_selected_rows_have_the_likely_types_and_sizes(library_group):
    selected_rows = classifier_prior.probable_rows(
        classifier_prediction({"icosahedron": 0.9, "decahedron": 0.1}, 147), library_group
    )
    families, n_atoms = library_group.library.families[selected_rows], library_group.library.atoms[selected_rows]
    assert {"icosahedron", "decahedron"} == set(families) and 147 in n_atoms[families == "icosahedron"]
    assert 60 < n_atoms.min() and n_atoms.max() < 360 and 0 < len(selected_rows) < len(library_group.rows) / 2
    assert (np.diff(selected_rows) > 0).all()
    (family,) = {
        *library_group.library.families[
            classifier_prior.probable_rows(classifier_prediction({"icosahedron": 1.0}, 147), library_group)
        ]
    }
    assert family == "icosahedron"


def test_a_density_is_that_of_the_mixture_written_out(library_group):
    prediction = classifier_prediction({"icosahedron": 1.0}, 130)
    row = int(
        np.flatnonzero((library_group.library.families == "icosahedron") & (library_group.library.atoms > 100))[0]
    )
    types = np.array(["icosahedron"], object)
    log_density = classifier_prior.log_density(
        prediction.output.mixture_density, library_group.library, library_group.rows[[row]], types, (0.1, 0.1)
    )
    n_atoms, diameter = library_group.library.atoms[row], library_group.library.diameter[row]
    expected = 0.0
    for column, value in enumerate((np.log(n_atoms), np.log(diameter) - np.log(n_atoms) / 3)):
        sigma = np.hypot(0.03 / COORDINATE_SCALE[0], 0.1 / COORDINATE_SCALE[column])
        deviation = (value - COORDINATE_CENTRE[column]) / COORDINATE_SCALE[
            column
        ] - prediction.output.mixture_density.mean[0, column]
        expected += -0.5 * (deviation / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    assert log_density[0] == pytest.approx(expected, rel=1e-5)


def test_a_prediction_that_agrees_with_the_fits_has_many_effective_samples(library_group):
    prediction = classifier_prediction({"decahedron": 1.0}, 147)
    weights = classifier_prior._proposal_share(prediction, library_group, classifier_prior.AGREEMENT_SPREAD)
    prior = classifier_prior.summarize_group(prediction, library_group, 9, library_group.rows, weights)
    assert prior.effective_samples == pytest.approx(classifier_prior.N_PROPOSAL_DRAWS) and (
        prior.n_screened,
        prior.n_listed,
    ) == (
        9,
        len(library_group.rows),
    )
    wrong_weights = np.where(library_group.library.families == "icosahedron", 1.0, 0.0)
    assert (
        classifier_prior.summarize_group(
            prediction, library_group, 9, library_group.rows, wrong_weights
        ).effective_samples
        < 1
    )


def test_searches_start_from_draws_of_likely_packings():
    groups = [
        CandidateGroup("library", library.from_clusters([*map(make_cluster, ("hcp", "bcc", "sc"))]), np.arange(3))
    ]
    atom_counts = classifier_prior.draw_atom_counts(
        classifier_prediction({"hcp": 0.5, "faulted": 0.3, "bcc": 0.2}, 200), groups
    )
    assert set(atom_counts) == {"stack", "bcc"} and abs(np.median(atom_counts["stack"]) - 200) < 10
    assert np.ptp(atom_counts["bcc"]) > 5
    assert classifier_prior.draw_atom_counts(None, groups) is None
    assert (
        classifier_prior.draw_atom_counts(classifier_prediction({"fcc": 1.0}, 90, outside_training=("far",)), groups)
        is None
    )
    assert (
        classifier_prior.draw_atom_counts(classifier_prediction({"fcc": 1.0}, 90), [groups[0]._replace(source="file")])
        is None
    )
    bcc_groups = [groups[0]._replace(library=library.from_clusters([make_cluster("bcc")]), rows=np.arange(1))]
    assert set(classifier_prior.draw_atom_counts(classifier_prediction({"hcp": 0.5, "bcc": 0.5}, 200), bcc_groups)) == {
        "bcc"
    }  # --families bcc


def make_cluster(family):
    """Return a cluster of six random atoms that is labelled with a family."""
    return Cluster(family, "some", np.random.default_rng(0).normal(size=(6, 3)) * 3)


def test_a_twinned_particle_that_shows_fcc_alone_is_selected_for_fcc(library_group):
    """The family of the particle is faulted, but its atoms show fcc, which the classifier predicts."""
    twin_library = library.load_or_build(("twin",), max_atoms=200)
    group = CandidateGroup("library", twin_library, np.arange(len(twin_library.atoms)))
    fcc_density = classifier_prior.log_density(
        classifier_prediction({"fcc": 1.0}, 100).output.mixture_density,
        twin_library,
        group.rows,
        np.array(["faulted"] * len(twin_library.atoms), object),
        classifier_prior.SELECTION_SPREAD,
    )
    sc_density = classifier_prior.log_density(
        classifier_prediction({"sc": 1.0}, 100).output.mixture_density,
        twin_library,
        group.rows,
        np.array(["faulted"] * len(twin_library.atoms), object),
        classifier_prior.SELECTION_SPREAD,
    )
    assert (fcc_density - sc_density > 20).all()


def test_data_that_are_no_numbers_to_the_network_are_outside():
    output = classifier_prediction({"fcc": 1.0}, 90).output._replace(feature_distance=float("nan"))
    prediction = classifier_prior.checked_prediction(None, output, bond=2.8)
    assert prediction.training_warnings == ("its prediction is not a finite number",)


def test_a_density_of_two_components_and_types_is_summed_over_both(library_group):
    """Each component has its own weight, probabilities of types, mean and standard deviation."""
    rng = np.random.default_rng(3)
    n_types, n_values = len(STRUCTURE_TYPES), len(VALUE_NAMES)
    weight = np.array([0.3, 0.7])
    probabilities = rng.dirichlet(np.ones(n_types), 2)
    mean, deviation = 0.3 * rng.normal(size=(2, n_values)), rng.uniform(0.3, 1.0, (2, n_values))
    mixture = MixtureDensity(np.log(weight), np.log(probabilities), mean, deviation, np.zeros(()))
    rows = np.array([0, 5, 40])
    spread = (0.12, 0.08)
    types = np.array(["faulted", "decahedron", "bcc"], object)
    possible_types = [("faulted", "fcc", "hcp"), ("decahedron", "faulted"), ("bcc",)]
    log_density = classifier_prior.log_density(mixture, library_group.library, rows, types, spread)
    for row, names, result in zip(rows, possible_types, log_density, strict=True):
        n_atoms, diameter = float(library_group.library.atoms[row]), float(library_group.library.diameter[row])
        coordinates = np.log(np.clip(n_atoms, 10, 1000)), np.log(diameter) - np.log(n_atoms) / 3
        density = 0.0
        for component in range(2):
            share = sum(probabilities[component, STRUCTURE_TYPES.index(name)] for name in names)
            for k in range(2):
                sigma = np.hypot(deviation[component, k], spread[k] / COORDINATE_SCALE[k])
                offset = (coordinates[k] - COORDINATE_CENTRE[k]) / COORDINATE_SCALE[k] - mean[component, k]
                share *= np.exp(-0.5 * (offset / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            density += weight[component] * share
        assert result == pytest.approx(np.log(density), rel=1e-6)


@pytest.mark.parametrize(
    ("source", "warnings", "limit"), [("library", (), 300), ("file", (), 1500), ("library", ("far",), 1500)]
)
def test_fewer_candidates_are_fitted_only_if_the_classifier_selects_them(library_group, source, warnings, limit):
    prediction = classifier_prediction({"fcc": 1.0}, 90, outside_training=warnings)
    group = library_group._replace(source=source)
    assert classifier_prior.max_fitted(prediction, group) == limit
    assert classifier_prior.max_fitted(None, group) == 1500
    (selected_group,) = classifier_prior.select_probable(prediction, [group])
    is_selected = len(selected_group.rows) < len(group.rows) or limit == 300 >= len(group.rows)
    assert is_selected == (limit == 300)
    assert classifier_prior.select_probable(None, [group]) == [group]


def test_the_number_of_atoms_is_drawn_within_the_limits_of_the_training():
    groups = [CandidateGroup("library", library.from_clusters([make_cluster("fcc")]), np.arange(1))]
    for n_atoms, limit in ((4, 10), (5000, 1000)):
        atom_counts = classifier_prior.draw_atom_counts(classifier_prediction({"fcc": 1.0}, n_atoms), groups)
        assert set(atom_counts) == {"stack"} and set(atom_counts["stack"]) == {limit}
        assert len(atom_counts["stack"]) == classifier_prior.ATOM_COUNT_DRAWS
    rare_prediction = classifier_prediction({"fcc": 0.009, "sc": 0.991}, 90)
    assert classifier_prior.draw_atom_counts(rare_prediction, groups) == {}
    draws = classifier_prior.draw_atom_counts(classifier_prediction({"fcc": 1.0}, 200), groups)["stack"]
    assert np.std(np.log(draws)) == pytest.approx(0.03, rel=0.2) and np.mean(draws) == pytest.approx(200, rel=0.01)


def test_a_fit_without_weight_has_no_effective_samples(library_group):
    prediction = classifier_prediction({"fcc": 1.0}, 147)
    rows = library_group.rows[3:6]
    prior = classifier_prior.summarize_group(prediction, library_group, 3, rows, np.zeros(3))
    assert prior.effective_samples == 0 and prior.distance == prediction.output.feature_distance
    assert classifier_prior.summarize_prior(None, [library_group], [library_group], None, np.ones(3)) is None
    pool = candidates.candidate_pool(
        [CandidateGroup("file", library_group.library, np.arange(2)), library_group._replace(rows=rows)]
    )
    other_library = library.from_clusters([make_cluster("fcc"), make_cluster("hcp")])
    mixed_pool = pool._replace(groups=(pool.groups[0]._replace(library=other_library), pool.groups[1]))
    weight = np.array([9.0, 9.0, 0.2, 0.5, 0.3])
    mixed_prior = classifier_prior.summarize_prior(prediction, mixed_pool.groups, mixed_pool.groups, mixed_pool, weight)
    group_prior = classifier_prior.summarize_group(prediction, pool.groups[1], 3, rows, weight[2:])
    assert mixed_prior == group_prior and mixed_prior.n_listed == 3
    assert classifier_prior.summarize_prior(prediction, [pool.groups[0]], [pool.groups[0]], pool, weight) is None


@pytest.mark.parametrize(("limit", "is_binned"), [(39, True), (40, False)])
def test_distances_are_binned_only_if_more_candidates_are_listed_than_are_fitted(library_group, limit, is_binned):
    """The draws of a network are never binned. The bins of a library are kept for the next measurement."""
    group = library_group._replace(rows=np.arange(40))
    r = np.arange(1.5, 15.0, 0.05)
    span = target.table_range(rmax=15.0, qmax=18.0, diameter=20.0)
    settings = target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=2.8, span=span)
    groups = [group, group._replace(source="network")]
    binned_libraries = screening.BinnedLibraries()
    distances, network_distances = classifier_prior.bin_groups(
        groups, groups, target.make_target(r, np.sin(9 * r), settings), binned_libraries, classifier_prediction=None,
        limits=FitLimits(without_classifier=limit),
    )  # fmt: skip
    assert (distances is not None) == is_binned and network_distances is None
    if is_binned:
        assert binned_libraries.find(group.library, group.rows, bond=2.8, span=span) is distances
        assert distances.rows.tolist() == list(range(40))
