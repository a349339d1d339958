import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.network import stock
from jaxstruc.structures import cuts, kinds, library
from jaxstruc.structures.cuts import TYPES

ROOMS = (24, 60)


@pytest.fixture(scope="module")
def small():
    """A library of clusters of up to 140 atoms, and what its atoms show."""
    own = library.cached(("fcc", "hcp", "bcc", "icosahedron", "decahedron", "sc", "fault"), max_atoms=140)
    kept = np.linspace(0, len(own.atoms) - 1, 150).astype(int)
    own = library.of_clusters([library.cluster(own, row) for row in kept])
    return own, [kinds.kind(library.cluster(own, row).positions) for row in range(len(own.atoms))]


@pytest.fixture(scope="module")
def drawn(small):
    """A draw of few samples, and its stock."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROOMS": ROOMS, "NEW": 2, "USED": 2, "LISTED": 20, "COUNT": 48}.items():
            patch.setattr(stock, name, value)
        own = stock.stock(*small)
        found = jax.jit(stock.samples)(jax.random.key(0), own)
        return jax.tree.map(np.asarray, found), own


def test_bins_hold_each_pair_twice():
    x = np.random.default_rng(0).normal(size=(30, 3)) * 2
    bins = stock.binned(x)
    assert bins.sum() == pytest.approx(29, rel=1e-5)
    assert bins @ np.arange(stock.BINS) * stock.BIN / 29 == pytest.approx(pdist(x).mean(), rel=1e-5)


def test_samples_of_all_sources_hold_their_pairs(drawn):
    """The ordered pairs an atom are one less than the atoms, of particles that end within the bins."""
    found, _ = drawn
    assert np.bincount(found.source).tolist() == [8, 20, 20]
    single = (found.source != stock.MANY) & np.isfinite(found.values[:, 0])
    np.testing.assert_allclose(found.histogram[single].sum(axis=1), found.values[single, 0] - 1, rtol=1e-3)


def test_the_longest_distance_is_the_last_bin(drawn):
    found, _ = drawn
    for row in np.flatnonzero((found.source != stock.MANY) & np.isfinite(found.values[:, 0])):
        last = np.flatnonzero(found.histogram[row] > 1e-7)[-1] * stock.BIN
        assert last == pytest.approx(found.values[row, 1], abs=0.03)


def test_distributions_have_widths_and_no_aspect(drawn):
    found, _ = drawn
    many, width = found.source == stock.MANY, found.values[:, 2]
    assert np.median(width[many]) > 0.1 and width[many].max() < 0.45 and np.isnan(found.values[many, 4]).all()
    assert (width[~many & np.isfinite(width)] == 0).all()
    assert (found.type[many] >= 0).all() and np.isfinite(found.histogram).all()


def test_held_out_sizes_are_never_drawn(small, drawn):
    """Of the listed clusters of 120 to 135 atoms there are some in the library, and none in the stock."""
    _, own = drawn
    atoms = np.asarray(own.values[:, 0])
    low, high = stock.HELD[0]
    assert ((small[0].atoms >= low) & (small[0].atoms <= high)).any() and not ((atoms >= low) & (atoms <= high)).any()
    held = np.asarray(stock.stock(*small, held=True).values[:, 0])
    assert len(held) and ((held >= low) & (held <= high)).all()


def test_what_atoms_show_is_found_once(small, tmp_path):
    own, shown = small
    few = library.of_clusters([library.cluster(own, row) for row in range(5)])
    assert stock.shown(few, folder=tmp_path)[0].type == kinds.kind(library.cluster(few, 0).positions).type
    (path,) = tmp_path.glob("kinds-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    found = stock.shown(few, folder=tmp_path)
    assert [one.type for one in found] == [one.type for one in stock.shown(few, folder=tmp_path)]
    assert len(shown) == len(own.atoms) and {one.type for one in shown} <= {*TYPES, ""}


def test_cuts_of_a_draw_are_those_of_their_room(drawn):
    found, own = drawn
    assert len(own.rooms) == len(ROOMS) and own.rooms[1].sites.shape[0] == len(cuts.PACKINGS)
    sizes = np.sort(found.values[found.source == stock.CUT, 0])
    assert np.nanmax(sizes) <= ROOMS[1] and jnp.isfinite(sizes).sum() >= 6
