import ase
import numpy as np
import pytest
from ase.cluster import Icosahedron

import jaxstruc
from jaxstruc import SimulateOptions
from jaxstruc.clusters import fcc_shapes


def test_a_simulated_curve_comes_from_atoms():
    options = SimulateOptions(qmax=20.0, uiso=0.01, rmax=10.0, rstep=0.05)
    r, g, step = jaxstruc.simulate(fcc_shapes.fcc_cluster((2, 2, 2)).to_ase("Pt", 2.78), options=options)
    assert r[np.argmax(g)] == pytest.approx(2.78, abs=0.06) and g.dtype == np.float64 and step > 0
    with pytest.raises(ValueError, match="Expected --signal gr, iq, sq or fq, got 'xx'"):
        jaxstruc.simulate(ase.Atoms("Pt"), signal="xx")


def test_the_two_routes_of_a_signal_agree():
    """The sine transform of F(Q) by the trapezoid rule, written out in NumPy, gives G(r)."""
    options = SimulateOptions(qmin=1.0, qmax=15.0, qstep=0.05, uiso=0.01, rstep=0.1)
    q, f, _ = jaxstruc.simulate(Icosahedron("Cu", 2), signal="fq", options=options)
    r, g, _ = jaxstruc.simulate(Icosahedron("Cu", 2), rmax=8.0, options=options)
    q_weights = np.full(q.size, 0.05)
    q_weights[[0, -1]] /= 2
    np.testing.assert_allclose(g, 2 / np.pi * np.sin(r[:, None] * q) @ (q_weights * f), atol=1e-9 * np.abs(g).max())


def test_b_is_8_pi_squared_u():
    atoms = Icosahedron("Cu", 2)
    u, b = (
        jaxstruc.simulate(atoms, rmax=8.0, options=options).y
        for options in (SimulateOptions(uiso=0.01), SimulateOptions(biso=0.01 * 8 * np.pi**2))
    )
    np.testing.assert_allclose(u, b, rtol=1e-12)


@pytest.mark.parametrize(("atoms", "message"), [
    (ase.Atoms(), "Expected a structure with atoms, got .* with none"),
    ([], "Expected at least one cluster, got none"),
    (ase.Atoms("Pt", positions=[[0, 0, np.nan]]), "Expected finite positions"),
])  # fmt: skip
def test_what_is_no_cluster_is_refused(atoms, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.simulate(atoms)
