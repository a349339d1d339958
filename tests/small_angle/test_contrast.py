import periodictable
import pytest

from jaxstruc.small_angle import contrast


@pytest.mark.parametrize("symbol", ["Au", "Pt", "Ag", "Pd", "Cu", "Si"])
def test_elements_have_periodictables_density_of_electrons(symbol):
    """Compare with r_e Z times the number density of atoms, which holds far above all absorption edges."""
    element = getattr(periodictable, symbol)
    density = element.density / element.mass * 0.602214076 * element.number
    assert contrast.element_sld(symbol) == pytest.approx(density * 28.179403, rel=1e-4)


def test_only_anomalous_terms_are_left_out():
    real_sld, _ = periodictable.xray_sld("Si", density=periodictable.Si.density, energy=17.4)
    assert contrast.element_sld("Si") == pytest.approx(float(real_sld), rel=0.01)
    real_sld, _ = periodictable.xray_sld("Au", density=periodictable.Au.density, energy=8.048)
    assert contrast.element_sld("Au") / float(real_sld) == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize(("name", "value"), [("water", 9.4), ("ethanol", 7.5), ("toluene", 7.9), ("vacuum", 0.0)])
def test_solvents_have_their_usual_values(name, value):
    assert contrast.solvent_sld(name) == pytest.approx(value, abs=0.06)


@pytest.mark.parametrize("name", [name for name in contrast.SOLVENTS if name != "vacuum"])
def test_solvents_are_as_dense_in_electrons_as_their_formula_says(name):
    density, formula = contrast._LIQUID_DENSITIES[name]
    real_sld, _ = periodictable.xray_sld(formula, density=density, energy=17.4)
    assert contrast.solvent_sld(name) == pytest.approx(float(real_sld), rel=0.01)


def test_what_is_not_in_the_tables_is_refused():
    with pytest.raises(ValueError, match=r"known density in --element, e.g. Au, got Gold;.*--sld"):
        contrast.element_sld("Gold")
    with pytest.raises(ValueError, match=r"Unknown solvent 'beer'.*vacuum, water"):
        contrast.solvent_sld("beer")
