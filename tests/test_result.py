import dataclasses
import json

import ase
import example_distributions
import numpy as np
import pytest
import small_angle_data

from jaxstruc import result as results
from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.classifier_prior import ClassifierPrior
from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate, Result, Value
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.statistics import Interval

RESULT_CLASSES = (PdfResult, SaxsResult)


def candidate(**overrides):
    """Return a candidate whose numbers are no short decimals, some of them missing."""
    rng = np.random.default_rng(0)
    fields = {
        "source": "library", "type": "fcc", "family": "octahedron", "recipe": "é, 3 \"x\"", "n_atoms": 3,
        "diameter": 1 / 3, "rw": float(np.float32(0.1)), "weight": 1e-300, "in_90": True, "converged": False,
        "remark": "", "values": {"scale": Value(2 / 3, None, ""), "uiso": Value(0.1 + 0.2, 1e-17, "Å²")},
        "notes": {"draws": 4, "radius": np.pi}, "atoms": ase.Atoms("Pt3", positions=rng.normal(size=(3, 3))),
        "calculated": rng.normal(size=5), "background": np.zeros(5),
        "correlation": np.array([[1, np.nan], [np.nan, 1]]),
    }  # fmt: skip
    return Candidate(**fields | overrides)


def result(**overrides):
    fields = {
        "name": "a b.gr", "sha256": "ab" * 32, "element": "Pt", "status": "solved", "message": "two; parts",
        "candidates": (candidate(), candidate(rw=0.3, atoms=None, calculated=None, background=None, correlation=None)),
        "n_fitted": 7, "ties": 1, "types": {"fcc": 0.75, "": 0.25}, "free": ("scale", "uiso"), "r": np.arange(5) / 7,
        "observed": np.sin(np.arange(5)), "settings": (Setting("qmin", 0.1, "header"),),
        "facts": {"diameter_estimate": 15.26, "seed": 3, "model": None}, "versions": {"jaxstruc": "0.1.0"},
    }  # fmt: skip
    return PdfResult(**fields | overrides)


def assert_same(first_result, second_result):
    """Assert that two results are equal in all their parts and types."""
    first_arrays, second_arrays = results.to_arrays(first_result), results.to_arrays(second_result)
    assert (
        bytes(first_arrays.pop(results.JSON_KEY)) == bytes(second_arrays.pop(results.JSON_KEY))
        and first_arrays.keys() == second_arrays.keys()
    )
    for name in first_arrays:
        np.testing.assert_array_equal(first_arrays[name], second_arrays[name])
        assert first_arrays[name].dtype == second_arrays[name].dtype


def test_a_result_comes_back_without_loss():
    saved_result = result()
    loaded_result = results.from_arrays(results.to_arrays(saved_result), RESULT_CLASSES)
    assert_same(saved_result, loaded_result)
    assert (
        loaded_result.settings == saved_result.settings
        and loaded_result.free == saved_result.free
        and loaded_result.facts == saved_result.facts
    )
    assert loaded_result.best.values == saved_result.best.values and loaded_result.candidates[1].atoms is None
    assert type(loaded_result.best.notes["draws"]) is int and loaded_result.best.weight == 1e-300
    np.testing.assert_array_equal(loaded_result.best.atoms.positions, saved_result.best.atoms.positions)
    np.testing.assert_array_equal(loaded_result.best.correlation, saved_result.best.correlation)


def test_fields_of_a_later_version_are_kept():
    """Unknown numbers and arrays of a result and of a candidate are kept when the result is written again."""
    arrays = results.to_arrays(result())
    entries = json.loads(bytes(arrays[results.JSON_KEY]).decode())
    entries |= {"version": 3, "facets": {"kind": "flat", "cuts": {results.ARRAY_KEY: "cuts"}}}
    entries["candidates"][0]["strain"] = [0.5, 1.0]
    later_arrays = {
        **arrays,
        "cuts": np.arange(3.0),
        results.JSON_KEY: np.frombuffer(json.dumps(entries).encode(), np.uint8),
    }
    loaded_result = results.from_arrays(later_arrays, RESULT_CLASSES)
    assert loaded_result.extra["facets"]["kind"] == "flat" and loaded_result.best.extra == {"strain": [0.5, 1.0]}
    reloaded_result = results.from_arrays(results.to_arrays(loaded_result), RESULT_CLASSES)
    np.testing.assert_array_equal(reloaded_result.extra["facets"]["cuts"], np.arange(3.0))
    assert reloaded_result.best.extra == {"strain": [0.5, 1.0]} and reloaded_result.status == "solved"


def test_each_technique_comes_back_as_its_class():
    saxs_result = SaxsResult("a.dat", "", "", "failed", "no fit", q=np.arange(1.0, 4.0), intensity=np.ones(3))
    for saved_result in (result(), saxs_result):
        loaded_result = results.from_arrays(results.to_arrays(saved_result), RESULT_CLASSES)
        assert type(loaded_result) is type(saved_result) and loaded_result.name == saved_result.name
    np.testing.assert_array_equal(loaded_result.q, saxs_result.q)
    with pytest.raises(ValueError, match="Expected a result of pdf, got one of saxs"):
        results.from_arrays(results.to_arrays(saxs_result), (PdfResult,))


def test_the_classifiers_prediction_comes_back_without_loss():
    prior = ClassifierPrior({"fcc": 0.9, "hcp": 0.1}, {"n_atoms": Interval(80.0, 60.5, 1 / 3)}, 0.5, 17828, 900, 123.25)
    saved_result = result(classifier_prior=prior)
    loaded_result = results.from_arrays(results.to_arrays(saved_result), RESULT_CLASSES)
    assert_same(saved_result, loaded_result)
    assert loaded_result.classifier_prior == prior and result().classifier_prior is None


def test_no_old_field_name_is_a_present_field_name():
    """Otherwise a result of version 1 would lose the field of that name."""
    dataclass_types = (Result, *RESULT_CLASSES, Candidate, ClassifierPrior)
    field_names = {field.name for dataclass_type in dataclass_types for field in dataclasses.fields(dataclass_type)}
    assert not field_names & set(results.VERSION_1_NAMES) and len(set(results.VERSION_1_NAMES.values())) == len(
        results.VERSION_1_NAMES
    )


def test_arrays_that_are_no_result_are_refused():
    with pytest.raises(ValueError, match=r"Expected a result of jaxstruc, got arrays without result\.json; check"):
        results.from_arrays({"x": np.zeros(3)}, RESULT_CLASSES)


def test_the_best_is_the_first_and_missing_where_there_is_none():
    assert result().best.rw == float(np.float32(0.1))
    with pytest.raises(ValueError, match=r"Expected a candidate for a b\.gr, got none: no luck"):
        _ = result(candidates=(), status="failed", message="no luck").best


def test_curves_are_those_of_a_rank_and_refused_where_not_kept():
    curve = result().curve()
    np.testing.assert_array_equal(curve.calculated, candidate().calculated)
    np.testing.assert_array_equal(curve.x, np.arange(5) / 7)
    for rank in (0, 2, 3):
        with pytest.raises(
            ValueError, match=f"Expected a rank up to 1, because only the best candidates have curves, got {rank}"
        ):
            result().curve(rank)


@pytest.mark.parametrize("holdouts", [True, False])
def test_a_distribution_is_read_back_without_loss(holdouts):
    saved_result = result(ensemble=example_distributions.distribution(holdouts=holdouts))
    loaded_result = results.from_arrays(results.to_arrays(saved_result), RESULT_CLASSES)
    assert_same(saved_result, loaded_result)
    assert (
        loaded_result.ensemble.mean_diameter == saved_result.ensemble.mean_diameter
        and loaded_result.ensemble.type_shares == saved_result.ensemble.type_shares
    )
    assert loaded_result.ensemble.holdouts == saved_result.ensemble.holdouts and loaded_result.sample == "distribution"
    np.testing.assert_array_equal(loaded_result.distribution["volume_fcc"], saved_result.distribution["volume_fcc"])


def test_a_candidate_without_a_description_is_labelled_by_what_is_known():
    assert candidate(description="cuboctahedron, 13 atoms").label == "cuboctahedron, 13 atoms"
    assert candidate().label == "fcc, 3 atoms, 0.3 Å" and candidate(type="").label == "3 atoms, 0.3 Å"


def test_the_density_of_sizes_has_unit_integrals_within_its_band():
    sizes = small_angle_data.result().sizes
    log_step = np.log(sizes.radius[1] / sizes.radius[0])
    assert sizes.method == "gaussian" and set(sizes.table) >= {"radius", "volume", "number_high"}
    for name in ("volume", "number"):
        density, lower_band, upper_band = (getattr(sizes, f"{name}{suffix}") for suffix in ("", "_low", "_high"))
        assert abs(density.sum() * log_step - 1) < 0.01 and np.all(lower_band <= upper_band)
        peak_index = density.argmax()
        assert (
            lower_band[peak_index] <= density[peak_index] * 1.02
            and density[peak_index] <= upper_band[peak_index] * 1.02
        )
    assert 40 < sizes.radius[sizes.volume.argmax()] < 46 and 38 < sizes.radius[sizes.number.argmax()] < 43


def test_a_failed_result_has_no_candidates_numbers_or_facts():
    failed_result = Result("a.gr", "ab", "Pt", "failed", "no points")
    assert (failed_result.candidates, failed_result.free, failed_result.settings) == ((), (), ())
    assert (failed_result.n_fitted, failed_result.ties) == (0, 0)
    for entries in ("types", "intervals", "facts", "versions", "extra", "distribution", "settings_by_name"):
        assert getattr(failed_result, entries) == {}
    assert failed_result.data == (None, None)
    with pytest.raises(ValueError, match="Expected a rank up to 0"):
        failed_result.curve()


@pytest.mark.parametrize("missing_part", ["calculated", "background", "r", "observed"])
def test_a_curve_needs_the_data_and_both_parts_of_the_fit(missing_part):
    if missing_part in ("calculated", "background"):
        incomplete_result = result(candidates=(candidate(**{missing_part: None}),))
    else:
        incomplete_result = result(**{missing_part: None})
    with pytest.raises(ValueError, match=r"Expected a rank up to [01], because only the best candidates have curves"):
        incomplete_result.curve(1)


def test_the_curve_of_each_rank_is_that_of_its_candidate():
    second_candidate = candidate(calculated=np.arange(5) / 3, background=np.arange(5) / 9)
    two_curves = result(candidates=(candidate(), second_candidate))
    np.testing.assert_array_equal(two_curves.curve(2).calculated, np.arange(5) / 3)
    np.testing.assert_array_equal(two_curves.curve(2).background, np.arange(5) / 9)
    for rank in (-1, 0, 3):
        with pytest.raises(ValueError, match=f"because only the best candidates have curves, got {rank}"):
            two_curves.curve(rank)
