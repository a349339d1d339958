import json

import numpy as np
import pytest
import simulated
from simulated import curve, sphere

from jaxstruc.data import gr, measurement
from jaxstruc.inference import screening
from jaxstruc.network import limits
from jaxstruc.options.pdf import SHIPPED, DataOptions

BOND = 2.88
CENTRE = [0.3, 0.2, 0.1]
"""Of the balls, in Å."""


@pytest.fixture(scope="module")
def card():
    """The limits of the shipped network."""
    return json.loads(SHIPPED.with_suffix(".json").read_text())["limits"]


@pytest.fixture(scope="module")
def example(repository):
    """Simulated data of 68 atoms of silver."""
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def resolved(data, *, qmin=1.0, qmax=22.0, bond=BOND):
    return measurement.resolved(data, DataOptions(qmin=qmin, qmax=qmax, qdamp=0.03), bond=bond)


def test_data_like_those_of_the_training_are_inside(card, example):
    assert limits.outside(card, resolved(example), BOND, 13.0) == ()


def test_data_outside_the_training_are_said(card, example):
    short = example._replace(r=example.r[:1200], g=example.g[:1200])
    assert "data only to r = 11.99" in limits.outside(card, resolved(short), BOND, 13.0)[0]
    said = limits.outside(card, resolved(example, qmax=40.0, qmin=4.0), 9.0, 13.0)
    assert len(said) == 3 and any("qmax 40 (trained on 10 to 30)" in text for text in said)


def test_a_particle_is_larger_than_trained_by_its_size(card, example):
    """The largest of the training has a diameter of 5.66 bonds."""
    inside, outside = (limits.outside(card, resolved(example), BOND, size) for size in (17.8, 18.0))
    assert inside == () and outside == ("a particle of 18 Å, larger than the model's largest (16.3 Å)",)


@pytest.mark.parametrize(
    ("atoms", "larger"), [(19, False), (43, False), (79, False), (200, True), (300, True), (450, True), (600, True)]
)
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_size_read_from_data_tells_larger_particles(card, example, atoms, larger, noise):
    """Balls of gold; of the smallest the size is read too large, but not so much that they pass for larger ones."""
    radius = np.linalg.norm(sphere(40.0) - CENTRE, axis=1)
    ball = sphere(40.0)[np.argsort(radius, kind="stable")[:atoms]] * BOND / simulated.BOND
    r = np.arange(1.5, 40.0, 0.05)
    g = curve(ball, r, noise=noise, rng=np.random.default_rng(atoms))
    size, *_ = screening.seen(r, g, bond=BOND, qdamp=0.03)
    said = limits.outside(card, resolved(example), BOND, size)
    assert any("larger than the model's largest" in text for text in said) == larger
