r"""Polyhedra: the amplitude of a body with flat faces, and the average of its square over all orientations.

Gauss's theorem, used twice, turns the integral over the body into one over faces k and those into edges j:

$$F(\mathbf q) = \int e^{i\mathbf q\mathbf r} d^3r = -\frac{1}{q^2} \sum_k \frac{\mathbf q\mathbf n_k}{q_{k\parallel}^2}
\sum_j \mathbf q(\mathbf E_j \times \mathbf n_k)\, \mathrm{sinc}(\mathbf q\mathbf E_j/2)\, e^{i\mathbf q\mathbf R_j}$$

n is a face's outward normal, E an edge (anticlockwise from outside), R its middle, q_par the part of q within the face.
B. Croset, J. Appl. Cryst. 50, 1245 (2017), doi 10.1107/S1600576717010147; J. Wuttke, J. Appl. Cryst. 54, 580 (2021),
doi 10.1107/S160057672100171X. Faces seen head on and small q, where terms cancel: 1 is taken off each exponential,
since the E of a face add up to nothing, and below `SMALL` a power series over tetrahedra serves.

In NumPy and double precision: this makes tables (`particle`), once a body.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection

SMALL = 1.0
"""q times the farthest corner's distance, below which the series serves."""
TERMS = 24
"""Of the series: the next is 1 / (3 + TERMS)! at most."""
GOLDEN = (1 + np.sqrt(5)) / 2
NEAR = 8.0
"""The same, below which averages are by edges, not by corners, which are quicker."""
HEAD_ON = 1e-8
"""The part of q within a face times that distance, below which a face is seen head on."""
CHUNK = 1024
"""Directions at a time."""
OCTANTS = np.array([[[0, 0, 1], [x, 0, 0], [0, y, 0]] for x in (1, -1) for y in (1, -1)], float)
"""Spherical triangles of all directions but for the inversion, which changes no |F|² and no real part of F."""


class Polyhedron(NamedTuple):
    """Corners of faces, one after the other; no more is needed of a body."""

    starts: Float[np.ndarray, "edge 3"]
    """First corner of each edge of each face, anticlockwise from outside."""
    ends: Float[np.ndarray, "edge 3"]
    """Its last corner."""
    face: Int[np.ndarray, " edge"]
    """Which face it bounds."""
    normals: Float[np.ndarray, "face 3"]
    """Unit vectors outward."""

    @property
    def corner(self) -> Float[np.ndarray, "face 3"]:
        """One corner of each face."""
        return self.starts[np.unique(self.face, return_index=True)[1]]

    @property
    def areas(self) -> Float[np.ndarray, " face"]:
        """Of the faces."""
        double = np.zeros_like(self.normals)
        np.add.at(double, self.face, np.cross(self.starts, self.ends))
        return np.sum(double * self.normals, axis=1) / 2

    @property
    def volume(self) -> float:
        """Of the body."""
        return float(self.areas @ np.sum(self.normals * self.corner, axis=1)) / 3

    @property
    def reach(self) -> float:
        """Distance of the farthest corner from the origin."""
        return float(np.linalg.norm(self.starts, axis=1).max())


class Directions(NamedTuple):
    """Directions that stand for all, with their weights, which sum to 1."""

    unit: Float[np.ndarray, "direction 3"]
    weight: Float[np.ndarray, " direction"]


def convex(corners: Float[np.ndarray, "corner 3"]) -> Polyhedron:
    """Return the convex body with these corners, its centre of volume at the origin.

    Raises:
        ValueError: where they span no volume.
    """
    return centred(hull(corners))


def hull(corners: Float[np.ndarray, "corner 3"]) -> Polyhedron:
    """Return the convex body with these corners, where they are.

    Raises:
        ValueError: where they span no volume.
    """
    corners = np.asarray(corners, float)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 4 or not np.isfinite(corners).all():
        raise ValueError(f"Expected at least four corners [corner, 3], got an array of {corners.shape}.")
    if np.linalg.matrix_rank(corners - corners.mean(axis=0), tol=1e-6 * np.ptp(corners)) < 3:
        raise ValueError("Expected corners that span a volume, got all in one plane; add one outside of it.")
    return _faces(corners)


def joined(pieces: list[Polyhedron]) -> Polyhedron:
    """Return one body of pieces that touch; the faces between them, whose parts cancel, are left out."""
    counts = np.cumsum([0, *[len(piece.normals) for piece in pieces]])
    faces = np.concatenate([piece.face + count for piece, count in zip(pieces, counts[:-1], strict=True)])
    starts, ends = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
    normals = np.concatenate([piece.normals for piece in pieces])
    middles = np.array([np.append(starts[faces == k].mean(axis=0), np.abs(normals[k])) for k in range(len(normals))])
    apart = np.abs(middles[:, None] - middles).max(axis=-1) > 1e-6 * np.abs(starts).max()
    outside = np.flatnonzero(np.all(apart | np.eye(len(apart), dtype=bool), axis=1))
    kept = np.isin(faces, outside)
    return centred(Polyhedron(starts[kept], ends[kept], np.searchsorted(outside, faces[kept]), normals[outside]))


def centred(body: Polyhedron) -> Polyhedron:
    """Return a body moved so that its centre of volume is the origin."""
    tetrahedra, volumes = _tetrahedra(body)
    centre = volumes @ tetrahedra.sum(axis=1) / 4 / volumes.sum()
    return body._replace(starts=body.starts - centre, ends=body.ends - centre)


def amplitude(body: Polyhedron, q: Float[np.ndarray, "*q 3"]) -> Complex[np.ndarray, "*q"]:
    """Return F(q), the integral of exp(iqr) over the body, at wave vectors."""
    flat = np.reshape(np.asarray(q, float), (-1, 3))
    small = np.linalg.norm(flat, axis=1) * body.reach < SMALL
    found = np.empty(len(flat), complex)
    found[small] = _series(body, flat[small])
    found[~small] = _by_edges(body, flat[~small])
    return found.reshape(np.shape(q)[:-1])


def averages(body: Polyhedron, q: Float[np.ndarray, " q"], domain: Float[np.ndarray, "triangle 3 3"] | None = None):
    """Return the orientation averages of |F|² and of F over their values at q = 0, [2, q].

    Args:
        body: any.
        q: lengths of the wave vector, in 1 over the unit of the corners.
        domain: spherical triangles, by their corners, that stand for all directions by the body's symmetry, to
            which the inversion always adds itself [half of the octants].
    """
    domain = OCTANTS if domain is None else domain
    found, orders = np.zeros((2, len(q))), _orders(q * body.reach, domain)
    for level in np.unique(orders):
        which, at = np.flatnonzero(orders == level), directions(domain, int(level))
        for k in range(0, len(at.unit), CHUNK):
            unit, weight = at.unit[k : k + CHUNK], at.weight[k : k + CHUNK]
            for i, value in zip(which, _along(body, unit, q[which]), strict=True):
                found[:, i] += weight @ np.stack([np.abs(value) ** 2, value.real], axis=1)
    return found / [[body.volume**2], [body.volume]]


def directions(triangles: Float[np.ndarray, "triangle 3 3"], count: int) -> Directions:
    r"""Return Gauss points in spherical triangles, count² in each.

    $p = a + s(b - a) + st(c - b)$ covers the flat triangle; $d\Omega = |\det(a, b, c)|\, s\, ds\, dt / |p|^3$.
    """
    node, weight = np.polynomial.legendre.leggauss(count)
    s, t = np.meshgrid((node + 1) / 2, (node + 1) / 2, indexing="ij")
    a, b, c = (triangles[:, i, None, None] for i in range(3))
    point = a + s[..., None] * (b - a) + (s * t)[..., None] * (c - b)
    length = np.linalg.norm(point, axis=-1)
    share = np.abs(np.linalg.det(triangles))[:, None, None] * s * np.outer(weight, weight) / length**3
    return Directions((point / length[..., None]).reshape(-1, 3), (share / share.sum()).reshape(-1))


def porod(body: Polyhedron) -> dict[float, Float[np.ndarray, " part"]]:
    r"""Return what $\langle|F|^2\rangle q^4$ tends to, by distances d of parallel faces, 0 for the constant.

    The parts of a distance are amplitudes of cos(qd), sin(qd), and of both over the root of q. Faces k and l in
    parallel planes: $\pm 4\pi [A_{kl} \cos qd - P_{kl} (d / 2\pi q)^{1/2} \cos(qd + \pi/4)]$, minus where their normals
    are opposite. A is the area that their projections share and P the length of edges that they share: the Fresnel
    integral of the area that is left when one is moved. What follows is 1/q smaller.
    """
    areas, offset = body.areas, np.sum(body.normals * body.corner, axis=1)
    waves = {0.0: np.array([2 * np.pi * areas.sum(), 0, 0, 0])}
    for k in range(len(areas)):
        for m in range(k):
            same = body.normals[k] @ body.normals[m]
            if abs(same) > 1 - 1e-9 and (area := _shared_area(body, k, m)) > 1e-9 * areas.max():
                distance = float(np.round(abs(offset[k] - same * offset[m]), 6))
                root = _shared_edges(body, k, m) * np.sqrt(distance / np.pi) / 2
                wave = 4 * np.pi * np.sign(same) * np.array([area, 0, -root, root])
                waves[distance] = waves.get(distance, 0) + wave
    return waves


def gyration(body: Polyhedron) -> float:
    """Return the square of the radius of gyration."""
    tetrahedra, volumes = _tetrahedra(body)
    sums = np.sum(tetrahedra.sum(axis=1) ** 2, axis=1) + np.sum(tetrahedra**2, axis=(1, 2))
    return float(volumes @ sums) / 20 / body.volume


def _faces(corners) -> Polyhedron:
    """Return the faces of a convex hull, the triangles of one plane merged."""
    hull = ConvexHull(corners)
    planes = np.unique(np.round(hull.equations / np.array([1, 1, 1, np.ptp(corners)]), 9), axis=0)
    starts, ends, face = [], [], []
    for k, plane in enumerate(planes):
        inside = corners @ plane[:3] + plane[3] * np.ptp(corners)
        flat = corners[hull.vertices][np.abs(inside[hull.vertices]) < 1e-7 * np.ptp(corners)]
        across = flat - flat.mean(axis=0)
        angle = np.arctan2(np.cross(across[0], across) @ plane[:3], across @ across[0])
        ring = flat[np.argsort(angle)]
        starts.append(ring)
        ends.append(np.roll(ring, -1, axis=0))
        face += [k] * len(ring)
    twice = [np.cross(start, end).sum(axis=0) for start, end in zip(starts, ends, strict=True)]
    normals = np.array([area / np.linalg.norm(area) for area in twice])
    return Polyhedron(np.concatenate(starts), np.concatenate(ends), np.array(face), normals)


def _by_edges(body: Polyhedron, q):
    """Return F(q) by faces and edges."""
    edges, middles = body.ends - body.starts, (body.starts + body.ends) / 2
    normal, inside = q @ body.normals.T, _within(body, q)
    height = normal * np.sum(body.normals * body.corner, axis=1)
    half, phase = q @ edges.T / 2, q @ middles.T - height[:, body.face]
    sinc = np.sinc(half / np.pi)
    around = (sinc - 1 - 2 * sinc * np.sin(phase / 2) ** 2 + 1j * sinc * np.sin(phase)) * (
        q @ np.cross(edges, body.normals[body.face]).T
    )
    first = np.unique(body.face, return_index=True)[1]
    total = np.add.reduceat(around, first, axis=1)
    head_on = inside < (HEAD_ON / body.reach) ** 2
    face = np.where(head_on, 1j * body.areas, total / np.where(head_on, 1.0, inside)) * np.exp(1j * height)
    return -np.sum(normal * face, axis=1) / np.sum(q**2, axis=1)


def _along(body: Polyhedron, unit, lengths):
    r"""Yield F(q) in these directions for one length of q after the other.

    By edges at first; then by corners, since along one direction $F = q^{-3} \sum_v c_v e^{i\mathbf q\mathbf r_v}$ with
    c of the direction alone. Where it is near to singular the weight of the directions is small.
    """
    edges, normal = body.ends - body.starts, unit @ body.normals.T / _within(body, unit)
    corners, which = np.unique(np.round(np.append(body.ends, body.starts, axis=0), 9), axis=0, return_inverse=True)
    signs = np.zeros((len(edges), len(corners)))
    np.add.at(signs, (np.tile(np.arange(len(edges)), 2), which), np.repeat([1.0, -1.0], len(edges)))
    slopes = (unit @ np.cross(edges, body.normals[body.face]).T) / (unit @ edges.T)
    factors = (normal[:, body.face] * slopes) @ signs
    place = unit @ corners.T
    for q in lengths:
        near = q * body.reach < NEAR
        yield amplitude(body, q * unit) if near else 1j * np.sum(factors * np.exp(1j * q * place), axis=1) / q**3


def _within(body: Polyhedron, q):
    """Return the square of the part of q within each face's plane."""
    first = np.unique(body.face, return_index=True)[1]
    along = body.ends[first] - body.starts[first]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return (q @ along.T) ** 2 + (q @ np.cross(body.normals, along).T) ** 2


def _series(body: Polyhedron, q):
    r"""Return F(q) by powers: $\int_T (\mathbf q\mathbf r)^n = 6V\, n!/(n+3)!\, h_n$, h the complete symmetric sums."""
    tetrahedra, volumes = _tetrahedra(body)
    place = 1j * np.einsum("qi,tci->qtc", q, tetrahedra)
    sums = np.zeros((TERMS, *place.shape[:2]), complex)
    sums[0] = 1
    for corner in range(1, 4):  # the first corner is the origin, whose powers are 0
        for n in range(1, TERMS):
            sums[n] += place[..., corner] * sums[n - 1]
    factor = 6 / np.cumprod(np.append(6.0, np.arange(4, TERMS + 3)))
    return np.einsum("n,nqt,t->q", factor, sums, volumes)


def _tetrahedra(body: Polyhedron):
    """Return tetrahedra from the origin to triangles of the faces, [tetrahedron 4 3], and their signed volumes."""
    corner = body.corner[body.face]
    tetrahedra = np.stack([np.zeros_like(corner), corner, body.starts, body.ends], axis=1)
    return tetrahedra, np.linalg.det(tetrahedra[:, 1:]) / 6


def _orders(reach, triangles):
    """Return how many Gauss points a side of the triangles need, in steps, for the farthest corner's phase."""
    cosine = np.einsum("tci,tci->tc", triangles, np.roll(triangles, 1, axis=1))
    return (8 * np.ceil(2 + 0.08 * np.arccos(cosine.min()) * reach)).astype(int)


def _shared_area(body: Polyhedron, k: int, m: int) -> float:
    """Return the area that the projections of two parallel convex faces share."""
    normal = body.normals[k]
    first = np.linalg.svd(normal[None])[2][1]
    plane = np.stack([first, np.cross(normal, first)], axis=1)
    rows = []
    for which in (k, m):
        here = body.face == which
        start, end = body.starts[here] @ plane, body.ends[here] @ plane
        out = np.stack([end[:, 1] - start[:, 1], start[:, 0] - end[:, 0]], axis=1)
        out = out / np.linalg.norm(out, axis=1, keepdims=True)
        out = out * np.sign(np.sum(out * (start - start.mean(axis=0)), axis=1, keepdims=True))
        rows.append(np.column_stack([out, -np.sum(out * start, axis=1)]))
    return _overlap(np.concatenate(rows))


def _overlap(lines) -> float:
    """Return the area of the region on the inner side of all lines [line, (n1, n2, -d)]."""
    best = linprog([0, 0, -1], A_ub=np.column_stack([lines[:, :2], np.ones(len(lines))]), b_ub=-lines[:, 2],
                   bounds=[(None, None), (None, None), (0, None)])  # fmt: skip
    if not best.success or best.x[2] < 1e-9 * np.abs(lines[:, 2]).max():
        return 0.0
    return float(ConvexHull(HalfspaceIntersection(lines, best.x[:2]).intersections).volume)


def _shared_edges(body: Polyhedron, k: int, m: int) -> float:
    """Return the length of edges of two parallel faces that lie over each other."""
    normal = body.normals[k]
    places = []
    for which in (k, m):
        here = body.face == which
        start, end = (part[here] - np.outer(part[here] @ normal, normal) for part in (body.starts, body.ends))
        places.append(((start + end) / 2, np.linalg.norm(end - start, axis=1)))
    (first, lengths), (second, others) = places
    apart = np.linalg.norm(first[:, None] - second, axis=-1) + np.abs(lengths[:, None] - others)
    return float(lengths @ (apart.min(axis=1) < 1e-6 * body.reach))
