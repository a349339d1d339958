import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxstruc import files
from jaxstruc.clusters import families
from jaxstruc.io import gr
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions, LibraryOptions, NetworkOptions
from jaxstruc.pdf import sources
from jaxstruc.scattering import form_factors

BOND = 2.88


@pytest.fixture(scope="module")
def example(repository):
    return resolve_settings(gr.read(repository / "examples" / "Ag68_simulated.gr"), DataOptions(), bond=BOND)


def test_a_network_gives_its_draws_and_reports_what_lies_outside_its_training(example):
    source = sources.network_source(NetworkOptions(draws=4), "Au")
    unusual_measurement = example._replace(
        settings=tuple(
            setting._replace(value=40.0) if setting.name == "qmax" else setting for setting in example.settings
        )
    )
    first_group, unusual_group, repeated_group = source.candidates([example, unusual_measurement, example])
    assert (
        first_group.source == "network" and 0 < len(first_group.rows) <= 4 and first_group.training_warnings(13.0) == ()
    )
    assert unusual_group.training_warnings(13.0) == ("qmax 40 (trained on 10 to 30)",)
    assert "a particle of 25 Å, larger than any in the training (16.3 Å)" in first_group.training_warnings(25.0)
    np.testing.assert_array_equal(first_group.library.positions, repeated_group.library.positions)
    assert source.facts == {"seed": 0, "model": "real-H8-seed0"} and source.provenance["samples"] == 4


def test_a_library_gives_all_its_clusters_and_where_it_ends(example):
    source = sources.library_source(LibraryOptions(("octahedron", "icosahedron"), 150), "Au")
    (group,) = source.candidates([example])
    assert group.source == "library" and group.max_atoms == 150
    assert len(group.rows) == len(group.library.atoms)
    assert source.diameter == pytest.approx(group.library.diameter.max())


def test_structures_of_the_user_that_are_too_large_are_mentioned(repository):
    """The file holds platinum clusters of 201, 79 and 38 atoms."""
    path = repository / "tests" / "cases" / "library_in_one.xyz"
    (group,) = sources.library_source(LibraryOptions((), 100, (path,)), "Au").candidates([None])
    assert len(group.rows) == 2
    assert [remark for remark in group.remarks if "1 of 3 structures of --library have more than 100 atoms" in remark]
    (whole_group,) = sources.library_source(LibraryOptions((), 201, (path,)), "Au").candidates([None])
    assert len(whole_group.rows) == 3 and not whole_group.remarks


def test_a_library_has_the_requested_families_or_all(example):
    for requested_families, expected_families in ((("octahedron", "icosahedron"),) * 2, ((), tuple(families.FAMILIES))):
        (group,) = sources.library_source(LibraryOptions(requested_families, 30), "Au").candidates([example])
        assert set(group.library.families) == set(expected_families)


def test_clusters_of_the_user_keep_their_bonds_and_their_names():
    clusters = [Atoms("Ag2", positions=[[0, 0, 0], [0, 0, distance]]) for distance in (2.8, 2.9)]
    element, source = sources.file_source(clusters)
    (group,) = source.candidates([None])
    bond_lengths = [np.linalg.norm(np.diff(group.cluster(index).positions, axis=0)) for index in (0, 1)]
    np.testing.assert_allclose(np.array(bond_lengths) * BOND, [2.8, 2.9], rtol=2e-3)
    assert element == "Ag" and group.library.labels.tolist() == ["Ag2, number 1", "Ag2, number 2"]


def test_no_cluster_within_the_limits_is_refused(tmp_path):
    from ase.io import write

    write(tmp_path / "x.xyz", Atoms("Ag3", positions=jnp.eye(3) * 2.88 * np.sqrt(0.5)))
    with pytest.raises(ValueError, match="Expected a cluster of at most 2 atoms, got none"):
        sources.library_source(LibraryOptions((), 2, (tmp_path / "x.xyz",)), "Au")


def test_a_source_states_its_files_families_and_limits(tmp_path):
    from ase.io import write

    paths = [tmp_path / "folder" / f"{name}.xyz" for name in ("b", "a")]
    paths[0].parent.mkdir()
    for path, distance in zip(paths, (2.8, 3.0), strict=True):
        write(path, Atoms("Ag2", positions=[[0, 0, 0], [0, 0, distance]]))
    library_source = sources.library_source(LibraryOptions((), 1000, (tmp_path / "folder",)), "Au")
    (group,) = library_source.candidates([None])
    assert (group.source, group.max_atoms, library_source.n_user_structures) == ("file", 0, 0)
    assert library_source.provenance["library"] == {str(path): files.sha256(path) for path in sorted(paths)}
    family_source = sources.library_source(LibraryOptions(("octahedron", "icosahedron"), 30), "Au")
    assert family_source.provenance == {"families": ["icosahedron", "octahedron"], "max_atoms": 30, "library": {}}
    _, file_source = sources.file_source([*paths, Atoms("Ag2", positions=[[0, 0, 0], [0, 0, 2.9]])])
    assert file_source.provenance == {"clusters": {str(path): files.sha256(path) for path in paths}}
    assert file_source.n_user_structures == 3
    assert file_source.diameter == pytest.approx(1 + 3.0 / form_factors.bond_length("Ag"), rel=1e-3)
    groups = list(file_source.candidates([None, None]))
    assert len(groups) == 2 and all(entry.rows.tolist() == [0, 1, 2] for entry in groups)
    assert groups[0].library.labels[2] == "Ag2, number 3"
