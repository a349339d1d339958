"""Status, message, inferred settings and types of results."""

import dataclasses

import numpy as np
import pdf_results
import pytest
from scipy.spatial.distance import pdist
from simulated_pdfs_numpy import cluster_pdf

from jaxstruc.clusters import families, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.options.pdf import DataOptions, FitOptions
from jaxstruc.pdf import result, solve
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.result import Value
from jaxstruc.scattering import form_factors
from jaxstruc.statistics import Interval

BOND = form_factors.bond_length("Au")
R = np.arange(1.5, 40.001, 0.05)


def first_cluster(family, n_atoms):
    """Return the first cluster of a family with this number of atoms."""
    return next(
        candidate for candidate in families.FAMILIES[family](n_atoms, n_atoms) if len(candidate.positions) == n_atoms
    )


KNOWN_CLUSTERS = library.from_clusters(
    [first_cluster("octahedron", 38), first_cluster("icosahedron", 55), first_cluster("decahedron", 75)]
)
HEADER = {"qmin": 1.0, "qmax": 18.0, "qdamp": 0.03}


def make_measurement(cluster_index, *, header=HEADER, noise=0.05, seed=0, **conditions):
    """Return a measurement of one of the known clusters with white noise over r."""
    rng = np.random.default_rng(seed)
    g = cluster_pdf(library.candidate_cluster(KNOWN_CLUSTERS, cluster_index).positions * BOND, R, **conditions)
    g += noise * np.std(g[R < 20]) * np.convolve(rng.normal(size=R.size), np.ones(4) / 2, "same")
    return Measurement("sample.gr", R, g, dict(header))


def solve_measurement(measurement, group, *, element="Au", **options):
    default_options = PdfPlan("Au", ()).options  # without an ensemble, a search or a screen
    source = CandidateSource(12.0, lambda measurements: iter([group]), {}, {})
    plan = PdfPlan(element, (source,), dataclasses.replace(default_options, **options))
    return next(solve.solve_measurements([solve.prepare_measurement(measurement, plan)], plan))


def known_group(rows=(0, 1, 2), **fields):
    return CandidateGroup("library", KNOWN_CLUSTERS, np.array(rows), **fields)


@pytest.mark.parametrize("cluster_index", range(3))
def test_the_right_model_is_solved_and_described(cluster_index):
    result = solve_measurement(make_measurement(cluster_index), known_group())
    structure_type, description = [("fcc", "truncated octahedron"), ("icosahedron", "Mackay icosahedron of 2 shells"),
                  ("decahedron", "Marks decahedron")][cluster_index]  # fmt: skip
    assert (result.status, result.message, result.best.type) == ("solved", "", structure_type)
    assert (
        result.best.description.startswith(description)
        and f"{KNOWN_CLUSTERS.atoms[cluster_index]} atoms" in result.best.description
    )
    assert result.types[structure_type] == pytest.approx(1, abs=1e-3) and sum(result.types.values()) == pytest.approx(1)


def test_wrong_candidates_alone_are_weak_and_the_message_states_why():
    result = solve_measurement(make_measurement(1, noise=0.02), known_group((0, 2)), data=DataOptions(qmin=1.0))
    assert result.status == "weak"
    assert result.best.rw > 0.35 and "no candidate explains the data" in result.message
    similar_result = solve_measurement(
        make_measurement(2),
        CandidateGroup("library", library.from_clusters([first_cluster("decahedron", 54)]), np.array([0])),
    )
    assert (
        similar_result.status == "weak"
        and 0.01 < similar_result.best.rw < 0.35
        and "does not explain all of the data" in similar_result.message
    )


def test_a_result_at_the_edge_of_the_library_is_reported():
    edge_result, inner_result = (
        solve_measurement(make_measurement(2), known_group(max_atoms=max_atoms)) for max_atoms in (80, 100)
    )
    assert (
        edge_result.status == "weak" and "75 atoms, close to the limit of 80: raise --max-atoms" in edge_result.message
    )
    assert inner_result.status == "solved"


def test_an_element_whose_bonds_are_another_length_is_weak():
    stretched_library = KNOWN_CLUSTERS._replace(
        positions=KNOWN_CLUSTERS.positions * 1.16,
        mean=KNOWN_CLUSTERS.mean * 1.16,
        variance=KNOWN_CLUSTERS.variance * 1.16**2,
    )
    result = solve_measurement(make_measurement(1), CandidateGroup("library", stretched_library, np.arange(3)))
    assert result.status == "weak" and "the fit ended at a bound of stretch" in result.message
    assert "stretch" in result.best.remark and result.message.count("stretch") == 1


def test_bonds_of_another_metal_are_reported():
    """The bond length of platinum is 4 % shorter than that of gold."""
    short_bond_result, usual_bond_result = (
        solve_measurement(
            Measurement(
                "sample.gr", R, cluster_pdf(library.candidate_cluster(KNOWN_CLUSTERS, 1).positions * bond, R), HEADER
            ),
            known_group(),
        )
        for bond in (0.96 * BOND, 0.98 * BOND)
    )
    assert (
        "bond length is 2.76 Å, that of Au is 2.88 Å: check --element" in short_bond_result.message
        and "bond length" not in usual_bond_result.message
    )


def test_an_inferred_setting_has_its_error():
    wrong_header = make_measurement(1, header=HEADER | {"qmin": 0.1})
    result, right_result = (
        solve_measurement(wrong_header, known_group()),
        solve_measurement(make_measurement(1), known_group()),
    )
    origins = {setting.name: setting.origin for setting in result.settings}
    assert origins["qmin"] == "inferred" and result.settings_by_name["qmin"] == pytest.approx(1.0, abs=0.05)
    assert 0 < result.facts["qmin_error"] < 0.1 and result.status == "solved"
    assert "qmin" in result.message and "1/Å was inferred from the data (the header states 0.1)" in result.message
    assert result.best.rw == pytest.approx(right_result.best.rw, abs=0.003)
    assert "qmin_error" not in right_result.facts and right_result.settings_by_name["qmin"] == 1.0


def test_the_message_states_the_origin_of_a_replaced_setting():
    from_data = make_measurement(1)._replace(settings=(Setting("qmin", 0.1, "data"),))
    assert "(the data start at 0.1)" in solve_measurement(from_data, known_group()).message
    without_qdamp = make_measurement(1, qdamp=0.06, header={"qmin": 1.0, "qmax": 18.0})
    assert "(the default is 0.03)" in solve_measurement(without_qdamp, known_group()).message


def test_a_fixed_scale_is_not_reported_as_a_bound_and_a_fitted_value_is():
    fit_options = FitOptions(("scale", "stretch", "uiso", "delta1", "delta2"), absolute=True)
    result = solve_measurement(make_measurement(1, uiso=0.01, delta2=0.0), known_group(), fit=fit_options)
    assert "scale" not in result.message and "scale" not in result.best.remark
    assert "is at a bound of the fit and has no error" in result.message


def test_the_users_qmin_stays():
    result = solve_measurement(make_measurement(1), known_group(), data=DataOptions(qmin=0.1))
    assert (
        result.settings_by_name["qmin"] == 0.1
        and {setting.name: setting.origin for setting in result.settings}["qmin"] == "command line"
    )
    assert result.best.rw > 0.1 and result.status == "weak"


def test_a_default_qdamp_is_corrected_and_a_stated_or_free_one_is_not():
    header_without_qdamp = {"qmin": 1.0, "qmax": 18.0}
    sample = make_measurement(1, qdamp=0.06, header=header_without_qdamp)
    result = solve_measurement(sample, known_group())
    assert result.settings_by_name["qdamp"] == pytest.approx(0.06, abs=0.01) and "qdamp_error" in result.facts
    assert result.best.values["qdamp"].value == pytest.approx(result.settings_by_name["qdamp"], rel=1e-5)
    stated_result = solve_measurement(sample, known_group(), data=DataOptions(qdamp=0.03))
    assert stated_result.settings_by_name["qdamp"] == 0.03 and stated_result.best.rw > result.best.rw + 0.001
    fit_options = FitOptions(("scale", "stretch", "uiso", "delta2", "qdamp"))
    free_result = solve_measurement(sample, known_group(), fit=fit_options)
    assert free_result.settings_by_name["qdamp"] == 0.03 and free_result.best.values["qdamp"].value == pytest.approx(
        0.06, abs=0.01
    )


def test_a_network_beaten_by_a_larger_particle_is_outside_its_training():
    def range_warnings(diameter):
        return (f"a particle of {diameter:.0f} Å",) if diameter > 10 else ()

    network_group = CandidateGroup(
        "network", KNOWN_CLUSTERS, np.array([0]), {}, {"draws": np.ones(1, int)}, training_warnings=range_warnings
    )
    plan = PdfPlan(
        "Au",
        tuple(
            CandidateSource(12.0, lambda _, source_group=group: iter([source_group]), {}, {})
            for group in (network_group, known_group())
        ),
    )
    result = next(solve.solve_measurements([solve.prepare_measurement(make_measurement(2), plan)], plan))
    assert result.best.source == "library" and result.status == "solved"
    assert "outside the range of the network's training: a particle of" in result.message
    network_result = solve_measurement(make_measurement(0), network_group)
    assert network_result.status == "weak"
    assert network_result.message.startswith("outside the range of the network's training")


def test_types_follow_from_the_atoms():
    """A cluster of the family "fault" whose atoms show no fault is fcc."""
    positions = first_cluster("octahedron", 79).positions
    mislabelled_library = library.from_clusters([Cluster("fault", "called so", positions)])
    g = cluster_pdf(positions * BOND, R)
    measurement = Measurement("sample.gr", R, g, dict(HEADER))
    result = solve_measurement(measurement, CandidateGroup("library", mislabelled_library, np.array([0])))
    assert (result.best.family, result.best.type) == ("fault", "fcc") and result.types == {"fcc": 1.0}


def test_a_message_joins_failures_and_remarks():
    mismatched_measurement = make_measurement(1)._replace(
        warnings=("the header says rmax 6, the data end at 60 Å",), r=R
    )
    mismatched_measurement = mismatched_measurement._replace(
        header=mismatched_measurement.header | {"composition": "Pt"}
    )
    result = solve_measurement(mismatched_measurement, known_group((0, 2)))
    assert result.message.index("no candidate") < result.message.index(
        "the header states the composition Pt, but the model has Au"
    )
    assert dataclasses.asdict(result)["message"].count(";") >= 2


def relaxed_group(clusters, element="Au", source="file"):
    """Return structures with displacement fields as a source."""
    cluster_library = library.from_clusters(clusters)
    fields = FieldStore(cluster_library, element)
    return CandidateGroup(source, cluster_library, np.arange(len(clusters)), fields=fields)


def user_cluster(*position_blocks):
    positions = np.concatenate(position_blocks)
    return Cluster("user", "own", positions - positions.mean(axis=0))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pieces", "the cluster consists of several pieces"),
        ("close", "two atoms are too close"),
        ("molecule", "the relaxation changes nothing but the scale"),
        ("pair", "the cluster has too few atoms"),
        ("triangle", "the cluster has too few atoms"),
        ("bcc", "atoms leave their places when the cluster relaxes"),
    ],
)
def test_a_structure_that_cannot_relax_is_fitted_rigidly_and_the_message_states_why(kind, reason):
    octahedron = first_cluster("octahedron", 38).positions
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    structure = {
        "pieces": (octahedron, octahedron + np.array([6.0, 0, 0])),
        "close": (octahedron, octahedron[:1] * 1.4),
        "molecule": (first_cluster("icosahedron", 13).positions,),
        "pair": (corners[:2],),
        "triangle": (corners,),
        "bcc": (first_cluster("bcc", 51).positions,),
    }[kind]
    group = relaxed_group([user_cluster(*structure)])
    result = solve_measurement(make_measurement(0), group)
    assert f"the structure stays rigid, because {reason}" in result.message
    assert result.best.values["relaxation"].value == 0 and result.best.values["relaxation"].error is None
    assert "relaxation at its bound" not in result.best.remark
    rigid_free = tuple(name for name in FitOptions().free if name != "relaxation")
    rigid_result = solve_measurement(make_measurement(0), group, fit=FitOptions(free=rigid_free))
    assert rigid_result.best.rw == pytest.approx(result.best.rw, rel=1e-3) and "rigid" not in rigid_result.message


def test_a_relaxation_beyond_its_bound_is_reported():
    """The atoms have moved 2.6 times as far as in vacuum, and the largest relaxation of a fit is 2."""
    cluster = first_cluster("icosahedron", 55)
    group = relaxed_group([cluster], source="library")
    positions = cluster.positions + 2.6 * group.fields.field(0)
    measurement = Measurement("sample.gr", R, cluster_pdf(positions * BOND, R), dict(HEADER))
    result = solve_measurement(measurement, group)
    assert result.best.values["relaxation"].value > 1.95 and result.best.values["relaxation"].error is None
    assert "relaxation is at a bound of the fit and has no error" in result.message
    assert result.best.remark == "relaxation at its bound"


def test_a_metal_without_a_potential_is_relaxed_with_a_generic_one_and_the_message_states_it():
    text = "the relaxation of {} was computed with a generic potential of metals"
    clusters = [first_cluster("icosahedron", 55)]
    measurement = make_measurement(1)
    gold_result = solve_measurement(measurement, relaxed_group(clusters))
    iron_result = solve_measurement(measurement, relaxed_group(clusters, "Fe"), element="Fe")
    assert "generic" not in gold_result.message and text.format("Fe") in iron_result.message


def test_the_diameter_and_the_atoms_are_those_of_the_relaxed_structure():
    """The listed candidates after the best few have no atoms, but their diameters are those of their relaxed atoms."""
    clusters = [first_cluster("icosahedron", 55), first_cluster("decahedron", 75), first_cluster("octahedron", 38)]
    group = relaxed_group(clusters, source="library")
    positions = clusters[0].positions + 0.8 * group.fields.field(0)
    measurement = Measurement("sample.gr", R, cluster_pdf(positions * BOND, R), dict(HEADER))
    result = solve_measurement(measurement, group)
    best = result.best
    assert best.n_atoms == 55 and best.rw < 0.02 and result.status == "solved"
    assert best.values["relaxation"].value == pytest.approx(0.8, abs=0.02) and best.values["relaxation"].error < 0.05
    distances = pdist(best.atoms.positions)
    np.testing.assert_allclose(np.sort(distances), np.sort(pdist(positions * BOND)), atol=0.01)
    assert best.diameter == pytest.approx(distances.max(), rel=1e-5)
    assert f"{distances.max():.1f} x" in best.description
    for candidate, cluster in zip(result.candidates[1:], clusters[1:], strict=True):
        relaxed_diameter = pdist(candidate.atoms.positions).max()
        assert candidate.diameter == pytest.approx(relaxed_diameter, rel=1e-5)
        stretch, relaxation = (candidate.values[name].value for name in ("stretch", "relaxation"))
        rigid_diameter = pdist(cluster.positions).max() * BOND * stretch
        assert abs(relaxation) < 0.02 or abs(candidate.diameter - rigid_diameter) > 1e-3


def relaxed_candidate(relaxation, error=0.03):
    return pdf_results.candidate(values={"relaxation": Value(relaxation, error, "")})


@pytest.mark.parametrize(
    ("relaxation", "structure_ratio", "n_low", "n_high"),
    [
        (1.0, None, 195, 205),
        (1.0, 0.8, 195, 205),
        (1.6, 1.0, 195, 205),
        (1.0, 4.0, 191, 208),
        (1.0, 1e6, 180, 220),
        (-0.5, 1.0, 197, 203),
        (0.0, 9.0, 198, 201),
    ],
)
def test_the_interval_of_a_searched_particle_contains_the_error_of_the_potential(
    relaxation, structure_ratio, n_low, n_high
):
    """The first error is 1.645 * 0.012 * 200 = 3.9 atoms. The interval of the search has 2 below and 1 above."""
    interval = result._with_potential_error(
        Interval(200.0, 198.0, 201.0), relaxed_candidate(relaxation), structure_ratio
    )
    assert interval == Interval(200.0, n_low, n_high)
    negligible = dataclasses.replace(relaxed_candidate(relaxation), rw=0.01)
    assert result._with_potential_error(interval, negligible, 1e6) == result._with_potential_error(
        interval, negligible, 1.0
    )
    fixed = pdf_results.candidate(values={"relaxation": Value(relaxation, None, "")})
    for best in (fixed, pdf_results.candidate()):
        assert result._with_potential_error(interval, best, structure_ratio) is interval


def test_the_interval_of_the_relaxation_is_wider_away_from_zero():
    outward, inward = 1.645 * np.hypot(0.03, 0.35 * 0.8), 1.645 * np.hypot(0.03, 0.1 * 0.8)
    for sign in (1, -1):
        interval = result._relaxation_interval(relaxed_candidate(0.8 * sign))["relaxation"]
        expected_ends = sorted(sign * np.array([0.8 - inward, 0.8 + outward]))
        np.testing.assert_allclose([interval.low, interval.high], expected_ends)
    assert result._relaxation_interval(pdf_results.candidate()) == {}
