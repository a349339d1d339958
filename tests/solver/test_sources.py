import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxstruc.data import gr
from jaxstruc.data.measurement import resolved
from jaxstruc.options.pdf import DataOptions, LibraryOptions, NetworkOptions
from jaxstruc.solver import sources
from jaxstruc.structures import families

BOND = 2.88


@pytest.fixture(scope="module")
def example(repository):
    return resolved(gr.read(repository / "examples" / "Ag68_simulated.gr"), DataOptions(), bond=BOND)


def test_a_network_gives_its_draws_and_says_what_lies_outside_its_training(example):
    source = sources.of_network(NetworkOptions(samples=4), bond=BOND)
    odd = example._replace(settings=tuple(s._replace(value=40.0) if s.name == "qmax" else s for s in example.settings))
    one, two, three = source.candidates([example, odd, example])
    assert one.source == "network" and 0 < len(one.rows) <= 4 and one.outside(13.0) == ()
    assert two.outside(13.0) == ("qmax 40 (trained on 10 to 30)",)
    assert "a particle of 25 Å, larger than the model's largest (16.3 Å)" in one.outside(25.0)
    np.testing.assert_array_equal(one.library.positions, three.library.positions)
    assert source.facts == {"seed": 0, "model": "real-H8-seed0"} and source.recorded["samples"] == 4


def test_a_library_gives_all_its_clusters_and_where_it_ends(example):
    source = sources.of_library(LibraryOptions(("octahedron", "icosahedron"), 150), bond=BOND)
    (found,) = source.candidates([example])
    assert found.source == "library" and found.largest == 150
    assert len(found.rows) == len(found.library.atoms)
    assert source.diameter == pytest.approx(found.library.diameter.max())


def test_a_library_is_of_the_families_asked_for_and_of_all_where_none_are(example):
    for asked, given in ((("octahedron", "icosahedron"),) * 2, ((), tuple(families.FAMILIES))):
        (found,) = sources.of_library(LibraryOptions(asked, 30), bond=BOND).candidates([example])
        assert set(found.library.families) == set(given)


def test_own_clusters_keep_their_bonds_and_their_names():
    atoms = [Atoms("Ag2", positions=[[0, 0, 0], [0, 0, d]]) for d in (2.8, 2.9)]
    element, source = sources.of_files(atoms)
    (found,) = source.candidates([None])
    lengths = [np.linalg.norm(np.diff(found.cluster(place).positions, axis=0)) for place in (0, 1)]
    np.testing.assert_allclose(np.array(lengths) * BOND, [2.8, 2.9], rtol=2e-3)
    assert element == "Ag" and found.library.labels.tolist() == ["Ag2, number 1", "Ag2, number 2"]


def test_no_cluster_within_the_limits_is_refused(tmp_path):
    from ase.io import write

    write(tmp_path / "x.xyz", Atoms("Ag3", positions=jnp.eye(3) * 2.88 * np.sqrt(0.5)))
    with pytest.raises(ValueError, match="Expected a cluster of at most 2 atoms, got none"):
        sources.of_library(LibraryOptions((), 2, (tmp_path / "x.xyz",)), bond=BOND)
