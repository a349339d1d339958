import dataclasses
import subprocess
import sys

import pytest

from jaxstruc.options.pdf import DataOptions
from jaxstruc.scattering import parameters
from jaxstruc.scattering.parameters import PARAMETERS


@pytest.mark.parametrize(("name", "power"), [("uiso", 0), ("delta1", 1), ("delta2", 2), ("qbroad", -1), ("qdamp", 0)])
def test_bounds_scale_with_the_bond_as_their_unit_says(name, power):
    """Correlated motion is a matter of neighbours: delta1 scales with the bond, delta2 with its square."""
    unit, longer = PARAMETERS[name].bounds(1.0), PARAMETERS[name].bounds(3.0)
    assert unit[0] < unit[1] < float("inf")
    assert longer == pytest.approx([3.0**power * end for end in unit])
    assert PARAMETERS[name].low <= PARAMETERS[name].start <= PARAMETERS[name].high or name in ("qdamp", "qbroad")


def test_at_the_largest_delta_the_nearest_pair_keeps_a_width():
    """The bracket 1 - delta1/r - delta2/r² stays positive at one bond, whatever the bond."""
    for bond in (2.5, 3.2):
        assert 1 - PARAMETERS["delta1"].bounds(bond)[1] / bond > 0.1
        assert 1 - PARAMETERS["delta2"].bounds(bond)[1] / bond**2 > 0.1


def test_what_is_fitted_and_what_data_have_are_in_the_table():
    assert set(parameters.USUAL) <= set(parameters.FITTED) <= set(PARAMETERS)
    assert {field.name for field in dataclasses.fields(DataOptions)} <= set(PARAMETERS)
    assert parameters.UNITS["delta2"] == "Å²" and parameters.UNITS["scale"] == ""


def test_help_gives_the_unit_first():
    assert parameters.said("qmax") == "[1/Å] End of the Q range."
    assert parameters.said("scale", "More.") == "Factor on G(r). More."


def test_the_table_loads_neither_jax_nor_numpy():
    code = (
        "import sys; import jaxstruc.scattering.parameters; print({'jax', 'numpy', 'scipy', 'ase'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
