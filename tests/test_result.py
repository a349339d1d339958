import dataclasses
import json

import ase
import numpy as np
import pytest
import sized
import told

from jaxstruc import result as results
from jaxstruc.data.measurement import Setting
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.result import Candidate, Result, Value
from jaxstruc.statistics import Interval

CLASSES = (PdfResult, SaxsResult)


def candidate(**changed):
    """Return a candidate whose numbers are no short decimals, some of them missing."""
    rng = np.random.default_rng(0)
    given = {
        "source": "library", "type": "fcc", "family": "octahedron", "recipe": "é, 3 \"x\"", "n_atoms": 3,
        "diameter": 1 / 3, "rw": float(np.float32(0.1)), "weight": 1e-300, "in_90": True, "converged": False,
        "remark": "", "values": {"scale": Value(2 / 3, None, ""), "uiso": Value(0.1 + 0.2, 1e-17, "Å²")},
        "notes": {"draws": 4, "radius": np.pi}, "atoms": ase.Atoms("Pt3", positions=rng.normal(size=(3, 3))),
        "calculated": rng.normal(size=5), "background": np.zeros(5),
        "correlation": np.array([[1, np.nan], [np.nan, 1]]),
    }  # fmt: skip
    return Candidate(**given | changed)


def result(**changed):
    given = {
        "name": "a b.gr", "sha256": "ab" * 32, "element": "Pt", "status": "solved", "message": "two; parts",
        "candidates": (candidate(), candidate(rw=0.3, atoms=None, calculated=None, background=None, correlation=None)),
        "fitted": 7, "ties": 1, "types": {"fcc": 0.75, "": 0.25}, "free": ("scale", "uiso"), "r": np.arange(5) / 7,
        "observed": np.sin(np.arange(5)), "settings": (Setting("qmin", 0.1, "header"),),
        "facts": {"diameter_estimate": 15.26, "seed": 3, "model": None}, "versions": {"jaxstruc": "0.1.0"},
    }  # fmt: skip
    return PdfResult(**given | changed)


def assert_same(one, two):
    """Assert that two results are equal in all their parts and types."""
    a, b = results.to_arrays(one), results.to_arrays(two)
    assert bytes(a.pop(results.TEXT)) == bytes(b.pop(results.TEXT)) and a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype


def test_a_result_comes_back_without_loss():
    one = result()
    two = results.from_arrays(results.to_arrays(one), CLASSES)
    assert_same(one, two)
    assert two.settings == one.settings and two.free == one.free and two.facts == one.facts
    assert two.best.values == one.best.values and two.candidates[1].atoms is None
    assert type(two.best.notes["draws"]) is int and two.best.weight == 1e-300
    np.testing.assert_array_equal(two.best.atoms.positions, one.best.atoms.positions)
    np.testing.assert_array_equal(two.best.correlation, one.best.correlation)


def test_fields_of_a_later_version_are_kept():
    """Of the result and of a candidate, numbers and arrays; written again they are still there."""
    arrays = results.to_arrays(result())
    entries = json.loads(bytes(arrays[results.TEXT]).decode())
    entries |= {"version": 3, "facets": {"kind": "flat", "cuts": {results.ARRAY: "cuts"}}}
    entries["candidates"][0]["strain"] = [0.5, 1.0]
    later = {**arrays, "cuts": np.arange(3.0), results.TEXT: np.frombuffer(json.dumps(entries).encode(), np.uint8)}
    read = results.from_arrays(later, CLASSES)
    assert read.extra["facets"]["kind"] == "flat" and read.best.extra == {"strain": [0.5, 1.0]}
    again = results.from_arrays(results.to_arrays(read), CLASSES)
    np.testing.assert_array_equal(again.extra["facets"]["cuts"], np.arange(3.0))
    assert again.best.extra == {"strain": [0.5, 1.0]} and again.status == "solved"


def test_each_technique_comes_back_as_its_class():
    saxs = SaxsResult("a.dat", "", "", "failed", "no fit", q=np.arange(1.0, 4.0), intensity=np.ones(3))
    for one in (result(), saxs):
        back = results.from_arrays(results.to_arrays(one), CLASSES)
        assert type(back) is type(one) and back.name == one.name
    np.testing.assert_array_equal(back.q, saxs.q)
    with pytest.raises(ValueError, match="Expected a result of pdf, got one of saxs"):
        results.from_arrays(results.to_arrays(saxs), (PdfResult,))


def test_the_classifiers_prediction_comes_back_without_loss():
    own = ClassifierPrior({"fcc": 0.9, "hcp": 0.1}, {"n_atoms": Interval(80.0, 60.5, 1 / 3)}, 0.5, 17828, 900, 123.25)
    one = result(classifier_prior=own)
    two = results.from_arrays(results.to_arrays(one), CLASSES)
    assert_same(one, two)
    assert two.classifier_prior == own and result().classifier_prior is None


def test_no_old_name_is_a_name_of_today():
    """Else a result of version 1 would lose the field of that name."""
    kinds = (Result, *CLASSES, Candidate, ClassifierPrior)
    today = {each.name for kind in kinds for each in dataclasses.fields(kind)}
    assert not today & set(results.OLD_NAMES) and len(set(results.OLD_NAMES.values())) == len(results.OLD_NAMES)


def test_arrays_that_are_no_result_are_refused():
    with pytest.raises(ValueError, match=r"Expected a result of jaxstruc, got arrays without result\.json; check"):
        results.from_arrays({"x": np.zeros(3)}, CLASSES)


def test_the_best_is_the_first_and_missing_where_there_is_none():
    assert result().best.rw == float(np.float32(0.1))
    with pytest.raises(ValueError, match=r"Expected a candidate for a b\.gr, got none: no luck"):
        _ = result(candidates=(), status="failed", message="no luck").best


def test_curves_are_those_of_a_rank_and_refused_where_not_kept():
    curve = result().curve()
    np.testing.assert_array_equal(curve.calculated, candidate().calculated)
    np.testing.assert_array_equal(curve.x, np.arange(5) / 7)
    for rank in (0, 2, 3):
        with pytest.raises(ValueError, match=f"Expected a rank up to 1, whose curves are kept, got {rank}"):
            result().curve(rank)


@pytest.mark.parametrize("holdouts", [True, False])
def test_a_distribution_is_read_back_without_loss(holdouts):
    one = result(ensemble=told.distribution(holdouts=holdouts))
    two = results.from_arrays(results.to_arrays(one), CLASSES)
    assert_same(one, two)
    assert two.ensemble.mean_diameter == one.ensemble.mean_diameter and two.ensemble.shares == one.ensemble.shares
    assert two.ensemble.holdouts == one.ensemble.holdouts and two.sample == "distribution"
    np.testing.assert_array_equal(two.distribution["volume_fcc"], one.distribution["volume_fcc"])


def test_a_candidate_without_a_description_is_labelled_by_what_is_known():
    assert candidate(description="cuboctahedron, 13 atoms").label == "cuboctahedron, 13 atoms"
    assert candidate().label == "fcc, 3 atoms, 0.3 Å" and candidate(type="").label == "3 atoms, 0.3 Å"


def test_the_density_of_sizes_has_unit_integrals_within_its_band():
    own = sized.result().sizes
    step = np.log(own.radius[1] / own.radius[0])
    assert own.method == "gaussian" and set(own.table) >= {"radius", "volume", "number_high"}
    for name in ("volume", "number"):
        line, low, high = (getattr(own, f"{name}{end}") for end in ("", "_low", "_high"))
        assert abs(line.sum() * step - 1) < 0.01 and np.all(low <= high)
        top = line.argmax()
        assert low[top] <= line[top] * 1.02 and line[top] <= high[top] * 1.02
    assert 40 < own.radius[own.volume.argmax()] < 46 and 38 < own.radius[own.number.argmax()] < 43
