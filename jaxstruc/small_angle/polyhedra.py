r"""Scattering amplitude of polyhedra, and averages of the amplitude and its square over all orientations.

The amplitude F is an integral over the volume. Gauss's theorem turns it into integrals over the faces k, and these into
sums over the edges j of each face:

$$F(\mathbf q) = \int e^{i\mathbf q\mathbf r} d^3r = -\frac{1}{q^2} \sum_k \frac{\mathbf q\mathbf n_k}{q_{k\parallel}^2}
\sum_j \mathbf q(\mathbf E_j \times \mathbf n_k)\, \mathrm{sinc}(\mathbf q\mathbf E_j/2)\, e^{i\mathbf q\mathbf R_j}$$

$\mathbf n_k$ is the outward normal of a face, and $\mathbf q_{k\parallel}$ the component of q within the face.
$\mathbf E_j$ is an edge vector (anticlockwise if viewed from outside), $\mathbf R_j$ the middle of the edge, and
sinc(y) = sin(y) / y. Sources: B. Croset, J. Appl. Cryst. 50, 1245 (2017), doi 10.1107/S1600576717010147; J. Wuttke,
J. Appl. Cryst. 54, 580 (2021), doi 10.1107/S160057672100171X.

Large terms cancel at small q, and if q is perpendicular to a face. Two measures keep the accuracy. First, 1 is
subtracted from each exponential, which changes nothing because the edge vectors of a face sum to zero. Second, a power
series over tetrahedra is used below `MAX_SERIES_PHASE`.

The module uses NumPy in double precision. The tables of `form_factors` are computed with it once for each body.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection

MAX_SERIES_PHASE = 1.0
"""Largest phase at which the power series is used.

The phase is q times the distance of the farthest corner from the origin.
"""
N_SERIES_TERMS = 24
"""Number of terms of the power series. The next term is at most 1 / N_SERIES_TERMS!, relative to F(0)."""
GOLDEN_RATIO = (1 + np.sqrt(5)) / 2
MAX_EDGE_SUM_PHASE = 8.0
"""Largest phase at which the orientation averages use a sum over edges.

At larger phases they use a sum over corners, which is faster.
"""
MIN_IN_PLANE_PHASE = 1e-8
"""Smallest product of the in-plane part of q and the distance of the farthest corner.

If the product is smaller, q counts as perpendicular to the face.
"""
DIRECTIONS_PER_CHUNK = 1024
"""Number of directions that are computed at once."""
OCTANTS = np.array([[[0, 0, 1], [x, 0, 0], [0, y, 0]] for x in (1, -1) for y in (1, -1)], float)
"""Spherical triangles that cover half of all directions.

The other half follows by inversion, under which |F|² and the real part of F do not change.
"""


class Polyhedron(NamedTuple):
    """A polyhedron, described by the edges and normals of its faces."""

    edge_starts: Float[np.ndarray, "edge 3"]
    """First corner of each edge of each face. The edges of a face are anticlockwise if viewed from outside."""
    edge_ends: Float[np.ndarray, "edge 3"]
    """Second corner of each edge."""
    face_index: Int[np.ndarray, " edge"]
    """Index of the face that each edge bounds."""
    normals: Float[np.ndarray, "face 3"]
    """Outward unit normals of the faces."""

    @property
    def face_corners(self) -> Float[np.ndarray, "face 3"]:
        """One corner of each face."""
        return self.edge_starts[np.unique(self.face_index, return_index=True)[1]]

    @property
    def face_areas(self) -> Float[np.ndarray, " face"]:
        """Areas of the faces."""
        double_areas = np.zeros_like(self.normals)
        np.add.at(double_areas, self.face_index, np.cross(self.edge_starts, self.edge_ends))
        return np.sum(double_areas * self.normals, axis=1) / 2

    @property
    def volume(self) -> float:
        """Volume of the body."""
        return float(self.face_areas @ np.sum(self.normals * self.face_corners, axis=1)) / 3

    @property
    def max_radius(self) -> float:
        """Distance of the farthest corner from the origin."""
        return float(np.linalg.norm(self.edge_starts, axis=1).max())


class Directions(NamedTuple):
    """Quadrature points over all directions, with weights that sum to 1."""

    unit_vectors: Float[np.ndarray, "direction 3"]
    weight: Float[np.ndarray, " direction"]


def centred_convex_hull(corners: Float[np.ndarray, "corner 3"]) -> Polyhedron:
    """Return the convex polyhedron with given corners, moved so that its centre of volume is the origin.

    Raises:
        ValueError: If the corners span no volume.
    """
    return centre_polyhedron(convex_hull(corners))


def convex_hull(corners: Float[np.ndarray, "corner 3"]) -> Polyhedron:
    """Return the convex polyhedron with given corners, without moving it.

    Raises:
        ValueError: If the corners span no volume.
    """
    corners = np.asarray(corners, float)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 4 or not np.isfinite(corners).all():
        raise ValueError(f"Expected at least four finite corners [corner, 3], got an array of shape {corners.shape}.")
    if np.linalg.matrix_rank(corners - corners.mean(axis=0), tol=1e-6 * np.ptp(corners)) < 3:
        raise ValueError("Expected corners that span a volume, but all lie in one plane. Add a corner outside of it.")
    return _hull_polyhedron(corners)


def join_polyhedra(pieces: list[Polyhedron]) -> Polyhedron:
    """Return one polyhedron from pieces that touch.

    The faces between two pieces are left out, because their contributions cancel. The centre of volume is moved to the
    origin.
    """
    face_offsets = np.cumsum([0, *[len(piece.normals) for piece in pieces]])
    face_index = np.concatenate(
        [piece.face_index + face_offset for piece, face_offset in zip(pieces, face_offsets[:-1], strict=True)]
    )
    edge_starts, edge_ends = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
    normals = np.concatenate([piece.normals for piece in pieces])
    face_keys = np.array(
        [np.append(edge_starts[face_index == k].mean(axis=0), np.abs(normals[k])) for k in range(len(normals))]
    )
    is_distinct = np.abs(face_keys[:, None] - face_keys).max(axis=-1) > 1e-6 * np.abs(edge_starts).max()
    outer_faces = np.flatnonzero(np.all(is_distinct | np.eye(len(is_distinct), dtype=bool), axis=1))
    on_outer_face = np.isin(face_index, outer_faces)
    return centre_polyhedron(
        Polyhedron(
            edge_starts[on_outer_face],
            edge_ends[on_outer_face],
            np.searchsorted(outer_faces, face_index[on_outer_face]),
            normals[outer_faces],
        )
    )


def centre_polyhedron(body: Polyhedron) -> Polyhedron:
    """Return a polyhedron whose centre of volume is moved to the origin."""
    tetrahedra, volumes = _tetrahedra(body)
    centre = volumes @ tetrahedra.sum(axis=1) / 4 / volumes.sum()
    return body._replace(edge_starts=body.edge_starts - centre, edge_ends=body.edge_ends - centre)


def amplitude(body: Polyhedron, q: Float[np.ndarray, "*q 3"]) -> Complex[np.ndarray, "*q"]:
    """Return F(q), the integral of exp(iqr) over the volume of a polyhedron, at wave vectors q."""
    wave_vectors = np.reshape(np.asarray(q, float), (-1, 3))
    in_series = np.linalg.norm(wave_vectors, axis=1) * body.max_radius < MAX_SERIES_PHASE
    amplitudes = np.empty(len(wave_vectors), complex)
    amplitudes[in_series] = _series_amplitude(body, wave_vectors[in_series])
    amplitudes[~in_series] = _edge_sum_amplitude(body, wave_vectors[~in_series])
    return amplitudes.reshape(np.shape(q)[:-1])


def orientation_averages(
    body: Polyhedron, q: Float[np.ndarray, " q"], domain: Float[np.ndarray, "triangle 3 3"] | None = None
):
    """Return the orientation averages of |F|² and of F, relative to their values at q = 0, as [2, q].

    Args:
        body: Polyhedron of any shape.
        q: Length of the wave vector, in the inverse unit of the corners.
        domain: Corners of spherical triangles that represent all directions by the symmetry of the body. Inversion
            always counts as a symmetry. The default is `OCTANTS`.
    """
    domain = OCTANTS if domain is None else domain
    sums, node_counts = np.zeros((2, len(q))), _quadrature_orders(q * body.max_radius, domain)
    for node_count in np.unique(node_counts):
        rows, quadrature = np.flatnonzero(node_counts == node_count), directions(domain, int(node_count))
        for k in range(0, len(quadrature.unit_vectors), DIRECTIONS_PER_CHUNK):
            unit_vectors, weight = (
                quadrature.unit_vectors[k : k + DIRECTIONS_PER_CHUNK],
                quadrature.weight[k : k + DIRECTIONS_PER_CHUNK],
            )
            for i, amplitudes in zip(rows, _radial_amplitudes(body, unit_vectors, q[rows]), strict=True):
                sums[:, i] += weight @ np.stack([np.abs(amplitudes) ** 2, amplitudes.real], axis=1)
    return sums / [[body.volume**2], [body.volume]]


def directions(triangles: Float[np.ndarray, "triangle 3 3"], node_count: int) -> Directions:
    r"""Return `node_count`² quadrature points in each spherical triangle.

    The points $p = a + s(b - a) + st(c - b)$ cover the flat triangle with the corners a, b, c for s and t from 0 to 1.
    The solid angle is $d\Omega = |\det(a, b, c)|\, s\, ds\, dt / |p|^3$.
    """
    node, weight = np.polynomial.legendre.leggauss(node_count)
    s, t = np.meshgrid((node + 1) / 2, (node + 1) / 2, indexing="ij")
    a, b, c = (triangles[:, i, None, None] for i in range(3))
    point = a + s[..., None] * (b - a) + (s * t)[..., None] * (c - b)
    length = np.linalg.norm(point, axis=-1)
    solid_angle = np.abs(np.linalg.det(triangles))[:, None, None] * s * np.outer(weight, weight) / length**3
    return Directions((point / length[..., None]).reshape(-1, 3), (solid_angle / solid_angle.sum()).reshape(-1))


def porod_waves(body: Polyhedron) -> dict[float, Float[np.ndarray, " part"]]:
    r"""Return the asymptotic form of $\langle|F|^2\rangle q^4$ at large q, as oscillations by a distance d.

    The keys d are the distances of two parallel faces. The key d = 0 belongs to the constant of Porod's law. The four
    values are the amplitudes of $\cos qd$, $\sin qd$, $\cos(qd) / \sqrt q$ and $\sin(qd) / \sqrt q$.

    A pair of parallel faces k and l contributes
    $\pm 4\pi [A_{kl} \cos qd - P_{kl} (d / 2\pi q)^{1/2} \cos(qd + \pi/4)]$, with the minus sign if their normals are
    opposite. $A_{kl}$ is the area of the overlap of their projections onto each other, and $P_{kl}$ the length of the
    edges that coincide in this projection. The second term is a Fresnel integral of the overlap of two shifted faces.
    The next terms are smaller by a factor of 1/q.
    """
    areas, plane_offsets = body.face_areas, np.sum(body.normals * body.face_corners, axis=1)
    waves_by_distance = {0.0: np.array([2 * np.pi * areas.sum(), 0, 0, 0])}
    for k in range(len(areas)):
        for m in range(k):
            normal_cosine = body.normals[k] @ body.normals[m]
            if abs(normal_cosine) > 1 - 1e-9 and (area := _shared_area(body, k, m)) > 1e-9 * areas.max():
                distance = float(np.round(abs(plane_offsets[k] - normal_cosine * plane_offsets[m]), 6))
                edge_amplitude = _shared_edge_length(body, k, m) * np.sqrt(distance / np.pi) / 2
                wave = 4 * np.pi * np.sign(normal_cosine) * np.array([area, 0, -edge_amplitude, edge_amplitude])
                waves_by_distance[distance] = waves_by_distance.get(distance, 0) + wave
    return waves_by_distance


def squared_radius_of_gyration(body: Polyhedron) -> float:
    """Return the square of the radius of gyration."""
    tetrahedra, volumes = _tetrahedra(body)
    sums = np.sum(tetrahedra.sum(axis=1) ** 2, axis=1) + np.sum(tetrahedra**2, axis=(1, 2))
    return float(volumes @ sums) / 20 / body.volume


def _hull_polyhedron(corners) -> Polyhedron:
    """Return the convex hull of corners, with the triangles in one plane merged into one face."""
    hull = ConvexHull(corners)
    planes = np.unique(np.round(hull.equations / np.array([1, 1, 1, np.ptp(corners)]), 9), axis=0)
    edge_starts, edge_ends, face_index = [], [], []
    for k, plane in enumerate(planes):
        plane_distances = corners @ plane[:3] + plane[3] * np.ptp(corners)
        face_corners = corners[hull.vertices][np.abs(plane_distances[hull.vertices]) < 1e-7 * np.ptp(corners)]
        centred_corners = face_corners - face_corners.mean(axis=0)
        angle = np.arctan2(
            np.cross(centred_corners[0], centred_corners) @ plane[:3], centred_corners @ centred_corners[0]
        )
        ordered_corners = face_corners[np.argsort(angle)]
        edge_starts.append(ordered_corners)
        edge_ends.append(np.roll(ordered_corners, -1, axis=0))
        face_index += [k] * len(ordered_corners)
    double_areas = [np.cross(start, end).sum(axis=0) for start, end in zip(edge_starts, edge_ends, strict=True)]
    normals = np.array([area / np.linalg.norm(area) for area in double_areas])
    return Polyhedron(np.concatenate(edge_starts), np.concatenate(edge_ends), np.array(face_index), normals)


def _edge_sum_amplitude(body: Polyhedron, q):
    """Return F(q) as a sum over faces and edges."""
    edges, middles = body.edge_ends - body.edge_starts, (body.edge_starts + body.edge_ends) / 2
    normal_component, in_plane_square = q @ body.normals.T, _in_plane_square(body, q)
    height = normal_component * np.sum(body.normals * body.face_corners, axis=1)
    half_phase, phase = q @ edges.T / 2, q @ middles.T - height[:, body.face_index]
    sinc = np.sinc(half_phase / np.pi)
    edge_terms = (sinc - 1 - 2 * sinc * np.sin(phase / 2) ** 2 + 1j * sinc * np.sin(phase)) * (
        q @ np.cross(edges, body.normals[body.face_index]).T
    )
    first_edges = np.unique(body.face_index, return_index=True)[1]
    face_sums = np.add.reduceat(edge_terms, first_edges, axis=1)
    is_head_on = in_plane_square < (MIN_IN_PLANE_PHASE / body.max_radius) ** 2
    face_amplitudes = np.where(
        is_head_on, 1j * body.face_areas, face_sums / np.where(is_head_on, 1.0, in_plane_square)
    ) * np.exp(1j * height)
    return -np.sum(normal_component * face_amplitudes, axis=1) / np.sum(q**2, axis=1)


def _radial_amplitudes(body: Polyhedron, unit_vectors, lengths):
    r"""Yield F(q) in all given directions for each length of q.

    Small q use the sum over edges. Larger q use a sum over corners v, which is faster:
    $F = q^{-3} \sum_v c_v e^{i\mathbf q\mathbf r_v}$, where $c_v$ depends on the direction only. This sum is inaccurate
    near directions in which $c_v$ diverges, but these directions have a small weight.
    """
    edges, normal_ratio = (
        body.edge_ends - body.edge_starts,
        unit_vectors @ body.normals.T / _in_plane_square(body, unit_vectors),
    )
    corners, corner_index = np.unique(
        np.round(np.append(body.edge_ends, body.edge_starts, axis=0), 9), axis=0, return_inverse=True
    )
    signs = np.zeros((len(edges), len(corners)))
    np.add.at(signs, (np.tile(np.arange(len(edges)), 2), corner_index), np.repeat([1.0, -1.0], len(edges)))
    slopes = (unit_vectors @ np.cross(edges, body.normals[body.face_index]).T) / (unit_vectors @ edges.T)
    factors = (normal_ratio[:, body.face_index] * slopes) @ signs
    projections = unit_vectors @ corners.T
    for q in lengths:
        use_edges = q * body.max_radius < MAX_EDGE_SUM_PHASE
        yield (
            amplitude(body, q * unit_vectors)
            if use_edges
            else 1j * np.sum(factors * np.exp(1j * q * projections), axis=1) / q**3
        )


def _in_plane_square(body: Polyhedron, q):
    """Return the squared length of the component of q within the plane of each face."""
    first_edges = np.unique(body.face_index, return_index=True)[1]
    in_plane_axis = body.edge_ends[first_edges] - body.edge_starts[first_edges]
    in_plane_axis = in_plane_axis / np.linalg.norm(in_plane_axis, axis=1, keepdims=True)
    return (q @ in_plane_axis.T) ** 2 + (q @ np.cross(body.normals, in_plane_axis).T) ** 2


def _series_amplitude(body: Polyhedron, q):
    r"""Return F(q) by a power series in q.

    The moments over a tetrahedron T of volume V are $\int_T (\mathbf q\mathbf r)^n d^3r = 6V\, n!/(n+3)!\, h_n$, where
    $h_n$ is the complete homogeneous symmetric polynomial of $\mathbf q\mathbf r$ at its four corners.
    """
    tetrahedra, volumes = _tetrahedra(body)
    phases = 1j * np.einsum("qi,tci->qtc", q, tetrahedra)
    symmetric_sums = np.zeros((N_SERIES_TERMS, *phases.shape[:2]), complex)
    symmetric_sums[0] = 1
    for corner in range(1, 4):  # The first corner is the origin and contributes nothing.
        for n in range(1, N_SERIES_TERMS):
            symmetric_sums[n] += phases[..., corner] * symmetric_sums[n - 1]
    factors = 6 / np.cumprod(np.append(6.0, np.arange(4, N_SERIES_TERMS + 3)))
    return np.einsum("n,nqt,t->q", factors, symmetric_sums, volumes)


def _tetrahedra(body: Polyhedron):
    """Return tetrahedra between the origin and triangles of the faces, [tetrahedron 4 3], and their signed volumes."""
    face_corners = body.face_corners[body.face_index]
    tetrahedra = np.stack([np.zeros_like(face_corners), face_corners, body.edge_starts, body.edge_ends], axis=1)
    return tetrahedra, np.linalg.det(tetrahedra[:, 1:]) / 6


def _quadrature_orders(max_phase, triangles):
    """Return the number of Gauss points in each dimension of the spherical triangles, for each largest phase.

    The phase is q times the distance of the farthest corner. The numbers are multiples of 8, so that many q share the
    same points.
    """
    edge_cosines = np.einsum("tci,tci->tc", triangles, np.roll(triangles, 1, axis=1))
    return (8 * np.ceil(2 + 0.08 * np.arccos(edge_cosines.min()) * max_phase)).astype(int)


def _shared_area(body: Polyhedron, k: int, m: int) -> float:
    """Return the area of the overlap of two parallel convex faces that are projected onto each other."""
    normal = body.normals[k]
    in_plane_axis = np.linalg.svd(normal[None])[2][1]
    plane_axes = np.stack([in_plane_axis, np.cross(normal, in_plane_axis)], axis=1)
    half_planes = []
    for face_number in (k, m):
        on_face = body.face_index == face_number
        start, end = body.edge_starts[on_face] @ plane_axes, body.edge_ends[on_face] @ plane_axes
        outward_normals = np.stack([end[:, 1] - start[:, 1], start[:, 0] - end[:, 0]], axis=1)
        outward_normals = outward_normals / np.linalg.norm(outward_normals, axis=1, keepdims=True)
        outward_normals = outward_normals * np.sign(
            np.sum(outward_normals * (start - start.mean(axis=0)), axis=1, keepdims=True)
        )
        half_planes.append(np.column_stack([outward_normals, -np.sum(outward_normals * start, axis=1)]))
    return _half_plane_area(np.concatenate(half_planes))


def _half_plane_area(half_planes) -> float:
    """Return the area of the intersection of half planes, given as rows (n1, n2, -d) with n · r <= d."""
    inscribed_circle = linprog(
        [0, 0, -1],
        A_ub=np.column_stack([half_planes[:, :2], np.ones(len(half_planes))]),
        b_ub=-half_planes[:, 2],
        bounds=[(None, None), (None, None), (0, None)],
    )
    if not inscribed_circle.success or inscribed_circle.x[2] < 1e-9 * np.abs(half_planes[:, 2]).max():
        return 0.0
    return float(ConvexHull(HalfspaceIntersection(half_planes, inscribed_circle.x[:2]).intersections).volume)


def _shared_edge_length(body: Polyhedron, k: int, m: int) -> float:
    """Return the total length of the edges of two parallel faces that coincide when projected onto each other."""
    normal = body.normals[k]
    edges_by_face = []
    for face_number in (k, m):
        on_face = body.face_index == face_number
        start, end = (
            corners[on_face] - np.outer(corners[on_face] @ normal, normal)
            for corners in (body.edge_starts, body.edge_ends)
        )
        edges_by_face.append(((start + end) / 2, np.linalg.norm(end - start, axis=1)))
    (first_middles, first_lengths), (second_middles, second_lengths) = edges_by_face
    mismatch = np.linalg.norm(first_middles[:, None] - second_middles, axis=-1) + np.abs(
        first_lengths[:, None] - second_lengths
    )
    return float(first_lengths @ (mismatch.min(axis=1) < 1e-6 * body.max_radius))
