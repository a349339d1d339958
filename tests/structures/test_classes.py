"""Classes of clusters by packing and size, and the balls beyond the library."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.structures import classes, families, kinds, lattices, library
from jaxstruc.structures.library import WIDTH


@pytest.fixture(scope="module")
def own():
    listed = (families.fcc(30, 200), families.icosahedra(13, 200), families.twin(60, 120))
    return library.collect(itertools.chain(*(itertools.islice(some, 150) for some in listed)))


def packings(own):
    return np.array([classes.PACKINGS[family] for family in own.families], object)


@pytest.fixture(scope="module")
def found(own):
    return classes.classes(own, np.arange(len(own.atoms)), packings(own))


def test_a_class_is_the_mean_of_its_compact_members(own, found):
    every = np.arange(len(own.atoms))
    size = classes.size(own, every)
    compact = (own.diameter + 1) / size <= classes.COMPACT
    at = int(np.argmax(found.members))
    place = np.rint(np.log(size) / classes.STEP) == np.rint(np.log(found.sizes[found.place[at]]) / classes.STEP)
    rows = np.flatnonzero(compact & place & (packings(own) == found.packings[found.packing[at]]))
    assert len(rows) == found.members[at] > 3
    assert found.size[at] == pytest.approx(size[rows].mean(), rel=1e-6)
    pairs = np.mean([own.weight[own.bins[row] : own.bins[row + 1]].sum() / own.atoms[row] for row in rows])
    weight, mean, variance, _ = found.histogram
    assert weight[at].sum() == pytest.approx(pairs, rel=1e-5) == pytest.approx(np.mean(own.atoms[rows] - 1), rel=1e-5)
    squares = np.mean(
        [(pdist(library.cluster(own, int(row)).positions) ** 2).sum() * 2 / own.atoms[row] for row in rows]
    )
    assert (weight[at] * (mean[at] ** 2 + variance[at])).sum() == pytest.approx(squares, rel=1e-4)


def test_balls_beyond_the_library_are_means_over_places(found):
    """The share of pairs kept, against balls that are cut about many places."""
    fcc = np.flatnonzero((found.packing == found.packings.index("fcc")) & (found.members == 0))
    at = fcc[0]
    points, rng = lattices.stack("c", reach=12), np.random.default_rng(0)
    counts = np.zeros(8)
    total = 0
    for centre in rng.uniform(-1, 1, (60, 3)):
        ball = points[np.linalg.norm(points - centre, axis=1) < found.size[at] / 2]
        counts += np.histogram(pdist(ball), bins=np.arange(0.5, 9, 1))[0] * 2
        total += len(ball)
    weight, mean = found.histogram.weight[at], found.histogram.mean[at]
    ours = np.histogram(mean, bins=np.arange(0.5, 9, 1), weights=weight)[0]
    np.testing.assert_allclose(ours, counts / total, rtol=0.03, atol=0.05)


def test_sizes_are_even_in_the_logarithm_and_reach_far_beyond_the_library(found):
    np.testing.assert_allclose(np.diff(np.log(found.sizes)), classes.STEP)
    assert found.sizes[-1] == pytest.approx(classes.LARGEST, rel=0.03)
    np.testing.assert_allclose(found.size, found.sizes[found.place], rtol=0.04)
    assert {"fcc", "icosahedron", "twin"} == set(found.packings)
    assert found.histogram.weight.shape[1] == round(classes.BEYOND / WIDTH)


@pytest.mark.parametrize(("packing", "size", "kind"), [
    ("twin", 6.0, "faulted"), ("twin", 12.0, "fcc"), ("fault", 12.0, "faulted"), ("fcc", 6.0, "fcc"), ("sc", 5.0, "sc"),
    ("other", 5.0, ""), ("faulted", 5.0, "faulted"),
])  # fmt: skip
def test_one_twin_plane_in_a_large_particle_is_no_fault(packing, size, kind):
    assert classes._type(packing, size) == kind


def test_a_size_without_a_compact_cluster_has_its_most_compact_one():
    rods = library.of_clusters(
        [lattices.centred("fcc", f"rod {n}", np.arange(n)[:, None] * np.eye(3)[0]) for n in (20, 30)]
    )
    found = classes.classes(rods, np.arange(2), np.array(["fcc", "fcc"], object))
    assert found.members.sum() == 2


@pytest.mark.parametrize("packing", ["icosahedron", "decahedron"])
def test_five_fold_balls_have_the_neighbours_of_a_close_packing(packing):
    sums = classes._ball(packing, 15.0)
    near = sums[0][: round(1.2 / WIDTH)].sum()
    assert 10 < near < 12 and classes._ball("bcc", 15.0) is None


def test_a_ball_far_off_the_five_fold_middle_is_of_no_packing():
    large = library.collect(
        itertools.chain(families.icosahedra(60, 300), itertools.islice(families.decahedra(60, 300), 200))
    )
    found = classes.packings(large, np.arange(len(large.atoms)))
    kinds_ = [kinds.kind(library.cluster(large, row).positions).type for row in range(len(found))]
    kept = found != ""
    right = np.mean(found[kept] == np.array(kinds_, object)[kept])
    wrong = np.mean(np.array(kinds_, object)[~kept] == large.families[~kept])
    assert 0.8 < kept.mean() < 0.98 and right > 0.98 and wrong < 0.6
    few = classes.classes(large, np.arange(len(found)), found)
    assert set(few.packings) == {"icosahedron", "decahedron"}
