"""Write jaxstruc/structures/occupied.json: how often sites are taken in the library's cuts, by their surroundings.

    python tools/make_occupied.py

Cuts of fcc, which stand for all close packings, bcc and sc with 30 to 1000 atoms, as many of each size: of all their
atoms and the empty sites beside them, the numbers with so many neighbours and next neighbours taken. Then the sum of
the negative logarithms of the shares over a cut's sites, as a power of its number of atoms.
"""

import json

import numpy as np

from jaxstruc.structures import families, hosts, lattices, library
from jaxstruc.structures.library import Library

PACKINGS = {"close-packed": ("fcc", "octahedron"), "bcc": ("bcc",), "sc": ("sc",)}
CUTS, LEAST, MOST = 1500, 30, 1000
SIZE = (2, 15, 15)


def shells(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors to neighbours and to next neighbours, in bonds."""
    points = lattices.fcc_lattice(4) * np.sqrt(0.5) if name == "close-packed" else hosts.points(name, 3)
    apart = np.linalg.norm(points, axis=1)
    return points[(apart > 0.1) & (apart < hosts.BONDS)], points[(apart > hosts.BONDS) & (apart < hosts.NEXT)]


def code(positions: np.ndarray) -> np.ndarray:
    """Return a number for each place, to a tenth of a bond."""
    steps = np.floor(positions * 10 + 0.5 + 1e-3).astype(np.int64) + 500
    return (steps[:, 0] * 1000 + steps[:, 1]) * 1000 + steps[:, 2]


def surroundings(positions: np.ndarray, name: str) -> np.ndarray:
    """Return [3, site]: whether sites of a cut and beside it are taken, and how many about them are."""
    near, far = shells(name)
    taken = positions - positions[0]
    sites = (taken[:, None] + np.concatenate([np.zeros((1, 3)), near])).reshape(-1, 3)
    sites = sites[np.unique(code(sites), return_index=True)[1]]
    known = code(taken)

    def inside(x):
        return np.isin(code(x), known)

    return np.array([inside(sites), *(sum(inside(sites + way).astype(int) for way in shell) for shell in (near, far))])


def drawn(own: Library, names: tuple[str, ...]) -> np.ndarray:
    """Return cuts of some families, as many of each size."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(own.families, names) & (own.atoms >= LEAST) & (own.atoms <= MOST))
    sizes = np.rint(np.log(own.atoms[rows]) / 0.2).astype(int)
    share = 1 / np.bincount(sizes)[sizes]
    return np.sort(rng.choice(rows, min(CUTS, len(rows)), replace=False, p=share / share.sum()))


def main() -> None:
    """Count, and write."""
    own, told = library.cached(tuple(families.FAMILIES)), {}
    for name, names in PACKINGS.items():
        count, every = np.zeros(SIZE, int), []
        for row in drawn(own, names):
            found = surroundings(library.cluster(own, int(row)).positions, name)
            np.add.at(count, tuple(found), 1)
            every.append((int(own.atoms[row]), found))
        told[name] = {"neighbours": len(shells(name)[0]), "count": count.tolist(), "usual": [1.0, 1.0]}
        hosts.TABLE.write_text(json.dumps(told, separators=(",", ":")) + "\n", "utf-8")
        hosts.habit.cache_clear()
        cost = hosts.habit("c" if name == "close-packed" else name).cost
        sums = [float(cost[tuple(found)].sum()) for _, found in every]
        power, logarithm = np.polyfit(np.log([atoms for atoms, _ in every]), np.log(sums), 1)
        told[name]["usual"] = [round(float(np.exp(logarithm)), 4), round(float(power), 4)]
        hosts.TABLE.write_text(json.dumps(told, separators=(",", ":")) + "\n", "utf-8")
        print(name, len(every), told[name]["usual"], np.median(sums))


if __name__ == "__main__":
    main()
