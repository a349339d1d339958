import ase
import numpy as np
import pytest
from ase.cluster import Icosahedron

import jaxstruc
from jaxstruc.structures import shapes


def test_a_simulated_curve_comes_from_atoms():
    r, g, step = jaxstruc.simulate(shapes.fcc((2, 2, 2)).atoms("Pt", 2.78), qmax=20.0, uiso=0.01, rmax=10.0, rstep=0.05)
    assert r[np.argmax(g)] == pytest.approx(2.78, abs=0.06) and g.dtype == np.float64 and step > 0
    with pytest.raises(ValueError, match="Expected signal iq, sq, fq or gr, got 'xx'"):
        jaxstruc.simulate(ase.Atoms("Pt"), signal="xx")


def test_the_two_routes_of_a_signal_agree():
    """F(Q) summed by hand to G(r): the trapezoid rule over the same grid."""
    atoms, given = Icosahedron("Cu", 2), {"qmin": 1.0, "qmax": 15.0, "qstep": 0.05, "uiso": 0.01}
    q, f, _ = jaxstruc.simulate(atoms, signal="fq", **given)
    r, g, _ = jaxstruc.simulate(atoms, rmax=8.0, rstep=0.1, **given)
    share = np.full(q.size, 0.05)
    share[[0, -1]] /= 2
    np.testing.assert_allclose(g, 2 / np.pi * np.sin(r[:, None] * q) @ (share * f), atol=1e-9 * np.abs(g).max())
