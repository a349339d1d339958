"""Write jaxstruc/structures/occupied.json: how often sites are taken in the library's clusters, by their surroundings.

    python tools/make_occupied.py

Clusters of 30 to 1000 atoms, as many of each size and of each family of a packing, on their hosts: of all their atoms
and the empty sites beside them, the numbers with so many neighbours and next neighbours taken. Then the sum of the
negative logarithms of the shares over a cluster's sites, as a power of its number of atoms.
"""

import json

import numpy as np

from jaxstruc.inference.sites import MOST as KINDS
from jaxstruc.solver import search
from jaxstruc.structures import families, hosts, library
from jaxstruc.structures.families import TYPES
from jaxstruc.structures.library import Library

PACKINGS = {
    "stack": ("fcc", "octahedron", "hcp", "twin", "fault"),
    **{name: (name,) for name in ("bcc", "sc", "decahedron", "icosahedron")},
}
CLUSTERS, LEAST, MOST = 400, 30, 1000


def drawn(own: Library, family: str) -> np.ndarray:
    """Return clusters of a family, as many of each size; no blocks, which are as slender as few particles are."""
    rng = np.random.default_rng(0)
    block = np.char.startswith(own.labels.astype(str), "block")
    rows = np.flatnonzero((own.families == family) & ~block & (own.atoms >= LEAST) & (own.atoms <= MOST))
    sizes = np.rint(np.log(own.atoms[rows]) / 0.2).astype(int)
    share = 1 / np.bincount(sizes)[sizes]
    return np.sort(rng.choice(rows, min(CLUSTERS, len(rows)), replace=False, p=share / share.sum()))


def main() -> None:
    """Count, and write."""
    own, told = library.cached(tuple(families.FAMILIES)), {}
    for name, names in PACKINGS.items():
        count, every = np.zeros((2, KINDS, KINDS)), []
        for family in names:
            for row in drawn(own, family):
                packing = search.PACKINGS.get(TYPES[family], TYPES[family])
                start = search.hosted(library.cluster(own, int(row)), packing, None)
                if start is None or start.taken.sum() < own.atoms[row]:
                    continue
                found = hosts.surroundings(start.host, start.taken)
                np.add.at(count, found, 1)
                every.append((int(own.atoms[row]), found))
        cost = hosts.cost(count)
        sums = [float(cost[found].sum()) for _, found in every]
        power, logarithm = np.polyfit(np.log([atoms for atoms, _ in every]), np.log(sums), 1)
        usual = [round(float(np.exp(logarithm)), 4), round(float(power), 4)]
        told[name] = {"count": count.astype(int).tolist(), "usual": usual}
        print(name, len(every), usual, np.round(np.quantile(sums, [0.1, 0.5, 0.9]), 1))
    hosts.TABLE.write_text(json.dumps(told, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
