"""Structure files with unit cells, occupancies, isotopes, frames, and damage."""

import re
import time
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.cluster import Icosahedron, Octahedron
from scipy.spatial.distance import pdist

from jaxstruc.clusters import library, structure_files
from jaxstruc.scattering.simulate import scattering_sites

TRICLINIC_CELL = np.array([[30.0, 0, 0], [9, 28, 0], [-5, 7, 31]])


def sorted_distances(atoms):
    """Return all distances between atoms, sorted."""
    return np.sort(pdist(atoms.positions))


def wrap_into_cell(atoms, cell, shift):
    """Return atoms in a periodic cell, after a shift, with all of them moved into the cell."""
    wrapped_atoms = atoms.copy()
    wrapped_atoms.set_cell(cell)
    wrapped_atoms.pbc = True
    wrapped_atoms.positions += shift
    wrapped_atoms.wrap()
    return wrapped_atoms


def write(path, atoms):
    """Write atoms to a file and return its path."""
    ase.io.write(path, atoms)
    return path


def read_cluster(path):
    """Return the only cluster of a file."""
    (atoms,) = structure_files.read_clusters(path).values()
    return atoms


def test_a_cluster_about_the_origin_of_its_cell_is_joined(repository):
    joined_atoms = read_cluster(repository / "tests" / "cases" / "Pt201_about_origin.cif")
    whole_atoms = Octahedron("Pt", 7, 2, latticeconstant=3.92)
    np.testing.assert_allclose(sorted_distances(joined_atoms), sorted_distances(whole_atoms), atol=1e-3)
    (remark,) = structure_files.structure_remarks({"Pt201.cif": joined_atoms})
    assert remark.startswith("Pt201.cif: the faces of the unit cell cut") and "joined along their bonds" in remark


@pytest.mark.parametrize("name", ["a.xyz", "a.vasp", "a.pdb", "a.cif"])
def test_a_cluster_cut_by_the_faces_of_an_oblique_cell_is_joined(tmp_path, name):
    whole_atoms = Icosahedron("Au", 4)
    torn_atoms = wrap_into_cell(whole_atoms, TRICLINIC_CELL, [2.0, -3, 1])
    assert sorted_distances(torn_atoms)[-1] > 1.3 * sorted_distances(whole_atoms)[-1]
    joined_atoms = read_cluster(write(tmp_path / name, torn_atoms))
    np.testing.assert_allclose(sorted_distances(joined_atoms), sorted_distances(whole_atoms), atol=5e-3)


@pytest.mark.parametrize("shift", [[20, 20, 0.5], [0.5, 9, 27]])
def test_pieces_without_a_bond_come_next_to_the_largest_one(tmp_path, shift):
    """An atom 5 Å above the surface and a second element are joined with a cluster that is cut along one axis."""
    whole_atoms = Octahedron("Cu", 5, 1, latticeconstant=3.6)
    whole_atoms.symbols[::3] = "Au"
    top = whole_atoms.positions[whole_atoms.positions[:, 2].argmax()]
    whole_atoms += ase.Atom("Cu", top + np.array([0, 0, 5.0]))
    torn_atoms = wrap_into_cell(whole_atoms, [40, 40, 40], shift)
    whole = structure_files.make_whole(torn_atoms, "alloy")
    assert whole.is_torn and not whole.is_crystal and whole.n_pieces == 2
    np.testing.assert_allclose(sorted_distances(whole.atoms), sorted_distances(whole_atoms), atol=1e-6)


def test_a_library_names_the_files_whose_pieces_were_joined(tmp_path):
    whole_atoms = Octahedron("Pt", 4, latticeconstant=3.92)
    for number in range(5):
        cluster_atoms = Octahedron("Pt", 3 + number, latticeconstant=3.92)
        write(tmp_path / f"{number}.xyz", wrap_into_cell(cluster_atoms, [60, 60, 60], [0, 0, 0]))
    write(tmp_path / "whole.xyz", whole_atoms)
    user_library, (remark,) = library.from_files([tmp_path])
    assert len(user_library.atoms) == 5 and remark.startswith("0.xyz, 1.xyz, 2.xyz and 2 more: the faces")
    assert library.from_files([tmp_path / "whole.xyz"])[1] == []


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Pt"), bulk("Fe", cubic=True), bulk("Pt", cubic=True) * (4, 4, 4), bulk("NaCl", "rocksalt", a=5.64),
        fcc111("Al", (3, 3, 4), vacuum=8, periodic=True), ase.Atoms("Au", cell=[2.6, 20, 20], pbc=True),
        ase.Atoms("Au2", [[0, 0, 0], [2.8, 0, 0]], cell=[5.6, 0, 0], pbc=[True, False, False]),
    ],
)  # fmt: skip
def test_a_crystal_is_not_a_cluster(tmp_path, atoms):
    path = write(tmp_path / "crystal.xyz", atoms)
    with pytest.raises(ValueError, match=r"got a crystal in .*crystal.xyz: its bonds continue .*; cut a particle"):
        read_cluster(path)


@pytest.mark.parametrize("vacuum", [0.0, 0.7, 1.7, 4.0])
def test_a_cluster_in_a_narrow_box_stays_as_it_is(tmp_path, vacuum):
    """The images of the cluster are too close to be periodic, or farther apart than bonded atoms."""
    atoms = Icosahedron("Au", 3)
    atoms.center(vacuum=vacuum)
    atoms.pbc = True
    read_atoms = read_cluster(write(tmp_path / "box.xyz", atoms))
    np.testing.assert_allclose(read_atoms.positions, atoms.positions, atol=1e-6)
    assert not structure_files.structure_remarks({"box.xyz": read_atoms})


def test_atoms_listed_at_two_opposite_faces_of_a_cell_that_cuts_a_cluster_are_refused(tmp_path):
    atoms = wrap_into_cell(Octahedron("Pt", 5, 1, latticeconstant=3.92), [40, 40, 40], [20, 20, 0])
    atoms += ase.Atom("Pt", atoms.positions[atoms.positions[:, 2].argmin()] + np.array([0, 0, 40.0]))
    with pytest.raises(ValueError, match=r"got .* Å through the faces of the unit cell in .*faces.xyz; correct"):
        read_cluster(write(tmp_path / "faces.xyz", atoms))


@pytest.mark.parametrize(
    "lattice", ["nan 0 0 0 9 0 0 0 9", "0.01 0 0 0 9 0 0 0 9", "9 0 0 9 0 0 0 0 9", "1e9 0 0 0 9 0 0 0 9"]
)
def test_a_cell_without_a_volume_is_refused(tmp_path, lattice):
    path = tmp_path / "flat.xyz"
    path.write_text(f'2\nLattice="{lattice}" pbc="T T T" Properties=species:S:1:pos:R:3\nPt 0 0 0\nPt 2.8 0 0\n')
    with pytest.raises(ValueError, match=r"Expected a (unit cell|structure file) .*flat.xyz"):
        read_cluster(path)


VACANCY_CIF = """data_vacancy
_cell_length_a 30
_cell_length_b 30
_cell_length_c 30
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Pt1 Pt 0.5 0.5 0.5 .
Pt2 Pt 0.59 0.5 0.5 0.75
"""
PARTIAL_FILES = {
    "vacancy.cif": VACANCY_CIF,
    "column.xyz": "2\nProperties=species:S:1:pos:R:3:occupancy:R:1\nPt 0 0 0 1\nPt 2.8 0 0 0.75\n",
    "protein.pdb": "".join(
        f"HETATM{number:5} PT    PT  {number:4}    {x:8.3f}   0.000   0.000{occupancy:6.2f}  0.00          PT\n"
        for number, x, occupancy in ((1, 0.0, 1.0), (2, 2.8, 0.75))
    ),
}


@pytest.mark.parametrize("name", PARTIAL_FILES)
def test_partial_occupancies_are_read_for_simulations_and_refused_for_fits(tmp_path, name):
    path = tmp_path / name
    path.write_text(PARTIAL_FILES[name])
    atoms = structure_files.read_atoms(path)
    assert structure_files.site_occupancies(atoms, name) == [{"Pt": 1.0}, {"Pt": 0.75}]
    with pytest.raises(ValueError, match=rf"Expected fully occupied sites, got an occupancy of 0.75 in .*{name}"):
        read_cluster(path)


def test_elements_that_share_a_site_are_read(repository, tmp_path):
    atoms = structure_files.read_atoms(repository / "tests" / "cases" / "AuCu_half.cif")
    assert structure_files.site_occupancies(atoms, "AuCu") == [{"Au": 0.5, "Cu": 0.5}] * 4
    path = tmp_path / "shared.xyz"
    path.write_text("3\nProperties=species:S:1:pos:R:3:occ:R:1\nAu 0 0 0 0.25\nCu 0 0 0.001 0.5\nAu 2.8 0 0 1\n")
    cluster_sites = scattering_sites(structure_files.read_atoms(path), "shared")
    assert cluster_sites.occupancies == [{"Au": 0.25, "Cu": 0.5}, {"Au": 1.0}] and len(cluster_sites.positions) == 2
    mixed_path = tmp_path / "mixed.xyz"
    mixed_path.write_text("2\nProperties=species:S:1:pos:R:3:occ:R:1\nAu 0 0 0 0.5\nCu 2.8 0 0 0.5\n")
    with pytest.raises(ValueError, match=r"Expected one element, got Au, Cu in .*mixed.xyz; structures of several"):
        read_cluster(mixed_path)


@pytest.mark.parametrize("values", [("1.5", "1"), ("-0.2", "1"), ("0", "0"), ("nan", "1")])
def test_occupancies_that_cannot_be_are_refused(tmp_path, values):
    path = tmp_path / "wrong.xyz"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3:occupancy:R:1\nPt 0 0 0 {values[0]}\nPt 2.8 0 0 {values[1]}\n")
    with pytest.raises(ValueError, match=r"Expected occupancies from 0 to 1 .* in .*wrong.xyz"):
        read_cluster(path)


def test_probabilities_in_a_result_of_the_program_are_not_occupancies(tmp_path):
    atoms = Octahedron("Pt", 3)
    atoms.set_array("occupancy", np.linspace(0.3, 1, len(atoms)))
    atoms.info |= {"sha256": "0" * 64, "recipe": "octahedron length 3", "rw": 0.1}
    read_atoms = read_cluster(write(tmp_path / "best.xyz", atoms))
    assert len(read_atoms) == 19 and len(scattering_sites(read_atoms, "best").occupancies) == 19


@pytest.mark.parametrize(
    ("positions", "occupancies", "message"),
    [
        ([[0, 0, 0], [0, 0, 0], [2.8, 0, 0]], [1, 1, 1], "got 0 Å between atoms 1 and 2 .Pt and Pt, counted from 1."),
        ([[0, 0, 0], [2.8, 0, 0], [2.8, 0.3, 0]], [1, 1, 1], "got 0.3 Å between atoms 2 and 3"),
        ([[0, 0, 0], [2.8, 0, 0], [2.8, 0.9, 0]], [1, 0.5, 0.5], "no alternative sites of one atom, got 0.9 Å"),
        ([[0, 0, 0]] * 12, [0.05] * 12, "got more than 8 atoms at one place"),
    ],
)
def test_atoms_at_one_place_are_refused(positions, occupancies, message):
    atoms = ase.Atoms(f"Pt{len(positions)}", positions=positions)
    atoms.set_array("occupancy", np.array(occupancies, float))
    with pytest.raises(ValueError, match=message):
        scattering_sites(atoms, "twice")


DEUTERIUM_FILES = {
    "plain.xyz": "3\n\nO 0 0 0\nD 0.96 0 0\nD -0.24 0.93 0\n",
    "columns.xyz": "3\nProperties=pos:R:3:species:S:1\n0 0 0 O\n0.96 0 0 D\n-0.24 0.93 0 D\n",
    "water.pdb": "HETATM    1  O   DOD     1       0.000   0.000   0.000  1.00  0.00           O\n"
    "HETATM    2  D1  DOD     1       0.960   0.000   0.000  1.00  0.00           D\n"
    "HETATM    3  D2  DOD     1      -0.240   0.930   0.000  1.00  0.00\n",
    "water.cif": re.sub(
        "Pt1 .*\nPt2 .*\n", "O1 O 0.5 0.5 0.5 1\nD1 D 0.532 0.5 0.5 1\nD2 D 0.492 0.531 0.5 1\n", VACANCY_CIF
    ),
}


@pytest.mark.parametrize("name", DEUTERIUM_FILES)
def test_deuterium_is_hydrogen_with_its_mass(tmp_path, name):
    path = tmp_path / name
    path.write_text(DEUTERIUM_FILES[name])
    atoms = structure_files.read_atoms(path)
    assert atoms.get_chemical_symbols() == ["O", "H", "H"] and structure_files.isotope_symbols(atoms) == ["O", "D", "D"]
    np.testing.assert_allclose(atoms.get_masses()[1:], 2.014, atol=2e-3)


def test_isotopes_belong_to_their_frame(tmp_path):
    path = tmp_path / "exchange.xyz"
    path.write_text("2\n\nH 0 0 0\nD 0.8 0 0\n2\n\nT 0 0 0\nH 0.8 0 0\n")
    symbols = [structure_files.isotope_symbols(structure_files.read_atoms(Path(f"{path}@{frame}"))) for frame in (0, 1)]
    assert symbols == [["H", "D"], ["T", "H"]]


@pytest.mark.parametrize(
    "rows",
    [
        "Pt1 Pt 0.5 0.5 0.5 1\nPt2 Pt 0.5 0.5 0.5 1\n", "Pt1 Pt 0.5 0.5 0.0 0.5\nPt2 Pt 0.5 0.5 1.0 0.5\n",
        "Pt1 Pt 0.5 0.5 0.5 1\nAu1 Au 0.5 0.5 0.5 1\n", "D1 D 0.53 0.5 0.5 0.4\nH1 H 0.53 0.5 0.5 0.6\n",
    ],
)  # fmt: skip
def test_rows_of_a_cif_file_that_would_become_one_atom_are_refused(tmp_path, rows):
    """ASE reads one atom, or one occupancy, for two rows of one element at one place."""
    path = tmp_path / "twice.cif"
    path.write_text(re.sub("Pt1 .*\nPt2 .*\n", rows, VACANCY_CIF))
    with pytest.raises(ValueError, match=r"got atoms 1 and 2 at one place in .*twice.cif; remove one"):
        structure_files.read_atoms(path)


def test_a_column_without_a_name_is_mentioned_if_it_may_hold_occupancies(tmp_path):
    path = tmp_path / "column.xyz"
    for column, has_remark in ((("1.0", "0.5"), True), (("1", "1"), False), (("-0.4", "0.4"), False)):
        path.write_text(f"2\n\nPt 0 0 0 {column[0]}\nPt 2.8 0 0 {column[1]}\n")
        remarks = library.from_files([path])[1]
        assert bool(remarks) == has_remark
    path.write_text("2\n\nPt 0 0 0 1\nPt 2.8 0 0 0.5\n")
    assert "column.xyz: the numbers from 0 to 1 after the coordinates are not used" in library.from_files([path])[1][0]


@pytest.mark.parametrize("cell_length", [1.0, 0.0])
def test_the_placeholder_of_a_pdb_file_without_a_cell_is_not_a_cell(tmp_path, cell_length):
    atoms = Octahedron("Pt", 5)
    content = write(tmp_path / "plain.pdb", atoms).read_text()
    path = tmp_path / "placeholder.pdb"
    path.write_text(
        f"CRYST1{cell_length:9.3f}{cell_length:9.3f}{cell_length:9.3f}  90.00  90.00  90.00 P 1           1\n{content}"
    )
    np.testing.assert_allclose(sorted_distances(read_cluster(path)), sorted_distances(atoms), atol=5e-3)


def test_the_advice_on_several_elements_depends_on_their_arrangement(tmp_path):
    core = Icosahedron("Au", 3)
    core += ase.Atoms("S10", positions=1.4 * core.positions[-10:])
    oxide = bulk("ZnO", "zincblende", a=4.6, cubic=True) * (2, 2, 2)
    selenide = bulk("CdSe", "zincblende", a=6.05, cubic=True) * (2, 2, 2)
    for atoms, message in (
        (core, "got Au, S in .*; keep only the atoms of the metal"),
        (oxide, "got O, Zn in .*; structures of several elements cannot be fitted, but `jaxstruc simulate`"),
        (selenide, "got Cd, Se in .*; structures of several elements"),
    ):
        atoms.pbc = False
        with pytest.raises(ValueError, match=message):
            read_cluster(write(tmp_path / "mixed.xyz", atoms))


def mutated_texts(rng, texts, count):
    """Yield damaged copies of texts: changed, removed and repeated characters, words and lines."""
    letters = list("0123456789.-+eE :=\"'\nPtDHX_?()")
    for number in range(count):
        name = list(texts)[number % len(texts)]
        text = texts[name]
        for _ in range(rng.integers(1, 4)):
            start, length = int(rng.integers(len(text))), int(rng.choice([1, 1, 3, 20]))
            new_text = "".join(rng.choice(letters, rng.integers(0, 4)))
            new_text = text[start : start + length] * 3 if rng.random() < 0.2 else new_text
            text = text[:start] + new_text + text[start + length :]
        numbers = [match.span() for match in re.finditer(r"-?\d+\.\d+", text)]
        if numbers and rng.random() < 0.5:
            start, end = numbers[rng.integers(len(numbers))]
            text = text[:start] + str(rng.choice(["1e300", "-1e9", "nan", "0", "1e-9", "1e5", "inf", "D"])) + text[end:]
        yield name, text


def test_damaged_structure_files_are_read_or_refused_in_one_line(tmp_path, repository):
    cell_atoms = wrap_into_cell(Icosahedron("Au", 2), TRICLINIC_CELL / 2, [1.0, 0, 0])
    cell_atoms.set_array("occupancy", np.ones(len(cell_atoms)))
    texts = {name: (write(tmp_path / name, cell_atoms)).read_text() for name in ("a.xyz", "b.pdb", "c.cif")}
    texts |= DEUTERIUM_FILES | {"half.cif": (repository / "tests" / "cases" / "AuCu_half.cif").read_text()}
    n_read = 0
    for number, (name, text) in enumerate(mutated_texts(np.random.default_rng(5), texts, 160)):
        path = tmp_path / f"{number}-{name}"
        path.write_text(text)
        start_time = time.process_time()
        try:
            with warnings.catch_warnings(action="error"):
                atoms = structure_files.make_whole(structure_files.read_atoms(path), str(path)).atoms
                cluster_sites = scattering_sites(atoms, str(path))
                n_read += 1
                assert (
                    np.isfinite(cluster_sites.positions).all()
                    and len(cluster_sites.positions) == len(cluster_sites.occupancies) > 0
                )
                read_cluster(path)
        except ValueError as error:
            assert path.name in str(error) and "\n" not in str(error), name
        assert time.process_time() - start_time < 10, name
    assert 20 < n_read < 155
