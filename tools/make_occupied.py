"""Write the table of how often lattice sites are occupied in library clusters, given their surroundings.

    python tools/make_occupied.py

The table is jaxstruc/clusters/occupied.json. For each packing, clusters of 30 to 1000 atoms are drawn uniformly in size
and family, and placed on their lattices. Occupied sites and adjacent empty sites are counted for each number of
occupied neighbours and next neighbours. The shares of these counts are the probabilities of occupied and empty sites.
The sum of their negative logarithms over the sites of a cluster is fitted by a power of the cluster's number of atoms.
"""

import json

import numpy as np

from jaxstruc.clusters import families, lattice_sites, library
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.pdf import search_starts
from jaxstruc.pdf.site_moves import N_COORDINATION_NUMBERS

PACKINGS = {
    "stack": ("fcc", "octahedron", "hcp", "twin", "fault"),
    **{name: (name,) for name in ("bcc", "sc", "decahedron", "icosahedron")},
}
CLUSTERS_PER_FAMILY, MIN_ATOMS, MAX_ATOMS = 400, 30, 1000


def draw_rows(cluster_library: Library, family: str) -> np.ndarray:
    """Return library rows of a family, drawn uniformly in size.

    Blocks are left out, because they are more slender than most particles.
    """
    rng = np.random.default_rng(0)
    is_block = np.char.startswith(cluster_library.labels.astype(str), "block")
    rows = np.flatnonzero(
        (cluster_library.families == family)
        & ~is_block
        & (cluster_library.atoms >= MIN_ATOMS)
        & (cluster_library.atoms <= MAX_ATOMS)
    )
    sizes = np.rint(np.log(cluster_library.atoms[rows]) / 0.2).astype(int)
    probabilities = 1 / np.bincount(sizes)[sizes]
    return np.sort(
        rng.choice(rows, min(CLUSTERS_PER_FAMILY, len(rows)), replace=False, p=probabilities / probabilities.sum())
    )


def main() -> None:
    """Count the sites of each packing and write the table."""
    cluster_library, tables = library.load_or_build(tuple(families.FAMILIES)), {}
    for packing_name, family_names in PACKINGS.items():
        counts, cluster_sites = np.zeros((2, N_COORDINATION_NUMBERS, N_COORDINATION_NUMBERS)), []
        for family in family_names:
            for row in draw_rows(cluster_library, family):
                packing = search_starts.PACKING_BY_TYPE.get(FAMILY_TYPES[family], FAMILY_TYPES[family])
                start = search_starts.start_from_cluster(
                    library.candidate_cluster(cluster_library, int(row)), packing, None
                )
                if start is None or start.occupied_sites.sum() < cluster_library.atoms[row]:
                    continue
                surroundings = lattice_sites.site_surroundings(start.lattice, start.occupied_sites)
                np.add.at(counts, surroundings, 1)
                cluster_sites.append((int(cluster_library.atoms[row]), surroundings))
        cost = lattice_sites.occupancy_cost(counts)
        sums = [float(cost[surroundings].sum()) for _, surroundings in cluster_sites]
        power, log_factor = np.polyfit(np.log([atoms for atoms, _ in cluster_sites]), np.log(sums), 1)
        usual_cost = [round(float(np.exp(log_factor)), 4), round(float(power), 4)]
        tables[packing_name] = {"count": counts.astype(int).tolist(), "usual": usual_cost}
        print(packing_name, len(cluster_sites), usual_cost, np.round(np.quantile(sums, [0.1, 0.5, 0.9]), 1))
    lattice_sites.OCCUPANCY_FILE.write_text(json.dumps(tables, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
