"""What is said of an answer: whether it explains the data, what the data corrected, what a chemist calls it."""

import dataclasses

import numpy as np
import pytest
from simulated import curve

from jaxstruc.data.measurement import Measurement
from jaxstruc.inference.candidates import Candidates
from jaxstruc.options.pdf import DataOptions, FitOptions
from jaxstruc.scattering import form_factors
from jaxstruc.solver import answers
from jaxstruc.solver.answers import Plan
from jaxstruc.solver.sources import Source
from jaxstruc.structures import families, library
from jaxstruc.structures.atoms import Cluster

BOND = form_factors.bond_length("Au")
R = np.arange(1.5, 40.001, 0.05)


def cluster(family, atoms):
    """Return the first of a family's clusters with so many atoms."""
    return next(one for one in families.FAMILIES[family](atoms, atoms) if len(one.positions) == atoms)


KNOWN = library.of_clusters([cluster("octahedron", 38), cluster("icosahedron", 55), cluster("decahedron", 75)])
HEADER = {"qmin": 1.0, "qmax": 18.0, "qdamp": 0.03}


def data(of, *, header=HEADER, noise=0.05, seed=0, **values):
    """Return a measurement of one of the known clusters; the noise is even over r."""
    rng = np.random.default_rng(seed)
    g = curve(library.cluster(KNOWN, of).positions * BOND, R, **values)
    g += noise * np.std(g[R < 20]) * np.convolve(rng.normal(size=R.size), np.ones(4) / 2, "same")
    return Measurement("sample.gr", R, g, dict(header))


def answered(measurement, group, **options):
    plain = Plan("Au", ()).options  # without an ensemble, a search or a screen
    source = Source(12.0, lambda measurements: iter([group]), {}, {})
    asked = Plan("Au", (source,), dataclasses.replace(plain, **options))
    return next(answers.answers([answers.prepared(measurement, asked)], asked))


def known(rows=(0, 1, 2), **more):
    return Candidates("library", KNOWN, np.array(rows), **more)


@pytest.mark.parametrize("of", range(3))
def test_the_right_model_is_solved_and_told_in_words(of):
    result = answered(data(of), known())
    kind, name = [("fcc", "truncated octahedron"), ("icosahedron", "Mackay icosahedron of 2 shells"),
                  ("decahedron", "Marks decahedron")][of]  # fmt: skip
    assert (result.status, result.message, result.best.type) == ("solved", "", kind)
    assert result.best.description.startswith(name) and f"{KNOWN.atoms[of]} atoms" in result.best.description
    assert result.types[kind] == pytest.approx(1, abs=1e-3) and sum(result.types.values()) == pytest.approx(1)


def test_wrong_candidates_alone_are_weak_and_the_reason_is_said():
    result = answered(data(1, noise=0.02), known((0, 2)), data=DataOptions(qmin=1.0))
    assert result.status == "weak"
    assert result.best.rw > 0.35 and "no candidate explains the data" in result.message
    near = answered(data(2), Candidates("library", library.of_clusters([cluster("decahedron", 54)]), np.array([0])))
    assert near.status == "weak" and 0.01 < near.best.rw < 0.35 and "the residual holds structure" in near.message


def test_an_answer_at_the_librarys_edge_says_so():
    at, inside = (answered(data(2), known(largest=largest)) for largest in (80, 100))
    assert at.status == "weak" and "75 atoms, the library ends at 80: raise --max-atoms" in at.message
    assert inside.status == "solved"


def test_an_element_whose_bonds_are_another_length_is_weak():
    stretched = KNOWN._replace(
        positions=KNOWN.positions * 1.16, mean=KNOWN.mean * 1.16, variance=KNOWN.variance * 1.16**2
    )
    result = answered(data(1), Candidates("library", stretched, np.arange(3)))
    assert result.status == "weak" and "stretch at its bound" in result.message


def test_bonds_of_another_metal_are_told():
    """Platinum's bonds are 4 % shorter than those of gold."""
    other, own = (
        answered(Measurement("sample.gr", R, curve(library.cluster(KNOWN, 1).positions * bond, R), HEADER), known())
        for bond in (0.96 * BOND, 0.98 * BOND)
    )
    assert "bonds of 2.76 Å, Au has 2.88: check --element" in other.message and "bonds" not in own.message


def test_what_the_data_correct_is_a_setting_with_its_error():
    wrong = data(1, header=HEADER | {"qmin": 0.1})
    result, right = answered(wrong, known()), answered(data(1), known())
    origins = {setting.name: setting.origin for setting in result.settings}
    assert origins["qmin"] == "inferred" and result.given["qmin"] == pytest.approx(1.0, abs=0.05)
    assert 0 < result.facts["qmin_error"] < 0.1 and result.status == "solved"
    assert "qmin" in result.message and "inferred (the header says 0.1)" in result.message
    assert result.best.rw == pytest.approx(right.best.rw, abs=0.003)
    assert "qmin_error" not in right.facts and right.given["qmin"] == 1.0


def test_the_users_qmin_is_held():
    result = answered(data(1), known(), data=DataOptions(qmin=0.1))
    assert result.given["qmin"] == 0.1 and {one.name: one.origin for one in result.settings}["qmin"] == "command line"
    assert result.best.rw > 0.1 and result.status == "weak"


def test_a_guessed_qdamp_is_corrected_and_a_given_one_or_a_free_one_is_not():
    silent = {"qmin": 1.0, "qmax": 18.0}
    sample = data(1, qdamp=0.06, header=silent)
    result = answered(sample, known())
    assert result.given["qdamp"] == pytest.approx(0.06, abs=0.01) and "qdamp_error" in result.facts
    assert result.best.values["qdamp"].value == pytest.approx(result.given["qdamp"], rel=1e-5)
    held = answered(sample, known(), data=DataOptions(qdamp=0.03))
    assert held.given["qdamp"] == 0.03 and held.best.rw > result.best.rw + 0.001
    free = FitOptions(("scale", "stretch", "uiso", "delta2", "qdamp"))
    fitted = answered(sample, known(), fit=free)
    assert fitted.given["qdamp"] == 0.03 and fitted.best.values["qdamp"].value == pytest.approx(0.06, abs=0.01)


def test_a_network_beaten_by_a_larger_particle_is_outside_its_training():
    def outside(size):
        return (f"a particle of {size:.0f} Å",) if size > 10 else ()

    drawn = Candidates("network", KNOWN, np.array([0]), {}, {"draws": np.ones(1, int)}, outside=outside)
    asked = Plan("Au", tuple(Source(12.0, lambda _, g=group: iter([g]), {}, {}) for group in (drawn, known())))
    result = next(answers.answers([answers.prepared(data(2), asked)], asked))
    assert result.best.source == "library" and result.status == "solved"
    assert "outside training: a particle of" in result.message
    alone = answered(data(0), drawn)
    assert alone.status == "weak" and alone.message.startswith("outside training")


def test_types_are_by_the_atoms():
    """A cluster that a rule calls faulted and whose atoms show no fault is fcc."""
    plain = cluster("octahedron", 79).positions
    called = library.of_clusters([Cluster("fault", "called so", plain)])
    g = curve(plain * BOND, R)
    measurement = Measurement("sample.gr", R, g, dict(HEADER))
    result = answered(measurement, Candidates("library", called, np.array([0])))
    assert (result.best.family, result.best.type) == ("fault", "fcc") and result.types == {"fcc": 1.0}


def test_a_message_joins_what_is_wrong_and_what_is_remarkable():
    odd = data(1)._replace(warnings=("the header says rmax 6, the data end at 60 Å",), r=R)
    odd = odd._replace(header=odd.header | {"composition": "Pt"})
    result = answered(odd, known((0, 2)))
    assert result.message.index("no candidate") < result.message.index("the header says Pt, --element Au")
    assert dataclasses.asdict(result)["message"].count(";") >= 2
