import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import periodictable
import pytest
from mendeleev.fetch import fetch_table
from periodictable import cromermann

from jaxstruc.scattering import form_factors


@pytest.mark.parametrize("symbol", ["Au", "Pt", "O2-", "Ti", "Cu2+"])
def test_form_factors_are_those_of_periodictable(symbol, x64):
    q = np.linspace(0, 25, 51)
    ours = form_factors.xray(form_factors.coefficients([symbol]), jnp.asarray(q))[0]
    np.testing.assert_allclose(ours, cromermann.getCMformula(symbol).atstol(q / (4 * np.pi)), rtol=1e-12)


def test_form_factors_agree_with_diffpy(golden, x64):
    q = jnp.asarray(golden["fine_Q"])
    for key in golden:
        if key.startswith("f_"):
            ours = form_factors.xray(form_factors.coefficients([key[2:]]), q)[0]
            np.testing.assert_allclose(ours, golden[key], rtol=1e-9)


def test_gold_scatters_not_quite_like_its_electrons():
    f0 = form_factors.xray(form_factors.coefficients(["Au"]), jnp.zeros(1))[0, 0]
    assert float(f0) == pytest.approx(78.9675, abs=1e-3)


def test_neutron_lengths_are_those_of_periodictable():
    ours = form_factors.neutron(["Au", "Pt", "Ti"])
    table = [getattr(periodictable, symbol).neutron.b_c for symbol in ("Au", "Pt", "Ti")]
    np.testing.assert_allclose(ours, table)


def test_real_bonds_are_longer_than_the_published_rule():
    assert form_factors.bond_length("Pt") == pytest.approx(2.78)
    assert form_factors.tabulated_bond_length("Pt") == pytest.approx(2.60)


@pytest.mark.parametrize(
    ("symbol", "message"), [("Xx", "symbol of an element"), ("He", "metallic-radii table"), ("pt", "as Pt")]
)
def test_unknown_elements_are_refused(symbol, message):
    with pytest.raises(ValueError, match=message):
        form_factors.bond_length(symbol)


@pytest.mark.slow
def test_the_committed_tables_are_their_sources(repository, monkeypatch):
    """Mendeleev's radii from its table as a whole: its objects, which the tool reads, take a minute."""
    monkeypatch.syspath_prepend(repository / "tools")
    import make_tables

    for name in ("form_factors", "neutron_lengths"):
        assert entries(make_tables, name) == getattr(make_tables, name)()["entries"], name
    both = ["metallic_radius", "metallic_radius_c12"]
    radii = fetch_table("elements").set_index("symbol")[both].dropna() / 100
    assert entries(make_tables, "metallic_radii") == dict(zip(radii.index, radii.to_numpy().tolist(), strict=True))


def entries(make_tables, name):
    """Return what a committed table says."""
    return json.loads((make_tables.TABLES / f"{name}.json").read_text("utf-8"))["entries"]


@pytest.mark.slow
@pytest.mark.long
def test_the_tool_finds_the_committed_tables_as_it_would_write_them(repository):
    done = subprocess.run(
        [sys.executable, repository / "tools" / "make_tables.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
