import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from taught import SMALL, easy
from written import R, wave

from jaxstruc.data.edge import Edge
from jaxstruc.data.measurement import Measurement, resolved
from jaxstruc.network import classifier, endless, lessons, naming, weights
from jaxstruc.network.classifier import Mixture
from jaxstruc.network.endless import Batch, Truths
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.pdf import DataOptions
from jaxstruc.options.training import TrainClassifierOptions
from jaxstruc.structures.cuts import TYPES

BOND = 2.88


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Weights of a small classifier, hardly trained on easy curves."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endless, "batch", easy)
        params, metrics = lessons.taught(None, TrainClassifierOptions(steps=40, rate=0.01), folder=folder, module=SMALL)
        outside, ends = naming.limits(params, None, seed=0, module=SMALL)
        held = naming.tested(params, None, seed=0, module=SMALL)
    card = lessons.card(TrainClassifierOptions(), metrics | held, command="none") | ends
    weights.save_classifier(folder / "own.safetensors", TrainedClassifier(params, SMALL, outside, card))
    return folder / "own.safetensors"


@pytest.fixture(scope="module")
def network(path):
    return weights.load_classifier(path)


@pytest.fixture(scope="module")
def data():
    """Three measurements, the last one short."""
    options = DataOptions(qmin=0.8, qmax=20.0)
    curves = [Measurement(f"{k}.gr", R[: 1100 if k == 2 else None], wave((1 + 0.02 * k) * R), {}) for k in range(3)]
    curves = [one._replace(g=one.g[: len(one.r)]) for one in curves]
    return [resolved(one, options, bond=BOND) for one in curves]


def test_a_measured_curve_is_seen_at_its_points_and_its_range(data):
    seen = naming.seen(data, BOND)
    r = endless.R * BOND
    inside = r <= data[2].r[-1]
    np.testing.assert_array_equal(seen.seen[2], inside)
    curve = np.where(inside, wave(1.04 * r), 0)
    np.testing.assert_allclose(seen.pdf[2], curve / np.sqrt((curve[inside] ** 2).mean()), atol=2e-3)
    assert seen.told[0] == pytest.approx([0.8 * BOND / 5, 20 * BOND / 60, 0.3 * BOND, 0, 30 / BOND / 12.5], rel=1e-4)


def test_a_file_alone_is_named_as_among_others(network, data):
    """Medians lie within their intervals, shares add up, the diameter is in Å."""
    among = naming.named(data, network, bond=BOND)
    (alone,) = naming.named(data[1:2], network, bond=BOND)
    assert alone[:5] == among[1][:5] and alone[:5] != among[0][:5]
    np.testing.assert_array_equal(alone.mixture.mean, among[1].mixture.mean)
    assert sum(alone.types.values()) == pytest.approx(1, abs=1e-5) and set(alone.types) == set(TYPES)
    assert list(alone.types.values()) == sorted(alone.types.values(), reverse=True)
    for interval in alone.intervals.values():
        assert interval.low <= interval.value <= interval.high
    (wide,) = naming.named(data[1:2], network, bond=2 * BOND)
    assert wide.intervals["diameter"].value != alone.intervals["diameter"].value


def test_what_lies_outside_is_told(network, data):
    (own,) = naming.named(data[2:], network, bond=BOND)
    own = own._replace(strange=0.5, edge=Edge(20.0, 0.1))
    said = "; ".join(naming.outside(data[2], own._replace(distance=1.3), bond=BOND))
    assert "data only to r = 10.99 Å" in said and "unlike all that it was trained on (1.30" in said
    assert naming.outside(data[0], own._replace(distance=0.9), bond=BOND) == ()
    assert "bond 4" in naming.outside(data[0], own._replace(distance=0.9), bond=4.0)[0]
    usual = own._replace(distance=0.9)
    assert naming.outside(data[0], usual._replace(strange=1.2), bond=BOND) == ("looks like two types of particles",)
    (said,) = naming.outside(data[0], usual._replace(strange=1.2, edge=Edge(24.0, 6.0)), bond=BOND)
    assert said == "its waves end at Q = 24 1/Å, not at qmax 20"
    assert usual._replace(edge=Edge(24.0, 6.0)).oddness == 2.0 and usual.oddness == 0.9


def test_calibration_makes_ranks_even_and_types_as_sure_as_they_are_right():
    """Truths that lie nearer to the middle than draws do, and types that are right more often than they say."""
    rng = np.random.default_rng(0)
    count = 4000
    coordinates = np.zeros((count, 1, 6), np.float32)
    sure = np.log(np.where(np.arange(7) == 0, 0.6, 0.4 / 6)).astype(np.float32)
    mixture = Mixture(np.zeros((count, 1)), np.tile(sure, (count, 1, 1)), coordinates, coordinates + 1, np.zeros(count))
    values = np.asarray(classifier.values(jnp.asarray(0.5 * rng.normal(size=(count, 6)))))
    truths = Truths(np.where(rng.random(count) < 0.9, 0, rng.integers(1, 7, count)), values)
    batch = Batch(None, None, None, truths, None, None, None)
    found = naming.calibration([(batch, mixture, np.zeros(0))])
    assert naming.tempered(jnp.exp(sure), found["temperature"])[0] == pytest.approx(0.9, abs=0.015)
    low, middle, high = naming.levels_of(found)[0]
    assert low == pytest.approx(0.205, abs=0.02) and middle == pytest.approx(0.5, abs=0.02) and low < high < 0.82
    ranks = np.tile(np.array([low, middle, high])[:, None], (1, 6))
    assert naming.ranked(ranks, found)[:, 0] == pytest.approx([0.05, 0.5, 0.95], abs=0.01)


@pytest.mark.long
def test_five_percent_of_the_trainings_kind_lie_outside(network, monkeypatch):
    monkeypatch.setattr(endless, "batch", easy)
    asked = naming.fresh(network.params, None, seed=5, steps=20, module=SMALL)
    distance = np.concatenate([naming.unlike(one[2], network.outside) for one in asked]) / network.card["outside"]
    assert 0.02 < (distance > 1).mean() < 0.1
    far = asked[0][0]._replace(pdf=jax.random.normal(jax.random.key(0), asked[0][0].pdf.shape) * 3)
    features = SMALL.apply(network.params, far.pdf, far.seen, far.told, mutable=["intermediates"])[1]
    other = (
        naming.unlike(np.asarray(features["intermediates"]["features"][0]), network.outside) / network.card["outside"]
    )
    assert np.median(other) > 1.2


def test_weights_of_another_kind_are_refused(path, tmp_path):
    """A changed file, a card of another version, the autoencoder's weights, none at all: one line each."""
    with pytest.raises(ValueError, match="make them with `jaxstruc train-classifier`"):
        weights.load_classifier(tmp_path / "none.safetensors")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes()[:-1] + b"x")
    card = json.loads(path.with_suffix(".json").read_text("utf-8"))
    copy.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="Expected weights of sha256"):
        weights.load_classifier(copy)
    copy.write_bytes(path.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(card | {"version": 0}))
    with pytest.raises(ValueError, match="of version 2"):
        weights.load_classifier(copy)
    copy.with_suffix(".json").write_text(json.dumps({"sha256": card["sha256"], "sizes": {}}))
    with pytest.raises(ValueError, match="train-classifier"):
        weights.load_classifier(copy)
