import dataclasses
import subprocess
import sys

import pytest

from jaxstruc import parameters
from jaxstruc.options.pdf import DataOptions
from jaxstruc.parameters import PARAMETERS


@pytest.mark.parametrize(("name", "power"), [("uiso", 0), ("delta1", 1), ("delta2", 2), ("qbroad", -1), ("qdamp", 0)])
def test_bounds_scale_with_the_bond_as_their_unit_says(name, power):
    """Correlated motion is a matter of neighbours: delta1 scales with the bond, delta2 with its square."""
    unit_bounds, scaled_bounds = PARAMETERS[name].bounds(1.0), PARAMETERS[name].bounds(3.0)
    assert unit_bounds[0] < unit_bounds[1] < float("inf")
    assert scaled_bounds == pytest.approx([3.0**power * bound for bound in unit_bounds])
    assert PARAMETERS[name].minimum <= PARAMETERS[name].start <= PARAMETERS[name].maximum or name in ("qdamp", "qbroad")


def test_at_the_largest_delta_the_nearest_pair_keeps_a_width():
    """The bracket 1 - delta1/r - delta2/r² stays positive at one bond, whatever the bond."""
    for bond in (2.5, 3.2):
        assert 1 - PARAMETERS["delta1"].bounds(bond)[1] / bond > 0.1
        assert 1 - PARAMETERS["delta2"].bounds(bond)[1] / bond**2 > 0.1


def test_fit_and_data_parameters_are_in_the_table():
    assert set(parameters.DEFAULT_FREE_PARAMETERS) <= set(parameters.FIT_PARAMETERS) <= set(PARAMETERS)
    assert {field.name for field in dataclasses.fields(DataOptions)} <= set(PARAMETERS)
    assert parameters.UNITS["delta2"] == "Å²" and parameters.UNITS["scale"] == ""


def test_help_states_the_unit():
    assert parameters.option_help("qmax") == "End of the Q range, in 1/Å."
    assert parameters.option_help("scale", "More.") == "Factor on G(r). More."


def test_the_table_loads_neither_jax_nor_numpy():
    code = "import sys; import jaxstruc.parameters; print({'jax', 'numpy', 'scipy', 'ase'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"


def test_only_the_resolution_is_fitted_as_a_square_and_only_set_parameters_have_defaults():
    assert {name for name, entry in PARAMETERS.items() if entry.fitted_as_square} == {"qdamp", "qbroad"}
    defaults = {name: entry.default for name, entry in PARAMETERS.items() if entry.default is not None}
    assert defaults == {
        "background_scale": 1.0, "rmin": 1.5, "rmax": 20.0, "uiso": 0.005, "delta1": 0.0, "delta2": 0.0,
        "qdamp": 0.03, "qbroad": 0.0,
    }  # fmt: skip
    powers = {name: entry.bond_power for name, entry in PARAMETERS.items() if entry.bond_power}
    assert powers == {"delta1": 1, "delta2": 2, "qbroad": -1}
