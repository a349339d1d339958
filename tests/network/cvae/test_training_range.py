import json

import numpy as np
import pytest
import simulated_pdfs_numpy
from simulated_pdfs_numpy import cluster_pdf, fcc_sphere

from jaxstruc.io import gr, measurement
from jaxstruc.network.cvae import propose
from jaxstruc.options.pdf import SHIPPED, DataOptions
from jaxstruc.pdf import screening

BOND = 2.88
BALL_CENTRE = [0.3, 0.2, 0.1]
"""Position of the spheres' centre in Å, off any atom of the lattice."""


@pytest.fixture(scope="module")
def training_limits():
    """Return the limits of the shipped network."""
    return json.loads(SHIPPED.with_suffix(".json").read_text())["limits"]


@pytest.fixture(scope="module")
def silver_data(repository):
    """Return simulated data of 68 silver atoms."""
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def resolve_data(data, *, qmin=1.0, qmax=22.0, bond=BOND):
    return measurement.resolve_settings(data, DataOptions(qmin=qmin, qmax=qmax, qdamp=0.03), bond=bond)


def test_data_within_the_training_range_give_no_warning(training_limits, silver_data):
    assert propose.range_warnings(training_limits, resolve_data(silver_data), BOND, 13.0) == ()


def test_data_outside_the_training_range_give_warnings(training_limits, silver_data):
    truncated_data = silver_data._replace(r=silver_data.r[:1200], g=silver_data.g[:1200])
    assert (
        "the data end at r = 11.99"
        in propose.range_warnings(training_limits, resolve_data(truncated_data), BOND, 13.0)[0]
    )
    warnings = propose.range_warnings(training_limits, resolve_data(silver_data, qmax=40.0, qmin=4.0), 9.0, 13.0)
    assert len(warnings) == 3 and any("qmax 40 (trained on 10 to 30)" in warning for warning in warnings)


def test_a_particle_larger_than_the_training_range_gives_a_warning(training_limits, silver_data):
    """The largest particle of the training has a diameter of 5.66 bond lengths."""
    inside_warnings, outside_warnings = (
        propose.range_warnings(training_limits, resolve_data(silver_data), BOND, diameter) for diameter in (17.8, 18.0)
    )
    assert inside_warnings == () and outside_warnings == (
        "a particle of 18 Å, larger than any in the training (16.3 Å)",
    )


@pytest.mark.parametrize(
    ("atoms", "is_larger"), [(19, False), (43, False), (79, False), (200, True), (300, True), (450, True), (600, True)]
)
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_estimated_diameter_recognises_larger_particles(training_limits, silver_data, atoms, is_larger, noise):
    """Sizes of gold spheres are estimated. The smallest are estimated too large, but within the training range."""
    radii = np.linalg.norm(fcc_sphere(40.0) - BALL_CENTRE, axis=1)
    ball_positions = fcc_sphere(40.0)[np.argsort(radii, kind="stable")[:atoms]] * BOND / simulated_pdfs_numpy.BOND
    r = np.arange(1.5, 40.0, 0.05)
    g = cluster_pdf(ball_positions, r, noise=noise, rng=np.random.default_rng(atoms))
    diameter, *_ = screening.diameter_estimate(r, g, bond=BOND, qdamp=0.03)
    warnings = propose.range_warnings(training_limits, resolve_data(silver_data), BOND, diameter)
    assert any("larger than any in the training" in warning for warning in warnings) == is_larger
