"""A sample as one cluster or a distribution: through `answers`, with a small library."""

import dataclasses

import mixtures
import numpy as np
import pytest
from simulated import BOND

from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import screening
from jaxstruc.inference.candidates import Candidates
from jaxstruc.options.pdf import DataOptions, SolveOptions
from jaxstruc.scattering import form_factors
from jaxstruc.solver import answers, samples
from jaxstruc.solver.answers import Plan
from jaxstruc.solver.sources import Source

UNIT = form_factors.bond_length("Pt")
HEADER = {name: mixtures.SETTINGS[name] for name in ("qmin", "qmax", "qdamp")}


def plan(rows=None, *, ensemble="auto", source="library"):
    own = mixtures.own()
    group = Candidates(source, own, np.arange(len(own.atoms)) if rows is None else np.asarray(rows), largest=500)
    given = Source(float(own.diameter.max()), lambda measurements: (group for _ in measurements), {}, {})
    return Plan("Pt", (given,), SolveOptions(data=DataOptions(**HEADER), search="none", ensemble=ensemble))


def measured(g, r=mixtures.R):
    return Measurement("sample.gr", r, g, {})


def solved(g, r=mixtures.R, **more):
    asked = plan(**more)
    return next(answers.answers([answers.prepared(measured(g, r), asked)], asked))


@pytest.fixture(scope="module")
def many():
    rows = mixtures.drawn(np.random.default_rng(7), mean=17.0, width=0.2)
    g = mixtures.curve(rows, noise=0.02, stretch=UNIT / BOND)
    return rows, g, solved(g)


@pytest.fixture(scope="module")
def one():
    rows = mixtures.drawn(np.random.default_rng(8), mean=18.0, width=0.01, count=1)
    return rows, solved(mixtures.curve(rows, noise=0.02, stretch=UNIT / BOND))


def test_a_distribution_is_told_with_its_sizes_and_the_best_clusters_role(many):
    rows, _, result = many
    size = mixtures.sizes()[rows] * UNIT / BOND
    found = result.ensemble
    assert result.sample == found.sample == "distribution"
    assert "the most likely member of a distribution" in result.message
    assert found.mean_diameter.low < size.mean() < found.mean_diameter.high
    assert found.mean_diameter.value == pytest.approx(size.mean(), rel=0.02)
    assert found.width.value == pytest.approx(size.std() / size.mean(), rel=0.12)
    assert next(iter(found.shares)) == "fcc" and found.shares["fcc"].value > 0.95
    assert found.rw_holdout == found.rw_holdout_ensemble < found.rw_holdout_single
    assert found.rw < result.best.rw


def test_the_table_and_the_curves_of_a_distribution_are_whole(many):
    found = many[2].ensemble
    np.testing.assert_allclose([found.volume.sum(), found.number.sum()], 1)
    middle = found.holdouts[len(found.holdouts) // 2]
    assert found.r[-1] == pytest.approx(middle.end, abs=0.1) and len(found.r) == len(found.observed)
    beyond = found.r > middle.cut
    left = found.observed[beyond] - found.predicted[beyond]
    assert np.linalg.norm(left) / np.linalg.norm(found.observed[beyond]) == pytest.approx(middle.ensemble, rel=0.02)
    assert set(many[2].distribution) >= {"diameter", "volume", "number_low", "volume_fcc", "number_icosahedron"}


def test_one_cluster_is_single_and_its_message_says_nothing_more(one):
    rows, result = one
    assert result.sample == "single" and "distribution" not in result.message
    assert result.best.n_atoms == mixtures.own().atoms[rows[0]]
    assert result.ensemble.rw_holdout == result.ensemble.rw_holdout_single < result.ensemble.rw_holdout_ensemble


def test_asking_for_none_gives_none_and_for_one_kind_that_kind(many):
    _, g, result = many
    nothing = solved(g, ensemble="none")
    assert nothing.ensemble is None and nothing.sample == "" and nothing.distribution == {}
    with pytest.raises(ValueError, match="none; run with --ensemble auto"):
        nothing.plot_distribution()
    for how, method in (("parametric", "parametric"), ("free", "free")):
        found = solved(g, ensemble=how).ensemble
        assert found.method == method
        assert found.mean_diameter.value == pytest.approx(result.ensemble.mean_diameter.value, rel=0.02)


def test_alone_as_among_others(many):
    _, g, result = many
    asked = plan()
    other = mixtures.curve(mixtures.drawn(np.random.default_rng(9), mean=14.0, width=0.1), noise=0.02)
    ready = [answers.prepared(measured(x), asked) for x in (other, g)]
    _, again = answers.answers(ready, asked)
    assert again.ensemble.mean_diameter == result.ensemble.mean_diameter
    np.testing.assert_array_equal(again.ensemble.volume_high, result.ensemble.volume_high)


def test_too_few_clusters_are_no_distribution(many):
    result = solved(many[1], rows=[5])
    assert result.ensemble is None and "fewer than 10 clusters" in result.message


def test_a_network_alone_is_no_distribution(many):
    goal, own = mixtures.goal(many[1]), mixtures.own()
    group = Candidates("network", own, np.arange(3))
    said = samples.judged(measured(many[1]), goal, [group], None, None, end=20.0, free=(), tried=np.zeros(0, int),
                          kept=samples.Judging({}), how="auto")  # fmt: skip
    assert "takes a library" in said


def test_a_signal_that_ends_soon_is_undecided(many, monkeypatch):
    monkeypatch.setattr(screening, "seen", lambda *given, **more: screening.Seen(9.0, True, 9.4))
    result = solved(many[1])
    assert result.sample == "undecided" and "undecided, the signal ends at 9.4 Å" in result.message
    assert result.ensemble.holdouts == () and result.ensemble.rw_holdout is None


def test_a_distribution_at_the_largest_sizes_is_said(many):
    found = many[2].ensemble
    assert samples.at_the_edge(found) == ""
    volume = np.zeros_like(found.volume)
    volume[0, -1] = 1.0
    assert "100% of the atoms lie in particles as large as any known" in samples.at_the_edge(
        dataclasses.replace(found, volume=volume)
    )


def test_own_structures_are_classed_by_their_atoms():
    group = Candidates("file", mixtures.own(), np.array([0, len(mixtures.own().atoms) - 1]))
    assert set(samples._packings(group)) <= {"fcc", "icosahedron", "other"}
