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
    xray_factors = form_factors.xray_form_factors(form_factors.xray_coefficients([symbol]), jnp.asarray(q))[0]
    np.testing.assert_allclose(xray_factors, cromermann.getCMformula(symbol).atstol(q / (4 * np.pi)), rtol=1e-12)


def test_form_factors_agree_with_diffpy(golden, x64):
    q = jnp.asarray(golden["fine_Q"])
    for key in golden:
        if key.startswith("f_"):
            xray_factors = form_factors.xray_form_factors(form_factors.xray_coefficients([key[2:]]), q)[0]
            np.testing.assert_allclose(xray_factors, golden[key], rtol=1e-9)


def test_gold_scatters_not_quite_like_its_electrons():
    f0 = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au"]), jnp.zeros(1))[0, 0]
    assert float(f0) == pytest.approx(78.9675, abs=1e-3)


def test_neutron_lengths_are_those_of_periodictable():
    neutron_lengths = form_factors.neutron_lengths(["Au", "Pt", "Ti"])
    tabulated_lengths = [getattr(periodictable, symbol).neutron.b_c for symbol in ("Au", "Pt", "Ti")]
    np.testing.assert_allclose(neutron_lengths, tabulated_lengths)


def test_real_bonds_are_longer_than_the_published_rule():
    assert form_factors.bond_length("Pt") == pytest.approx(2.78)
    assert form_factors.tabulated_bond_length("Pt") == pytest.approx(2.60)


@pytest.mark.parametrize(
    ("symbol", "message"), [("Xx", "symbol of an element"), ("He", "table of metallic radii"), ("pt", "e.g. Pt")]
)
def test_unknown_elements_are_refused(symbol, message):
    with pytest.raises(ValueError, match=message):
        form_factors.bond_length(symbol)


@pytest.mark.slow
def test_the_committed_tables_are_their_sources(repository, monkeypatch):
    """The radii are read from the whole table of mendeleev, because its objects, which the tool uses, take a minute."""
    monkeypatch.syspath_prepend(repository / "tools")
    import make_tables

    for name in ("form_factors", "neutron_lengths"):
        assert committed_entries(make_tables, name) == getattr(make_tables, name)()["entries"], name
    radius_columns = ["metallic_radius", "metallic_radius_c12"]
    radii = fetch_table("elements").set_index("symbol")[radius_columns].dropna() / 100
    assert committed_entries(make_tables, "metallic_radii") == dict(
        zip(radii.index, radii.to_numpy().tolist(), strict=True)
    )


def committed_entries(make_tables, name):
    """Return the entries of a committed table."""
    return json.loads((make_tables.TABLES / f"{name}.json").read_text("utf-8"))["entries"]


@pytest.mark.slow
@pytest.mark.long
def test_the_tool_finds_the_committed_tables_as_it_would_write_them(repository):
    process = subprocess.run(
        [sys.executable, repository / "tools" / "make_tables.py", "--check"], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
