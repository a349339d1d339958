"""Random particles for the training of the classifier, cut from packings of atoms with JAX.

A packing is an arrangement of atoms such as fcc or an icosahedron. A particle is a convex polyhedron or a ball that is
cut from a packing. It may have a rough surface, an incomplete last shell, missing edge atoms or displaced atoms. Most
particles are relaxed by a random amplitude in a random potential (see `relax_particle`). The faces of a polyhedron
belong to families of equivalent directions, e.g. {111}. The depth of a site is the size at which a growing polyhedron
or ball of the same shape first contains the site.

The construction of a particle determines its structure type and its hexagonal layers. `structure_type` finds the same
type from the positions of the atoms if the atoms show it (tested). All array shapes are static: a particle has a fixed
number of rows, and rows without an atom have mask False. Lengths are in units of the bond length.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters import lattice_sites, lattices, potential, size_classes, structure_type
from jaxstruc.clusters.potential import Neighbours, Potential

STRUCTURE_TYPES = ("fcc", "hcp", "faulted", "bcc", "sc", "icosahedron", "decahedron")
PACKINGS = ("fcc", "hcp", "stack", "bcc", "sc", "icosahedron", "decahedron")
"""Packings of the particles, in the order of `STRUCTURE_TYPES`. A stack has random hexagonal and cubic layers. Its type
is fcc or hcp if almost all inner layers are equal by chance, otherwise faulted."""
FCC, HCP, STACK, BCC, SIMPLE_CUBIC, ICOSAHEDRON, DECAHEDRON = range(7)
MIN_ATOMS = 8
"""Smallest number of atoms of a particle."""
SITE_REACH_RATIO, SITE_REACH_MARGIN = 1.7, 2.2
"""Factor and margin that give the radius of the region with sites. The factor multiplies the radius of a ball with as
many atoms as the particle, and the margin is added."""
MAX_EDGE_NEIGHBOURS = np.array([7, 7, 7, 8, 4, 7, 7])
"""Largest number of neighbours of an atom on an edge or a vertex [packing]."""
NEIGHBOUR_DISTANCE = 1.2
"""Largest distance between neighbours. It includes the second-nearest atoms of bcc."""
LOG_ABSENT_FACE_DISTANCE = 20.0
"""Logarithm of the distance of padding faces from the centre. They are so far away that they never cut."""
MAX_FAMILY_SPREAD, MAX_FACE_SPREAD, MAX_ELONGATION, MAX_AXIAL_ELONGATION = 0.25, 0.2, 0.3, 1.2
"""Largest variations of the logarithm of the distance of a face from the centre. The first two are standard deviations
between families and between the faces of a family. The last two are elongations along a random direction and along the
axis of the packing (needles and plates)."""
(
    BALL_PROBABILITY,
    NEEDLE_PROBABILITY,
    EQUAL_FACES_PROBABILITY,
    SYMMETRIC_CENTRE_PROBABILITY,
    PARTIAL_SHELL_PROBABILITY,
    ROUGH_SURFACE_PROBABILITY,
    MISSING_EDGES_PROBABILITY,
    DISPLACEMENT_PROBABILITY,
    RIGID_PROBABILITY,
) = 0.2, 0.2, 0.35, 0.3, 0.3, 0.15, 0.25, 0.4, 0.25
"""Shares of particles with each property. In this order, the properties are: ball, needle or plate, equal distances of
all faces of a family, centre at a point of high symmetry, incomplete last shell, rough surface, missing edge atoms,
displaced atoms, no relaxation."""
MAX_CENTRE_OFFSET = 0.65
"""Largest distance of the centre of a particle from the centre or axis of an icosahedron or decahedron, in units of the
radius of the particle."""
MAX_ROUGHNESS, MAX_DISPLACEMENT = 0.35, 0.045
"""Largest depth of the roughness of a surface, and largest root mean square displacement along each axis."""
RELAXATION_MEAN, RELAXATION_DEVIATION, RELAXATION_RANGE = 0.5, 0.5, (-0.3, 1.5)
"""Mean, standard deviation and limits of the truncated normal distribution of the amplitude of the relaxation. The
amplitude is 0 for ideal positions and 1 for the positions of least energy."""
MAX_DISTANCE_CHANGE, LIMITED_CHANGE = 0.15, 0.06
"""Largest change of a distance up to `NEARBY_DISTANCE` in the relaxation, relative to this distance, for which the
atoms keep their places, and largest change after the displacements of all other particles are shortened. The potential
is one for close-packed metals, so that bcc and sc are often unstable."""
NEARBY_DISTANCE = 1.5
"""Largest distance between atoms that is compared before and after the relaxation. It includes second neighbours."""
MAX_POTENTIAL_NEIGHBOURS = 80
"""Largest number of neighbours of an atom within the cut-off of the potential."""
CHOICE_NAMES = (
    *"stacking hexagonal_share x y z centre_offset is_centred is_ball has_equal_faces family_spread".split(),
    *"face_spread elongation surface_finish site_order roughness misses_atoms missing_share is_displaced".split(),
    *"displacement is_rigid relaxation first_metal second_metal metal_share is_needle axial_elongation".split(),
)
"""Names of the random choices for a particle. A particle has one random number for each name."""
MAX_FACE_FAMILIES = 8
"""Largest number of face families of a packing."""


class PackingGeometry(NamedTuple):
    """Sites and faces of all packings."""

    site_positions: Float[Array | np.ndarray, "packing site 3"]
    """Positions of the sites. Padding lies far outside. The layers of fcc, hcp and stack are not yet shifted laterally.
    """
    site_layer: Int[Array | np.ndarray, " site"]
    """Index of the layer of each site of a stack, counted from 0."""
    face_normals: Float[Array | np.ndarray, "packing face 3"]
    """Unit vectors perpendicular to the faces."""
    face_family: Int[Array | np.ndarray, "packing face"]
    """Index of the family of each face. It is -1 for padding."""
    reach: Float[Array | np.ndarray, " packing"]
    """Largest distance of the sites from the centre of the packing."""


class RandomParticle(NamedTuple):
    """A random particle. Without the displacements of the atoms, its mean position is 0."""

    positions: Float[Array, "atom 3"]
    """Positions of the atoms in units of the bond length. They are 0 for padding."""
    mask: Bool[Array, " atom"]
    """Mask of the rows that hold atoms. It is False for padding."""
    type_index: Int[Array, ""]
    """Index of the structure type in `STRUCTURE_TYPES`."""
    hexagonal_share: Float[Array, ""]
    """Share of hexagonal layers among the inner layers of fcc, hcp and stacks. It is NaN for other packings and for
    fewer than three layers."""
    aspect_ratio: Float[Array, ""]
    """Ratio of the largest to the smallest root mean square extent along the principal axes."""
    shows_type: Bool[Array, ""]
    """Whether the atoms show the structure type. The particle must have `MIN_TYPE_ATOMS` atoms or more. For fcc, hcp
    and stacks, it must have `MIN_TYPE_LAYERS` layers or more. For icosahedra and decahedra, it must contain the
    five-fold centre or axis."""
    is_complete: Bool[Array, ""]
    """Whether the particle has at least `MIN_ATOMS` atoms and ends inside the region with sites."""


class ParticleRandomNumbers(NamedTuple):
    """Random numbers of a particle: uniform numbers from 0 to 1, and standard normal numbers."""

    choices: Float[Array, " choice"]
    """Uniform numbers in the order of `CHOICE_NAMES`. The method `choice` returns one of them."""
    layer_numbers: Float[Array, " layer"]
    """Uniform numbers of the layers."""
    site_numbers: Float[Array, " site"]
    """Uniform numbers of the sites."""
    atom_numbers: Float[Array, " atom"]
    """Uniform numbers of the atoms."""
    direction_numbers: Float[Array, "3 3"]
    """Normal numbers of three random directions."""
    family_numbers: Float[Array, " family"]
    """Normal numbers of the face families."""
    face_numbers: Float[Array, " face"]
    """Normal numbers of the faces."""
    displacement_numbers: Float[Array, "atom 3"]
    """Normal numbers of the displacements of the atoms."""

    def choice(self, name: str) -> Array:
        """Return the uniform number with this name in `CHOICE_NAMES`."""
        return self.choices[CHOICE_NAMES.index(name)]

    def occurs(self, name: str, probability: float) -> Array:
        """Return whether the uniform number with this name is below a probability."""
        return self.choice(name) < probability


def required_reach(packing: str, max_atoms: int) -> float:
    """Return the radius of the region in which particles of at most `max_atoms` atoms need sites."""
    return (
        SITE_REACH_RATIO * size_classes.equivalent_sphere_diameter(max_atoms, size_classes.atom_volume(packing)) / 2
        + SITE_REACH_MARGIN
    )


def number_of_layers(max_atoms: int) -> int:
    """Return the number of close-packed layers that particles of at most `max_atoms` atoms need."""
    return 2 * math.ceil(required_reach("fcc", max_atoms) / lattices.LAYER_SPACING) + 1


def packing_geometry(max_atoms: int) -> PackingGeometry:
    """Return the sites and faces for particles of at most `max_atoms` atoms, as NumPy arrays."""
    stack, layer = _unshifted_layers(required_reach("fcc", max_atoms), number_of_layers(max_atoms))
    sites_by_packing = [stack] * 3 + [
        lattice_sites.packing_sites(name, math.ceil(required_reach(name, max_atoms))) for name in PACKINGS[3:]
    ]
    site_positions = np.full((len(PACKINGS), max(map(len, sites_by_packing)), 3), 1e3)
    for row, points in enumerate(sites_by_packing):
        site_positions[row, : len(points)] = points
    families_by_packing = [face_families(name) for name in PACKINGS]
    max_faces = max(sum(map(len, packing_families)) for packing_families in families_by_packing)
    normals, face_family = np.zeros((len(PACKINGS), max_faces, 3)), np.full((len(PACKINGS), max_faces), -1)
    for row, packing_families in enumerate(families_by_packing):
        n_faces = sum(map(len, packing_families))
        normals[row, :n_faces] = np.concatenate(packing_families)
        face_family[row, :n_faces] = np.repeat(
            np.arange(len(packing_families)), [len(family_normals) for family_normals in packing_families]
        )
    return PackingGeometry(
        site_positions.astype(np.float32),
        np.pad(layer, (0, site_positions.shape[1] - len(layer))).astype(np.int32),
        normals.astype(np.float32),
        face_family.astype(np.int32),
        np.array([required_reach(name, max_atoms) for name in PACKINGS], np.float32),
    )


def draw_random_numbers(
    key: Array, geometry: PackingGeometry, *, n_particles: int, capacity: int
) -> ParticleRandomNumbers:
    """Return the random numbers of `n_particles` particles. The first axis of each array is the particle.

    Args:
        key: Random key.
        geometry: Sites and faces, as `packing_geometry(capacity)` returns them.
        n_particles: Number of particles.
        capacity: Largest number of atoms of a particle.
    """
    n_sites, n_faces = geometry.site_positions.shape[1], geometry.face_normals.shape[1]
    uniform_counts = number_of_layers(capacity), n_sites, capacity
    choice_key, uniform_key, normal_key = jax.random.split(key, 3)
    uniform_numbers = jax.random.uniform(uniform_key, (n_particles, sum(uniform_counts)))
    layer_numbers, site_numbers, atom_numbers = jnp.split(
        uniform_numbers, np.cumsum(uniform_counts)[:-1].tolist(), axis=1
    )
    directions, family_numbers, face_numbers, displacements = jnp.split(
        jax.random.normal(normal_key, (n_particles, 9 + MAX_FACE_FAMILIES + n_faces + 3 * capacity)),
        (9, 9 + MAX_FACE_FAMILIES, 9 + MAX_FACE_FAMILIES + n_faces),
        axis=1,
    )
    return ParticleRandomNumbers(
        jax.random.uniform(choice_key, (n_particles, len(CHOICE_NAMES))),
        layer_numbers,
        site_numbers,
        atom_numbers,
        directions.reshape(n_particles, 3, 3),
        family_numbers,
        face_numbers,
        displacements.reshape(n_particles, capacity, 3),
    )


def cut_particle(
    random_numbers: ParticleRandomNumbers,
    packing: Int[Array, ""],
    max_atoms: Int[Array, ""],
    geometry: PackingGeometry,
    *,
    capacity: int,
) -> RandomParticle:
    """Return a random particle of at most `max_atoms` atoms.

    Args:
        random_numbers: Random numbers of the particle.
        packing: Index of the packing in `PACKINGS`.
        max_atoms: Largest number of atoms. There may be fewer, because sites of equal depth are cut off together.
        geometry: Sites and faces, as `packing_geometry(capacity)` returns them.
        capacity: Number of rows of the particle.
    """
    geometry = PackingGeometry(*map(jnp.asarray, geometry))
    is_hexagonal = _hexagonal_layers(random_numbers, packing)
    site_positions = geometry.site_positions[packing] + _layer_shifts(is_hexagonal)[geometry.site_layer] * jnp.where(
        packing <= STACK, 1.0, 0.0
    )
    centre = _cut_centre(random_numbers, packing, max_atoms)
    depth = _depth_function(random_numbers, packing, geometry, centre)
    site_depth = depth(site_positions) + _surface_finish(random_numbers, site_positions)
    cut_depth = _cut_depth(site_depth, jnp.minimum(max_atoms, capacity))
    positions, mask, atom_layer = _compact_sites(
        site_positions, site_depth <= cut_depth, jnp.asarray(geometry.site_layer), capacity
    )
    reaches_end = (jnp.linalg.norm(positions, axis=1) * mask).max() > geometry.reach[packing] - 1.0
    neighbour_counts = _neighbour_counts(positions, mask)
    mask &= neighbour_counts >= jnp.where(max_atoms < 20, 0, jnp.where(packing == SIMPLE_CUBIC, 2, 3))
    mask &= ~_missing_atoms(random_numbers, neighbour_counts <= jnp.asarray(MAX_EDGE_NEIGHBOURS)[packing])
    hexagonal_share, n_layers = _hexagonal_share(is_hexagonal, atom_layer, mask)
    is_stack = packing <= STACK
    axis_point = centre * jnp.where(packing == DECAHEDRON, jnp.array([0.0, 0, 1]), jnp.zeros(3))
    axis_is_inside = depth(axis_point[None])[0] < cut_depth - 0.4
    positions = _displace_atoms(random_numbers, positions - _mean_position(positions, mask), mask)
    n_atoms = mask.sum()
    stack_type = jnp.where(
        hexagonal_share < structure_type.MAX_FCC_HEXAGONAL_SHARE,
        FCC,
        jnp.where(hexagonal_share > structure_type.MIN_HCP_HEXAGONAL_SHARE, HCP, STACK),
    )
    is_deep_enough = jnp.where(
        is_stack, n_layers >= structure_type.MIN_TYPE_LAYERS, jnp.where(packing >= ICOSAHEDRON, axis_is_inside, True)
    )
    return RandomParticle(
        jnp.where(mask[:, None], positions, 0.0),
        mask,
        jnp.where(is_stack & (n_layers > 2), stack_type, packing).astype(jnp.int32),
        jnp.where(is_stack & (n_layers > 2), hexagonal_share, jnp.nan),
        _aspect_ratio(positions, mask),
        (n_atoms >= structure_type.MIN_TYPE_ATOMS) & is_deep_enough,
        (n_atoms >= MIN_ATOMS) & ~reaches_end,
    )


def face_families(packing: str) -> tuple[np.ndarray, ...]:
    """Return the face families of a packing. Each family is an array of unit vectors perpendicular to faces [face, 3].

    Args:
        packing: Packing. The orientation of bcc, sc, icosahedron and decahedron is that of
            `lattice_sites.packing_sites`. The layers of fcc, hcp and stack are perpendicular to z, as in
            `lattices.stack`.
    """
    if packing in ("bcc", "sc"):
        return cubic_faces()
    if packing == "icosahedron":
        return icosahedron_faces()
    if packing == "decahedron":
        return decahedron_faces(lattice_sites.packing_sites("decahedron", 3))
    if packing == "fcc":
        return fcc_faces()
    if packing == "hcp":
        return hcp_faces()
    mirror = np.array([1.0, 1.0, -1.0])
    octahedron, cube, _ = fcc_faces()
    slopes = [family[abs(family[:, 2]) < 0.9] for family in (octahedron, cube)]
    return *hcp_faces(), *(np.concatenate([family, family * mirror]) for family in slopes)


def cubic_faces() -> tuple[np.ndarray, ...]:
    """Return the unit vectors along {100}, {110} and {111} of a cubic lattice whose axes are x, y and z."""
    directions = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    lengths = np.linalg.norm(directions, axis=1)
    return tuple(directions[np.isclose(lengths**2, k)] / math.sqrt(k) for k in (1, 2, 3))


def fcc_faces() -> tuple[np.ndarray, ...]:
    """Return the unit vectors along {111}, {100} and {110} of fcc with [111] along z."""
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    in_plane_directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    octahedron = np.concatenate(
        [[[0, 0, 1]], np.column_stack([in_plane_directions * math.sqrt(8 / 9), np.full(3, 1 / 3)])]
    )
    cube = np.column_stack([in_plane_directions * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    sixth_angles = np.arange(6) * math.pi / 3
    in_plane_110 = np.column_stack([np.cos(sixth_angles), np.sin(sixth_angles), np.zeros(6)])
    tilted_110 = np.column_stack([in_plane_directions * lattices.HOLLOW_DISTANCE, np.full(3, lattices.LAYER_SPACING)])
    centrosymmetric_families = [np.concatenate([family, -family]) for family in (octahedron, cube, tilted_110)]
    return (
        centrosymmetric_families[0],
        centrosymmetric_families[1],
        np.concatenate([in_plane_110, centrosymmetric_families[2]]),
    )


def hcp_faces() -> tuple[np.ndarray, ...]:
    """Return the unit vectors perpendicular to the basal, {10-10}, {11-20} and {10-11} planes of hcp with c along z."""
    angles = math.pi / 6 * np.arange(12)
    prism_directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(12)], axis=1)
    base = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    tilt = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))  # angle between {10-11} and the basal plane
    slopes = math.sin(tilt) * prism_directions[1::2, None] + math.cos(tilt) * base
    return base, prism_directions[1::2], prism_directions[::2], slopes.reshape(-1, 3)


def icosahedron_faces() -> tuple[np.ndarray, ...]:
    """Return the unit vectors from the centre of an icosahedron to its faces and to its vertices."""
    golden_ratio = (1 + math.sqrt(5)) / 2
    vertices = [
        np.roll([0.0, a, b * golden_ratio], rotation) for a in (-1, 1) for b in (-1, 1) for rotation in range(3)
    ]
    combinations = itertools.combinations
    triangles = [
        triangle
        for triangle in combinations(vertices, 3)
        if all(np.linalg.norm(a - b) < 2.1 for a, b in combinations(triangle, 2))
    ]
    families = np.array(triangles).sum(axis=1), np.array(vertices)
    return tuple(directions / np.linalg.norm(directions, axis=1, keepdims=True) for directions in families)


def decahedron_faces(positions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the unit vectors towards the caps, the sides, and the edges between sides of a decahedron about z.

    Args:
        positions: Positions of the atoms of a decahedron [point, 3] with its axis along z, in units of the bond length.
    """
    ring = positions[(abs(positions[:, 2] - 0.5) < 0.1) & (np.hypot(*positions[:, :2].T) < 1)]
    angles = np.arctan2(ring[0, 1], ring[0, 0]) + math.pi / 5 * np.arange(10)
    in_plane_directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(10)], axis=1)
    inner_radius = np.linalg.norm(ring[0, :2]) * math.cos(math.pi / 5)  # distance from the axis to the middle of a side
    caps = [
        0.5 * side + inner_radius * np.array([0, 0, sign]) for side in in_plane_directions[1::2] for sign in (-1, 1)
    ]
    return np.array(caps) / math.hypot(0.5, inner_radius), in_plane_directions[1::2], in_plane_directions[::2]


def random_amplitude(rigid_number: Float[Array, "*any"], number: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the amplitude of a relaxation. It is 0 with the probability `RIGID_PROBABILITY`.

    Args:
        rigid_number: Uniform random number from 0 to 1, which decides whether the particle is rigid.
        number: Level from 0 to 1, at which the quantile of the distribution of amplitudes is the amplitude.
    """
    low, high = (
        jax.scipy.stats.norm.cdf((limit - RELAXATION_MEAN) / RELAXATION_DEVIATION) for limit in RELAXATION_RANGE
    )
    amplitude = RELAXATION_MEAN + RELAXATION_DEVIATION * jax.scipy.special.ndtri(low + (high - low) * number)
    return jnp.where(rigid_number < RIGID_PROBABILITY, 0.0, amplitude)


def random_potential(
    first_number: Float[Array, ""], second_number: Float[Array, ""], share: Float[Array, ""]
) -> Potential:
    """Return the potential of a metal between two random metals of the table `potential.POTENTIALS`.

    The decays p and q are a weighted mean of those of the two metals. The hopping energy is 1, because the energy scale
    does not change the positions of least energy. The repulsion energy follows from zero pressure at the bond length of
    an fcc crystal.

    Args:
        first_number: Uniform random number from 0 to 1, which selects the first metal.
        second_number: Uniform random number from 0 to 1, which selects the second metal.
        share: Weight of the first metal, from 0 to 1.
    """
    decays = jnp.array([(entry.repulsion_decay, entry.hopping_decay) for entry in potential.POTENTIALS.values()])
    first, second = (
        decays[jnp.minimum((number * len(decays)).astype(int), len(decays) - 1)]
        for number in (first_number, second_number)
    )
    repulsion_decay, hopping_decay = share * first + (1 - share) * second
    distances, counts = jnp.array(potential.SHELLS).T

    def pair_sums(scale):
        weights = counts * potential.cutoff(scale * distances)
        return (
            jnp.sum(weights * jnp.exp(-repulsion_decay * (scale * distances - 1))),
            jnp.sqrt(jnp.sum(weights * jnp.exp(-2 * hopping_decay * (scale * distances - 1)))),
        )

    _, (repulsion_slope, band_slope) = jax.jvp(pair_sums, (jnp.float32(1.0),), (jnp.float32(1.0),))
    return Potential(band_slope / repulsion_slope, jnp.float32(1.0), repulsion_decay, hopping_decay)  # type: ignore[arg-type]


def relax_particle(
    positions: Float[Array, "atom 3"], mask: Bool[Array, " atom"], amplitude: Float[Array, ""], metal: Potential
) -> Float[Array, "atom 3"]:
    """Return the positions moved towards those of least energy. The size of the particle, on average, stays the same.

    If atoms leave their places, all displacements are shortened (see `LIMITED_CHANGE`).

    Args:
        positions: Ideal positions of the atoms, with mean 0.
        mask: Mask of the rows that hold atoms.
        amplitude: Share of the displacement from the ideal positions to those of least energy.
        metal: Potential of the metal.
    """
    positions = jnp.where(mask[:, None], positions, 0.0)

    def move_atoms():
        neighbours = _potential_neighbours(positions, mask)
        batch = jax.tree.map(lambda column: column[None], (positions, neighbours))
        relaxed = potential.relax(*batch, metal).positions[0]
        relaxed = jnp.where(mask[:, None], relaxed - _mean_position(relaxed, mask), 0.0)
        relaxed *= jnp.sum(relaxed * positions) / jnp.maximum(jnp.sum(relaxed**2), 1.0)
        distance, relaxed_distance = (
            jnp.linalg.norm(points[:, None] - points[neighbours.indices], axis=-1) for points in (positions, relaxed)
        )
        is_nearby = neighbours.mask & (distance < NEARBY_DISTANCE)
        change = jnp.where(is_nearby, jnp.abs(relaxed_distance / jnp.maximum(distance, 0.5) - 1), 0.0).max()
        factor = jnp.where(change < MAX_DISTANCE_CHANGE, 1.0, LIMITED_CHANGE / jnp.maximum(change, 0.1))
        return positions + amplitude * factor * (relaxed - positions)

    return jax.lax.cond(amplitude == 0, lambda: positions, move_atoms)


def _potential_neighbours(positions: Array, mask: Array) -> Neighbours:
    """Return the neighbours of each atom within the cut-off of the potential."""
    squared_distances = sum((coordinate[:, None] - coordinate[None]) ** 2 for coordinate in positions.T)
    is_neighbour = (
        (squared_distances < potential.CUTOFF_END**2) & mask[None] & mask[:, None] & ~jnp.eye(len(mask), dtype=bool)
    )
    closeness, index = jax.lax.top_k(
        jnp.where(is_neighbour, -squared_distances, -jnp.inf), min(MAX_POTENTIAL_NEIGHBOURS, len(mask))
    )
    return Neighbours(index.astype(jnp.int32), closeness > -jnp.inf)


def _unshifted_layers(radius: float, n_layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sites of close-packed layers without lateral shifts [site, 3], and the layer of each site.

    The sites lie within the distance `radius` + 1 of the origin.
    """
    layer_sites = lattices.stack("c", reach=math.ceil(radius) + 2)
    layer_sites = layer_sites[abs(layer_sites[:, 2]) < 1e-6] * (1, 1, 0)
    layer = np.repeat(np.arange(n_layers), len(layer_sites))
    site_positions = np.tile(layer_sites, (n_layers, 1)) + lattices.LAYER_SPACING * (
        layer[:, None] - n_layers // 2
    ) * np.array([0, 0, 1])
    is_inside = np.linalg.norm(site_positions, axis=1) < radius + 1
    return site_positions[is_inside], layer[is_inside]


def _hexagonal_layers(random_numbers: ParticleRandomNumbers, packing: Array) -> Bool[Array, " layer"]:
    """Return a mask of the hexagonal layers: none for fcc, all for hcp, and random layers for a stack.

    The share of hexagonal layers in a stack is random. In some stacks, it is close to 0 or to 1.
    """
    hexagonal_probability = random_numbers.choice("hexagonal_share") * jnp.where(
        random_numbers.occurs("stacking", 0.5), 1.0, 0.15
    )
    hexagonal_probability = jnp.where(
        random_numbers.occurs("stacking", 0.75), hexagonal_probability, 1 - hexagonal_probability
    )
    return random_numbers.layer_numbers < jnp.where(
        packing == FCC, -1, jnp.where(packing == HCP, 2, hexagonal_probability)
    )


def _layer_shifts(is_hexagonal: Bool[Array, " layer"]) -> Float[Array, "layer 3"]:
    """Return the lateral shift of each layer of a stack. The direction of the shifts reverses at a hexagonal layer."""
    step = jnp.cumprod(jnp.where(is_hexagonal, -1, 1))
    stacking_position = jnp.mod(jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(step)[:-1]]), 3)
    return lattices.HOLLOW_DISTANCE * stacking_position[:, None] * jnp.array([0.0, 1, 0])


def _cut_centre(random_numbers: ParticleRandomNumbers, packing: Array, max_atoms: Array) -> Float[Array, " 3"]:
    """Return the centre of the particle in its packing.

    The centre is a random point in the unit cell, a random point near a five-fold centre or axis, or a point of high
    symmetry.
    """
    cell_point = 1.5 * jnp.stack([random_numbers.choice(axis) for axis in "xyz"]) - 0.75
    is_decahedron, z_axis = packing == DECAHEDRON, jnp.array([0.0, 0, 1])
    direction = random_numbers.direction_numbers[0] * jnp.where(is_decahedron, 1 - z_axis, 1.0)
    offset = (
        MAX_CENTRE_OFFSET
        * random_numbers.choice("centre_offset")
        * 0.55
        * max_atoms ** (1 / 3)
        * direction
        / jnp.linalg.norm(direction)
    )
    offset = offset + jnp.where(is_decahedron, cell_point * z_axis, 0.0)
    symmetric_centre = jnp.where(is_decahedron, jnp.round(cell_point * 2) * z_axis / 2, 0.0)
    return jnp.where(
        random_numbers.occurs("is_centred", SYMMETRIC_CENTRE_PROBABILITY),
        symmetric_centre,
        jnp.where(packing >= ICOSAHEDRON, offset, cell_point),
    )


def _depth_function(random_numbers: ParticleRandomNumbers, packing: Array, geometry: PackingGeometry, centre: Array):
    """Return a function that computes the depths of points.

    For a ball, the depth of a point is its distance from the centre. For a polyhedron, the distances of the faces from
    the centre are random. The depth is then the smallest factor on all these distances with which the polyhedron
    contains the point.
    """
    has_equal_faces, face_family = (
        random_numbers.occurs("has_equal_faces", EQUAL_FACES_PROBABILITY),
        geometry.face_family[packing],
    )
    log_distance = (
        MAX_FAMILY_SPREAD * random_numbers.choice("family_spread") * random_numbers.family_numbers[face_family]
    )
    log_distance += (
        jnp.where(has_equal_faces, 0.0, MAX_FACE_SPREAD * random_numbers.choice("face_spread"))
        * random_numbers.face_numbers
    )
    direction = random_numbers.direction_numbers[1] / jnp.linalg.norm(random_numbers.direction_numbers[1])
    elongation = jnp.where(has_equal_faces, 0.0, MAX_ELONGATION * (2 * random_numbers.choice("elongation") - 1))
    log_distance += elongation * (geometry.face_normals[packing] @ direction) ** 2
    axial_elongation = jnp.where(
        random_numbers.occurs("is_needle", NEEDLE_PROBABILITY),
        MAX_AXIAL_ELONGATION * (2 * random_numbers.choice("axial_elongation") - 1),
        0.0,
    )
    log_distance += axial_elongation * geometry.face_normals[packing][:, 2] ** 2
    scaled_normals = (
        geometry.face_normals[packing]
        * jnp.exp(-jnp.where(face_family < 0, LOG_ABSENT_FACE_DISTANCE, log_distance))[:, None]
    )

    def depth(points):
        offset = points - centre
        face_depth = jnp.round((offset @ scaled_normals.T).max(axis=1), 4)
        return jnp.where(
            random_numbers.occurs("is_ball", BALL_PROBABILITY), jnp.linalg.norm(offset, axis=1), face_depth
        )

    return depth


def _surface_finish(random_numbers: ParticleRandomNumbers, site_positions: Array) -> Float[Array, " site"]:
    """Return a number for each site that is added to its depth before the particle is cut.

    It is 0 for most particles. For an incomplete last shell, it is a small number that differs between sites of equal
    depth, so that only some of them are inside. For a rough surface, it is a random number.
    """
    cap_order = site_positions @ random_numbers.direction_numbers[2] / 100
    site_order = 1e-3 * jnp.where(random_numbers.occurs("site_order", 0.5), random_numbers.site_numbers, cap_order)
    roughness = MAX_ROUGHNESS * random_numbers.choice("roughness") * random_numbers.site_numbers
    finish = jnp.where(random_numbers.occurs("surface_finish", PARTIAL_SHELL_PROBABILITY), site_order, 0.0)
    return jnp.where(random_numbers.choice("surface_finish") > 1 - ROUGH_SURFACE_PROBABILITY, roughness, finish)


def _cut_depth(depth: Array, max_atoms: Array) -> Array:
    """Return the largest depth within which at most `max_atoms` sites lie. It is determined by bisection."""

    def halve_interval(_, interval):
        low, high = interval
        midpoint = (low + high) / 2
        is_within = (depth <= midpoint).sum() <= max_atoms
        return jnp.where(is_within, midpoint, low), jnp.where(is_within, high, midpoint)

    return jax.lax.fori_loop(0, 24, halve_interval, (jnp.float32(0.0), jnp.float32(32.0)))[0]


def _compact_sites(
    site_positions: Array, is_selected: Array, layer: Array, capacity: int
) -> tuple[Array, Array, Array]:
    """Return the positions of the selected sites, their mask and their layers, each padded to `capacity` rows."""
    row = jnp.where(is_selected, jnp.cumsum(is_selected) - 1, capacity)
    positions = jnp.zeros((capacity, 3)).at[row].set(site_positions, mode="drop")
    return (
        positions,
        jnp.arange(capacity) < is_selected.sum(),
        jnp.zeros(capacity, jnp.int32).at[row].set(layer, mode="drop"),
    )


def _neighbour_counts(positions: Array, mask: Array) -> Array:
    """Return the number of neighbours of each atom [atom]."""
    squared_distances = sum((coordinate[:, None] - coordinate[None]) ** 2 for coordinate in positions.T)
    return ((squared_distances < NEIGHBOUR_DISTANCE**2) & mask[None] & mask[:, None]).sum(axis=1) - mask


def _missing_atoms(random_numbers: ParticleRandomNumbers, is_weakly_bound: Array) -> Array:
    """Return a mask of the atoms that are missing. Only weakly bound atoms may be missing."""
    missing_share = jnp.where(
        random_numbers.occurs("misses_atoms", MISSING_EDGES_PROBABILITY),
        0.6 * random_numbers.choice("missing_share"),
        0.0,
    )
    return is_weakly_bound & (random_numbers.atom_numbers < missing_share)


def _hexagonal_share(is_hexagonal: Array, atom_layer: Array, mask: Array) -> tuple[Array, Array]:
    """Return the share of hexagonal layers among the inner layers of a stack, and the number of layers."""
    is_filled = jnp.zeros(len(is_hexagonal), bool).at[atom_layer].max(mask)
    layer_index = jnp.arange(len(is_hexagonal))
    first_layer, last_layer = (
        jnp.where(is_filled, layer_index, len(layer_index)).min(),
        jnp.where(is_filled, layer_index, -1).max(),
    )
    is_inner = (layer_index > first_layer) & (layer_index < last_layer)
    return (is_hexagonal & is_inner).sum() / jnp.maximum(is_inner.sum(), 1), is_filled.sum()


def _mean_position(positions: Array, mask: Array) -> Array:
    return (positions * mask[:, None]).sum(axis=0) / jnp.maximum(mask.sum(), 1)


def _displace_atoms(random_numbers: ParticleRandomNumbers, positions: Array, mask: Array) -> Array:
    """Return the positions after the relaxation and after random displacements."""
    positions = relax_particle(
        positions,
        mask,
        random_amplitude(random_numbers.choice("is_rigid"), random_numbers.choice("relaxation")),
        random_potential(*(random_numbers.choice(name) for name in ("first_metal", "second_metal", "metal_share"))),
    )
    displacement = jnp.where(
        random_numbers.occurs("is_displaced", DISPLACEMENT_PROBABILITY),
        MAX_DISPLACEMENT * random_numbers.choice("displacement"),
        0.0,
    )
    return positions + displacement * random_numbers.displacement_numbers


def _aspect_ratio(positions: Array, mask: Array) -> Array:
    """Return the ratio of the largest to the smallest root mean square extent along the principal axes."""
    positions = (positions - _mean_position(positions, mask)) * mask[:, None]
    squared_extents = jnp.linalg.eigvalsh(positions.T @ positions / jnp.maximum(mask.sum(), 1))
    return jnp.sqrt(squared_extents[2] / jnp.maximum(squared_extents[0], 0.05))
