import json

import numpy as np
import pytest

from jaxstruc.data import gr, measurement
from jaxstruc.data.options import DataOptions
from jaxstruc.network import limits
from jaxstruc.network.config import SHIPPED

BOND = 2.88


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
    assert limits.outside(card, resolved(example), BOND) == []


def test_data_outside_the_training_are_said(card, example):
    short = example._replace(r=example.r[:1200], g=example.g[:1200])
    large = example._replace(g=np.sin(2.3 * example.r))
    assert "data only to r = 11.99" in limits.outside(card, resolved(short), BOND)[0]
    assert "a particle larger than" in limits.outside(card, resolved(large), BOND)[0]
    said = limits.outside(card, resolved(example, qmax=40.0, qmin=4.0), 9.0)
    assert len(said) == 3 and any("qmax 40 (trained on 10 to 30)" in text for text in said)


def test_the_signal_beyond_a_diameter_is_relative_to_that_within(example):
    r = np.arange(0.0, 30.0, 0.01)
    data = example._replace(r=r, g=np.where(r < 12.5, 1.0, 0.25))
    assert limits.signal_beyond(data, 12.0) == pytest.approx(0.25)
    assert limits.signal_beyond(data, 29.0) == 0.0  # the data end before
