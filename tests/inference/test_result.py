import json

import ase
import numpy as np
import pytest
import told

from jaxstruc.data.measurement import Setting
from jaxstruc.inference import result as results
from jaxstruc.inference.glance import Glance
from jaxstruc.inference.result import Candidate, Result, Value
from jaxstruc.statistics import Interval


def candidate(**changed):
    """Return a candidate whose numbers are no short decimals, some of them missing."""
    rng = np.random.default_rng(0)
    given = {
        "source": "library", "type": "fcc", "family": "octahedron", "cluster": "é, 3 \"x\"", "n_atoms": 3,
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
        "facts": {"size_seen": 15.26, "seed": 3, "model": None}, "versions": {"jaxstruc": "0.1.0"},
    }  # fmt: skip
    return Result(**given | changed)


def assert_same(one, two):
    """Assert that two results are equal in all their parts and types."""
    a, b = results.to_arrays(one), results.to_arrays(two)
    assert bytes(a.pop(results.TEXT)) == bytes(b.pop(results.TEXT)) and a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype


def test_a_result_comes_back_without_loss():
    one = result()
    two = results.from_arrays(results.to_arrays(one))
    assert_same(one, two)
    assert two.settings == one.settings and two.free == one.free and two.facts == one.facts
    assert two.best.values == one.best.values and two.candidates[1].atoms is None
    assert type(two.best.notes["draws"]) is int and two.best.weight == 1e-300
    np.testing.assert_array_equal(two.best.atoms.positions, one.best.atoms.positions)
    np.testing.assert_array_equal(two.best.correlation, one.best.correlation)


def test_fields_of_a_later_version_are_kept():
    """Of the result and of a candidate, numbers and arrays; written again they are still there."""
    arrays = results.to_arrays(result())
    told = json.loads(bytes(arrays[results.TEXT]).decode())
    told |= {"version": 2, "verdict": {"kind": "single", "cuts": {results.ARRAY: "cuts"}}}
    told["candidates"][0]["strain"] = [0.5, 1.0]
    later = {**arrays, "cuts": np.arange(3.0), results.TEXT: np.frombuffer(json.dumps(told).encode(), np.uint8)}
    read = results.from_arrays(later)
    assert read.extra["verdict"]["kind"] == "single" and read.best.extra == {"strain": [0.5, 1.0]}
    again = results.from_arrays(results.to_arrays(read))
    np.testing.assert_array_equal(again.extra["verdict"]["cuts"], np.arange(3.0))
    assert again.best.extra == {"strain": [0.5, 1.0]} and again.status == "solved"


def test_a_glance_comes_back_without_loss():
    own = Glance({"fcc": 0.9, "hcp": 0.1}, {"n_atoms": Interval(80.0, 60.5, 1 / 3)}, 0.5, 17828, 900, 123.25)
    one = result(glance=own)
    two = results.from_arrays(results.to_arrays(one))
    assert_same(one, two)
    assert two.glance == own and result().glance is None


def test_arrays_that_are_no_result_are_refused():
    with pytest.raises(ValueError, match=r"Expected a result of jaxstruc, got arrays without result\.json; check"):
        results.from_arrays({"x": np.zeros(3)})


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


@pytest.mark.parametrize("compared", [True, False])
def test_a_distribution_is_read_back_without_loss(compared):
    one = result(ensemble=told.distribution(compared=compared))
    two = results.from_arrays(results.to_arrays(one))
    assert_same(one, two)
    assert two.ensemble.mean_diameter == one.ensemble.mean_diameter and two.ensemble.shares == one.ensemble.shares
    assert two.ensemble.compared == one.ensemble.compared and two.verdict == "distribution"
    np.testing.assert_array_equal(two.distribution["volume_fcc"], one.distribution["volume_fcc"])
