"""Reader of structure files. It reads frames, unit cells, occupancies and isotopes, and it checks the structures.

A frame is one of several structures in a file.

A structure file may state a periodic unit cell. If the faces of the cell cut through a cluster, the pieces of the
cluster are joined along their bonds. Two atoms have a bond if their distance is at most `BOND_TOLERANCE` times the sum
of their covalent radii. Distances through the faces of the cell are included. A structure whose bonds continue from one
cell to the next without an end is a crystal, not a cluster.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ase
import ase.io
import ase.io.cif
import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

MAX_CLUSTER_ATOMS = 5000
"""Largest number of atoms in a cluster that the user provides."""
MAX_CLUSTER_DIAMETER = 1000.0
"""Largest distance between two atoms in a cluster that the user provides, in Å. It limits the size of histograms."""
MAX_STRUCTURE_FILE_BYTES = 64 * 2**20
"""Largest size of a structure file, in bytes."""
MAX_ERROR_CHARACTERS = 200
"""Largest number of characters that a message quotes from an error of ASE."""
MAX_FRAMES = 10_000
"""Largest number of structures (frames) in a file."""
FRAME_NOTATION = re.compile(r"(.+)@(-?\d+|-?\d*:-?\d*(?::-?\d*)?)")
"""Regular expression for a path and frames in the notation of ASE.

For example, name.xyz@2 is the third structure, and name.xyz@0:2 are the first two structures.
"""
BOND_TOLERANCE, SHORT_BOND_TOLERANCE, MIN_CONTACT_RATIO = 1.25, 1.1, 0.6
"""Largest length of a bond, largest length of a bond in a narrow cell (see `make_whole`), and smallest distance between
two atoms, in units of the sum of the covalent radii."""
MAX_BOND = 6.0
"""Largest bond length in a cluster of one element, in Å."""
MIN_CELL_HEIGHT, MAX_CELL_LENGTH = 1.0, 1e5
"""Smallest distance between opposite faces of a unit cell, and largest component of its vectors, in Å."""
MIN_ATOM_VOLUME = 1.0
"""Smallest volume of a unit cell per atom, in Å³. PDB files without a real cell often state a cube of 1 Å³."""
MAX_SAME_PLACE_DISTANCE = 1e-3
"""Largest distance between atoms of a CIF file that share a site, in fractional coordinates, as in ASE."""
MAX_COORDINATE = 1e7
"""Largest coordinate of an atom, in Å."""
MIN_SITE_DISTANCE = 0.5
"""Smallest distance between two atoms, in Å."""
MAX_CROWDED_ATOMS = 8
"""Largest number of atoms within `MIN_SITE_DISTANCE` of an atom. If there are more, no bonds are determined."""
OCCUPANCY_COLUMNS = ("occupancy", "occupancies", "occ", "occupation", "site_occupancy", "sof")
"""Names of the columns that state the occupancy of each site, in lower case."""
MAX_OCCUPANCY_ERROR = 1e-3
"""Largest difference between an occupancy and 1 that is considered a rounding error."""
HYDROGEN_ISOTOPES = {"D": 2.014, "T": 3.016}
"""Masses of the hydrogen isotopes D and T, in u. ASE describes an isotope as H with this mass."""
LIGHT_ELEMENTS = frozenset({"H", "C", "N", "O", "S", "P"})
"""Elements of ligands, i.e. of the molecules around a metal core."""
MAX_INNER_LIGHT_SHARE = 0.1
"""Largest share of ligand atoms that are closer to the centre of the metal atoms than half of the metal atoms are."""
REMARKS = "jaxstruc_remarks"
"""Key of the remarks on a structure in the `info` of its atoms. A remark states e.g. that pieces were joined."""
MAX_LISTED_NAMES = 3
"""Largest number of structures that a remark names."""
JOINED_REMARK = "the faces of the unit cell cut through the cluster, and its pieces were joined along their bonds"
COLUMN_REMARK = (
    "the numbers from 0 to 1 after the coordinates are not used; if they are occupancies, name the columns, "
    "e.g. Properties=species:S:1:pos:R:3:occupancy:R:1"
)


class WholeCluster(NamedTuple):
    """A structure whose pieces are joined through the faces of its unit cell."""

    atoms: ase.Atoms
    """Joined atoms without periodic boundary conditions. They are unchanged if `is_torn` is False."""
    is_torn: bool
    """Whether the faces of the unit cell cut through the structure."""
    is_crystal: bool
    """Whether the bonds continue from one unit cell to the next without an end."""
    n_pieces: int
    """Number of pieces that no bonds connect. It is 1 for atoms without a unit cell. It is 0 if the periodic images of
    the structure overlap."""


def read_atoms(path: Path) -> ase.Atoms:
    """Return the atoms of a file with one structure, in any format that ASE reads. The positions are in Å.

    Args:
        path: Structure file. If it has several structures (frames), a number selects one, e.g. name.xyz@2.

    Raises:
        ValueError: If the file does not exist, if ASE cannot read it, if it has several structures and none is
            selected, or if the structure has no atoms or positions that are not finite. The message names the file.
    """
    frames = read_frames(path)
    if len(frames) > 1:
        (first_name, *_, last_name) = frames
        raise ValueError(
            f"Expected one structure, got {len(frames)} in {path}; choose one from {first_name} to {last_name}."
        )
    return next(iter(frames.values()))


def split_frames(path: Path) -> tuple[Path, str]:
    """Return the path of a structure file, and the frames that follow the path after an "@".

    The second value is "" if there are no frames. Example: "name.xyz@0:2" gives "name.xyz" and "0:2".
    """
    match = FRAME_NOTATION.fullmatch(str(path))
    return (path, "") if match is None or path.is_file() else (Path(match[1]), match[2])


def read_frames(path: Path) -> dict[str, ase.Atoms]:
    """Return the atoms of all structures (frames) in a file by the names of the structures. The positions are in Å.

    If a file has only one structure, its name is the path. Several structures have the names path@0, path@1, ..., as
    in ASE. D and T are read as hydrogen with the mass of the isotope.

    Args:
        path: Structure file. Numbers after an "@" select some structures, e.g. name.xyz@2 or name.xyz@0:2.

    Raises:
        ValueError: If the file does not exist, if ASE cannot read it, if it has too many structures, if a selected
            structure is missing, or if a structure has no atoms or positions that are not finite. The message names the
            file.
    """
    path, selection = split_frames(path)
    frames = _read_all_frames(path)
    names = [str(path)] if len(frames) == 1 else [f"{path}@{number}" for number in range(len(frames))]
    named_frames = list(zip(names, frames, strict=True))
    if ":" in selection:
        named_frames = named_frames[slice(*(int(bound) if bound else None for bound in selection.split(":")))]
    elif selection:
        named_frames = named_frames[int(selection) : int(selection) + 1 or None]
    if not named_frames:
        raise ValueError(
            f"Expected frames of {path}, which has {len(frames)}, got {path}@{selection}; the first one is {path}@0."
        )
    for name, atoms in named_frames:
        check_atoms(atoms, name)
    return dict(named_frames)


def _read_all_frames(path: Path) -> list[ase.Atoms]:
    """Return all structures of a file.

    Raises:
        ValueError: If the file is missing or too large, if ASE cannot read it, or if it has too many structures.
    """
    if not path.is_file():
        raise ValueError(f"Expected a structure file, got {path}, which does not exist; check the path.")
    if path.stat().st_size > MAX_STRUCTURE_FILE_BYTES:
        raise ValueError(
            f"Expected a structure file of at most {MAX_STRUCTURE_FILE_BYTES >> 20} MB, got {path}; convert it, or "
            "leave it out."
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            frames = _read_with_isotopes(path)
            shared_rows = _rows_at_one_place(path) if path.suffix.lower() == ".cif" else None
        if not frames:
            raise ValueError("it has no structure")
    except Exception as error:  # the readers of ASE raise many types of errors on a damaged file
        reason = " ".join(str(error).split())[:MAX_ERROR_CHARACTERS] or type(error).__name__
        reason = f"it has the unknown symbol or key {reason}" if isinstance(error, KeyError) else reason
        raise ValueError(
            f"Expected a structure file that ASE reads, such as .xyz, .cif or .pdb, got {path}: {reason}; "
            "convert it, or leave it out."
        ) from error
    if shared_rows is not None:
        raise ValueError(
            f"Expected one atom at each place, got atoms {shared_rows[0]} and {shared_rows[1]} at one place in {path}; "
            "remove one of them, or correct their occupancies."
        )
    if len(frames) > MAX_FRAMES:
        raise ValueError(f"Expected at most {MAX_FRAMES} structures in a file, got more in {path}; split it.")
    return [atoms if isinstance(atoms, ase.Atoms) else ase.Atoms() for atoms in frames]


def check_atoms(atoms: ase.Atoms, source: str) -> None:
    """Check that a structure has atoms and that their positions are finite.

    Args:
        atoms: Structure that is checked.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If there are no atoms, or if a position is not finite or too large. The message names the source.
    """
    if not len(atoms):
        raise ValueError(f"Expected a structure with atoms, got {source} with none; correct it.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"Expected finite positions, got NaN or infinity in {source}; correct it.")
    if (largest := float(np.abs(atoms.positions).max())) > MAX_COORDINATE:
        raise ValueError(
            f"Expected coordinates of at most {MAX_COORDINATE:g} Å, got {largest:.3g} Å in {source}; correct it."
        )


def read_clusters(path: Path) -> dict[str, ase.Atoms]:
    """Return all structures in a file by their names (see `read_frames`). Each must be a cluster of one element.

    Pieces of a cluster are joined through the faces of the unit cell, as in `whole_cluster`. The positions are in Å.

    Raises:
        ValueError: If `read_frames` cannot read the file, or if a structure is not a cluster of one element. The
            message names the structure.
    """
    clusters = {name: whole_cluster(atoms, name) for name, atoms in read_frames(path).items()}
    for name, atoms in clusters.items():
        check_cluster(atoms, name)
    return clusters


def check_cluster(atoms: ase.Atoms, source: str) -> None:
    """Check that a structure is a cluster of one element.

    Args:
        atoms: Structure that is checked.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If there are too few or too many atoms, several elements, partly occupied sites, or distances that
            are too short or too long. The message names the source.
    """
    check_atoms(atoms, source)
    if not 2 <= len(atoms) <= MAX_CLUSTER_ATOMS:
        raise ValueError(
            f"Expected 2 to {MAX_CLUSTER_ATOMS} atoms in a cluster, got {len(atoms)} in {source}; leave it out."
        )
    occupancies = site_occupancies(atoms, source)
    if elements := _other_elements(occupancies):
        advice = (
            "keep only the atoms of the metal."
            if _has_ligand_shell(atoms)
            else "structures of several elements cannot be fitted, but `jaxstruc simulate` computes their curves."
        )
        raise ValueError(f"Expected one element, got {', '.join(elements)} in {source}; {advice}")
    smallest_occupancy = min(sum(occupancy.values()) for occupancy in occupancies)
    if smallest_occupancy < 1 - MAX_OCCUPANCY_ERROR:
        raise ValueError(
            f"Expected fully occupied sites, got an occupancy of {smallest_occupancy:.3g} in {source}; keep the atoms "
            "of one arrangement, and remove the occupancies."
        )
    distances = pdist(atoms.positions)
    if distances.min() < MIN_SITE_DISTANCE:
        raise ValueError(
            f"Expected distances of at least {MIN_SITE_DISTANCE} Å between atoms, got {distances.min():.2g} Å in "
            f"{source}; correct it."
        )
    if distances.max() > MAX_CLUSTER_DIAMETER:
        raise ValueError(
            f"Expected a cluster of up to {MAX_CLUSTER_DIAMETER:g} Å, got {distances.max():.3g} in {source}; "
            "correct it."
        )


def whole_cluster(atoms: ase.Atoms, source: str) -> ase.Atoms:
    """Return a cluster whose pieces are joined through the faces of its unit cell.

    If pieces were joined, the `info` of the returned atoms has a remark about this (key `REMARKS`). Atoms without
    periodic boundary conditions are returned unchanged.

    Args:
        atoms: Structure with positions in Å.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If the structure is a crystal, or if its unit cell is not valid. The message names the source.
    """
    whole = make_whole(atoms, source)
    if whole.is_crystal:
        raise ValueError(
            f"Expected a cluster, got a crystal in {source}: its bonds continue from one unit cell to the next; cut a "
            "particle out of it, or remove the cell if its atoms are the particle."
        )
    return whole.atoms


def make_whole(atoms: ase.Atoms, source: str) -> WholeCluster:
    """Return a structure whose pieces are joined through the faces of its unit cell.

    Args:
        atoms: Structure with positions in Å.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If the unit cell is not valid. The message names the source.
    """
    if not atoms.pbc.any():
        return WholeCluster(atoms, is_torn=False, is_crystal=False, n_pieces=1)
    free_atoms, atoms = atoms.copy(), atoms.copy()
    free_atoms.pbc = False
    atoms.pbc &= np.array([vector.any() for vector in atoms.cell.array])
    if not atoms.pbc.any():
        return WholeCluster(free_atoms, is_torn=False, is_crystal=False, n_pieces=1)
    _check_cell(atoms, source)
    if len(atoms) > 1 and _atom_volume(atoms) < MIN_ATOM_VOLUME:
        return WholeCluster(free_atoms, is_torn=False, is_crystal=False, n_pieces=1)
    bonds = _find_bonds(atoms, source)
    if bonds is None:
        return WholeCluster(free_atoms, is_torn=False, is_crystal=False, n_pieces=0)
    image, piece, is_crystal = _unwrap(bonds, len(atoms))
    if is_crystal:  # in a narrow cell, the periodic images of a cluster may be only a little farther apart than bonds
        image, piece, is_crystal = _unwrap(bonds.select(bonds.relative_length < SHORT_BOND_TOLERANCE), len(atoms))
        is_crystal |= bool(piece.any())
    n_pieces = int(piece.max()) + 1
    if is_crystal or not image.any():
        return WholeCluster(free_atoms, is_torn=False, is_crystal=is_crystal, n_pieces=n_pieces)
    free_atoms.positions += image @ atoms.cell.array
    _gather_pieces(free_atoms, piece, atoms.pbc)
    free_atoms.info[REMARKS] = [*atoms.info.get(REMARKS, ()), JOINED_REMARK]
    return WholeCluster(free_atoms, is_torn=True, is_crystal=False, n_pieces=n_pieces)


def structure_remarks(atoms: Mapping[str, ase.Atoms]) -> list[str]:
    """Return the remarks on structures. Each remark names the structures to which it applies.

    Args:
        atoms: Structures by their names or paths.
    """
    names_by_remark: dict[str, list[str]] = {}
    for name, structure in atoms.items():
        for remark in structure.info.get(REMARKS, ()):
            names_by_remark.setdefault(remark, []).append(Path(name).name)
    remarks = []
    for remark, names in names_by_remark.items():
        more_names = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
        remarks.append(f"{', '.join(names[:MAX_LISTED_NAMES])}{more_names}: {remark}")
    return remarks


def site_occupancies(atoms: ase.Atoms, source: str) -> list[dict[str, float]]:
    """Return the occupancies of each site, by the elements and hydrogen isotopes that share the site.

    A CIF file, a PDB file or a column of an extended xyz file may state occupancies. All occupancies are 1 if the
    structure states none. They are also 1 if the structure is a result of this program, because its column `occupancy`
    holds the probabilities of the atoms.

    Args:
        atoms: Structure whose sites are considered.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If an occupancy or the sum of a site is not a number from 0 to 1, or if all occupancies are 0. The
            message names the source.
    """
    symbols = isotope_symbols(atoms)
    try:
        occupancies = _stated_occupancies(atoms, symbols)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"Expected numbers as occupancies, got other values in {source}; correct them.") from None
    if occupancies is None:
        return [{symbol: 1.0} for symbol in symbols]
    totals = np.array([sum(site.values()) for site in occupancies])
    parts = np.array([value for site in occupancies for value in site.values()])
    if not (parts >= 0).all() or not (totals <= 1 + MAX_OCCUPANCY_ERROR).all() or not totals.any():
        wrong = next((value for value in (*parts, *totals) if not 0 <= value <= 1 + MAX_OCCUPANCY_ERROR), 0.0)
        raise ValueError(
            f"Expected occupancies from 0 to 1 with a sum of at most 1 at each site, got {wrong:.3g} in {source}; "
            "correct them."
        )
    return occupancies


def isotope_symbols(atoms: ase.Atoms) -> list[str]:
    """Return the symbol of each atom. Hydrogen with the mass of an isotope has the symbol D or T."""
    symbols = atoms.get_chemical_symbols()
    if "masses" in atoms.arrays:
        masses = atoms.get_masses()
        for isotope, mass in HYDROGEN_ISOTOPES.items():
            for index in np.flatnonzero((atoms.numbers == 1) & (abs(masses - mass) < 0.2)):
                symbols[index] = isotope
    return symbols


class _CellBonds(NamedTuple):
    """Bonds between atoms, also through the faces of the unit cell. Each bond is listed twice, once from each atom."""

    first: np.ndarray
    """First atom of each bond [bond]."""
    second: np.ndarray
    """Second atom of each bond [bond]."""
    image: np.ndarray
    """Numbers of lattice vectors by which the second atom of each bond is displaced [bond, 3], as integers."""
    relative_length: np.ndarray
    """Length of each bond divided by the sum of the radii of its atoms [bond]."""

    def select(self, is_selected: np.ndarray) -> "_CellBonds":
        """Return the selected bonds."""
        return _CellBonds(*(column[is_selected] for column in self))


def _check_cell(atoms: ase.Atoms, source: str) -> None:
    """Raise `ValueError` if a unit cell is not finite, is degenerate, or has an unusable size."""
    cell = atoms.cell.array
    vectors = cell[atoms.pbc]
    if (
        np.isfinite(cell).all()
        and np.abs(cell).max() <= MAX_CELL_LENGTH
        and np.linalg.matrix_rank(vectors) == len(vectors)
    ):
        complete_cell = atoms.cell.complete().array
        normals = np.linalg.inv(complete_cell).T[atoms.pbc]
        if (1 / np.linalg.norm(normals, axis=1)).min() >= MIN_CELL_HEIGHT:
            return
    raise ValueError(
        f"Expected a unit cell whose faces are {MIN_CELL_HEIGHT:g} to {MAX_CELL_LENGTH:g} Å apart, got "
        f"the vectors {cell.tolist()} in {source}; correct or remove it."
    )


def _atom_volume(atoms: ase.Atoms) -> float:
    """Return the volume of the unit cell per atom, in Å³.

    The volume is that of a rectangular box with the same distances between opposite faces as the cell. In a direction
    that is not periodic, the length of the box is the extent of the atoms plus 2 Å.
    """
    normals = np.linalg.inv(atoms.cell.complete().array)
    heights = 1 / np.linalg.norm(normals, axis=0)
    extents = np.ptp(atoms.positions @ (normals * heights), axis=0) + 2
    return float(np.prod(np.where(atoms.pbc, heights, extents)) / len(atoms))


def _find_bonds(atoms: ase.Atoms, source: str) -> _CellBonds | None:
    """Return the bonds of a structure, or None if the atoms or their periodic images overlap.

    If only the images overlap, the cell is too narrow and does not cut through the structure.

    Raises:
        ValueError: If the images overlap and the structure has several pieces.
    """
    if len(atoms) > MAX_CROWDED_ATOMS + 1:
        distances = KDTree(atoms.positions).query(atoms.positions, k=MAX_CROWDED_ATOMS + 2)[0]
        if distances[:, -1].min() < MIN_SITE_DISTANCE:
            return None
    radii = covalent_radii[atoms.numbers]
    if len(atoms) > 1 and len(set(atoms.numbers)) == 1:  # bonds of a metal may exceed twice its covalent radius
        nearest_distance = KDTree(atoms.positions).query(atoms.positions, k=2)[0][:, 1]
        radii = np.maximum(radii, min(np.median(nearest_distance), MAX_BOND) / 2)
    first, second, length, image = neighbor_list("ijdS", atoms, BOND_TOLERANCE * radii)
    relative_length = length / (radii[first] + radii[second])
    bonds = _CellBonds(first, second, image, relative_length)
    is_direct = ~image.any(axis=1)
    if (relative_length[~is_direct] >= MIN_CONTACT_RATIO).all():
        return bonds
    if _unwrap(bonds.select(is_direct), len(atoms))[1].any():
        raise ValueError(
            f"Expected distances of at least {MIN_SITE_DISTANCE} Å between atoms, got {length[~is_direct].min():.2g} Å "
            f"through the faces of the unit cell in {source}; correct the cell, or remove it if its atoms are the "
            "particle."
        )
    return None


def _unwrap(bonds: _CellBonds, n_atoms: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return how the bonds connect the atoms through the faces of the unit cell.

    A piece consists of atoms that bonds connect.

    Returns:
        Numbers of lattice vectors by which each atom is moved, so that its piece is whole [atom, 3], the index of the
        piece of each atom [atom], and whether the bonds of a piece continue from cell to cell without an end.
    """
    order = np.lexsort((bonds.image.any(axis=1), bonds.second, bonds.first))
    first, second, image, _ = bonds.select(order)
    is_new = np.ones(len(first), bool)
    is_new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    image_of_bond = dict(
        zip(zip(first[is_new].tolist(), second[is_new].tolist(), strict=True), image[is_new], strict=True)
    )
    graph = coo_array((np.ones(is_new.sum()), (first[is_new], second[is_new])), shape=(n_atoms, n_atoms)).tocsr()
    piece = connected_components(graph, directed=False)[1]
    atom_image = np.zeros((n_atoms, 3), int)
    for start in np.unique(piece, return_index=True)[1]:
        visited, predecessors = breadth_first_order(graph, start, directed=False)
        for atom in visited[1:]:
            atom_image[atom] = atom_image[predecessors[atom]] + image_of_bond[int(predecessors[atom]), int(atom)]
    has_no_end = bool((atom_image[first] + image != atom_image[second]).any())
    return atom_image, piece, has_no_end


def _gather_pieces(atoms: ase.Atoms, piece: np.ndarray, pbc: np.ndarray) -> None:
    """Move each piece by lattice vectors so that its centre is as close as possible to that of the largest piece."""
    main_centre = atoms.positions[piece == np.bincount(piece).argmax()].mean(axis=0)
    complete_cell = atoms.cell.complete().array
    for index in range(int(piece.max()) + 1):
        is_member = piece == index
        offset = atoms.positions[is_member].mean(axis=0) - main_centre
        steps = np.where(pbc, np.round(offset @ np.linalg.inv(complete_cell)), 0.0)
        atoms.positions[is_member] -= steps @ complete_cell


def _stated_occupancies(atoms: ase.Atoms, symbols: Sequence[str]) -> list[dict[str, float]] | None:
    """Return the stated occupancies of each site by element, or None if the structure states no occupancies."""
    by_kind = atoms.info.get("occupancy")
    if isinstance(by_kind, Mapping):
        site_kinds = atoms.arrays.get("spacegroup_kinds", np.arange(len(atoms)))
        occupancy_by_kind = {str(kind): occupancy for kind, occupancy in by_kind.items()}
        return [
            {
                symbol if element == "H" else element: _occupancy(value)
                for element, value in occupancy_by_kind[str(kind)].items()
            }
            for kind, symbol in zip(site_kinds.tolist(), symbols, strict=True)
        ]
    column = next((name for name in atoms.arrays if name.lower() in OCCUPANCY_COLUMNS), None)
    if column is None or {"sha256", "recipe"} <= set(atoms.info):
        return None
    return [{symbol: _occupancy(value)} for symbol, value in zip(symbols, atoms.arrays[column], strict=True)]


def _occupancy(value) -> float:
    """Return an occupancy as a number. CIF writes "." or "?" for the default 1."""
    return 1.0 if isinstance(value, str) and value in (".", "?") else float(value)


def _other_elements(occupancies: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the sorted elements of a structure that has several elements, otherwise an empty list."""
    elements = sorted({symbol for site in occupancies for symbol, occupancy in site.items() if occupancy > 0})
    return elements if len(elements) > 1 else []


def _has_ligand_shell(atoms: ase.Atoms) -> bool:
    """Return whether a structure is a core of one metal that light atoms surround."""
    is_light = np.isin(atoms.get_chemical_symbols(), list(LIGHT_ELEMENTS))
    if not is_light.any() or len(set(atoms.numbers[~is_light])) != 1:
        return False
    radius = np.linalg.norm(atoms.positions - atoms.positions[~is_light].mean(axis=0), axis=1)
    return bool((radius[is_light] < np.median(radius[~is_light])).mean() <= MAX_INNER_LIGHT_SHARE)


def _read_with_isotopes(path: Path) -> ase.Atoms | list[ase.Atoms]:
    """Return all structures of a file. The symbols D and T are read as hydrogen with the mass of the isotope."""
    symbol_spans = {".xyz": _xyz_symbol_spans, ".extxyz": _xyz_symbol_spans, ".pdb": _pdb_symbol_spans}
    suffix, index = path.suffix.lower(), slice(0, MAX_FRAMES + 1)
    if suffix not in symbol_spans:
        return ase.io.read(path, index=index, do_not_split_by_at_sign=True)
    lines = path.read_text("utf-8", "replace").split("\n")
    if suffix != ".pdb":
        _check_counts(lines)
    masses: list[float | None] = []
    for line, start, end in symbol_spans[suffix](lines):
        match = re.match(r" *([DT])\d* *$", lines[line][start:end])
        masses.append(HYDROGEN_ISOTOPES[match[1]] if match else None)
        if match:  # ASE reads these symbols in CIF files only
            lines[line] = lines[line][:start] + re.sub("[DT]", "H", lines[line][start:end]) + lines[line][end:]
    if not any(masses):
        frames = ase.io.read(path, index=index, do_not_split_by_at_sign=True)
        if suffix != ".pdb" and _has_unnamed_occupancies(lines):
            for atoms in frames:
                atoms.info[REMARKS] = [COLUMN_REMARK]
        return frames
    file_format = "proteindatabank" if suffix == ".pdb" else "extxyz"
    frames, n_read = list(ase.io.iread(io.StringIO("\n".join(lines)), index=index, format=file_format)), 0
    for atoms in frames:
        atoms.set_masses(masses[n_read : n_read + len(atoms)])
        n_read += len(atoms)
    return frames


def _rows_at_one_place(path: Path) -> tuple[int, int] | None:
    """Return the numbers of two atoms of a CIF file that ASE would merge into one atom, or None.

    The two atoms are at one place. They have the same element, or the sum of their occupancies is above 1. The numbers
    begin at 1.
    """
    for block in ase.io.cif.parse_cif(str(path)):
        if not block.has_structure() or block.get_cell().rank < 3:
            continue
        atoms = block.get_unsymmetrized_structure()
        places = atoms.cell.scaled_positions(atoms.positions) % 1.0 % 1.0
        occupancies = block.get("_atom_site_occupancy") or [1.0] * len(atoms)
        for first, second in sorted(KDTree(places, boxsize=1.0).query_pairs(MAX_SAME_PLACE_DISTANCE)):
            total = _occupancy(occupancies[first]) + _occupancy(occupancies[second])
            if atoms.numbers[first] == atoms.numbers[second] or total > 1 + MAX_OCCUPANCY_ERROR:
                return first + 1, second + 1
    return None


def _has_unnamed_occupancies(lines: Sequence[str]) -> bool:
    """Return whether an .xyz file has one unnamed column after the coordinates, with different numbers from 0 to 1.

    Only the first structure is checked.
    """
    if len(lines) < 3 or "properties=" in lines[1].lower() or not lines[0].strip().isdecimal():
        return False
    columns = [line.split()[4:] for line in lines[2 : 2 + int(lines[0])]]
    try:
        values = {float(column[0]) for column in columns}
    except (IndexError, ValueError):
        return False
    return len(values) > 1 and min(values) >= 0 and max(values) <= 1 and all(len(column) == 1 for column in columns)


def _xyz_symbol_spans(lines: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the line index of each atom in an .xyz file, and the start and the end of its symbol in this line."""
    line_index = 0
    while line_index + 2 < len(lines) and (count := lines[line_index].strip()).isdecimal():
        properties = re.search(r"Properties=\"?([^\s\"]+)", lines[line_index + 1], re.IGNORECASE)
        columns = properties[1].split(":") if properties else ["species", "S", "1"]
        counts = [int(width) if width.isdecimal() else 1 for width in columns[2::3]]
        column = sum(counts[: columns[::3].index("species")]) if "species" in columns[::3] else 0
        for atom_line in range(line_index + 2, min(line_index + 2 + int(count), len(lines))):
            fields = list(re.finditer(r"\S+", lines[atom_line]))
            if column < len(fields):
                yield atom_line, *fields[column].span()
        line_index += 2 + int(count)


def _pdb_symbol_spans(lines: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the line index of each atom in a PDB file, and the start and the end of its symbol in this line.

    If an atom has no symbol, the start and the end of its name are given.
    """
    for index, line in enumerate(lines):
        if line.startswith(("ATOM", "HETATM")):
            yield (index, 76, 78) if line[76:78].strip() else (index, 12, 16)


def _check_counts(lines: Sequence[str]) -> None:
    """Refuse an .xyz file that states too many atoms or columns, because ASE would take very long to read it."""
    if any(len(count) > 3 for line in lines for count in re.findall(r":[RILS]:([^\s:\"']+)", line)):
        raise ValueError("its Properties have a thousand columns or more")
    line_index = 0
    with contextlib.suppress(ValueError):  # ASE handles lines that are not numbers, e.g. after the lines of a cell
        while line_index < len(lines) and lines[line_index].strip():
            line_index += 2 + max(int(lines[line_index]), 0)
    if line_index > len(lines):
        raise ValueError(f"its numbers of atoms require {line_index} lines, but it has {len(lines)}")
