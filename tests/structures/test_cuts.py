import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.structures import cuts, kinds
from jaxstruc.structures.cuts import TYPES

ROOM, COUNT = 120, 140


@pytest.fixture(scope="module")
def made():
    """Twenty particles of each packing, of 60 to 120 atoms."""
    own = cuts.packings(ROOM)
    draw = jax.jit(lambda key: cuts.chances(key, own, count=COUNT, room=ROOM))
    atoms = jax.random.randint(jax.random.key(1), (COUNT,), 60, ROOM + 1)
    many = jax.jit(lambda *drawn: jax.lax.map(lambda one: cuts.cut(*one, own, room=ROOM), drawn))
    found = many(draw(jax.random.key(0)), jnp.arange(COUNT) % len(cuts.PACKINGS), atoms)
    return jax.tree.map(np.asarray, found), np.asarray(atoms)


def test_atoms_show_the_type_that_a_cut_says(made):
    """`kinds` finds type and share of hexagonal layers by the atoms alone, in all but a few."""
    found, _ = made
    wrong = 0
    rows = np.flatnonzero(found.whole & found.shown)
    for row in rows:
        kind = kinds.kind(found.positions[row][found.mask[row]])
        share = np.nan_to_num(kind.hexagonal, nan=-1), np.nan_to_num(found.hexagonal[row], nan=-1)
        wrong += kind.type != TYPES[found.type[row]] or abs(share[0] - share[1]) > 1e-3
    assert len(rows) > 0.9 * COUNT and wrong <= 3


def test_a_cut_has_at_most_the_atoms_asked_for_and_never_two_in_one_place(made):
    found, asked = made
    count = found.mask.sum(axis=1)
    assert (count <= asked).all() and np.median(count / asked) > 0.85
    for row in np.flatnonzero(found.whole):
        x = found.positions[row][found.mask[row]]
        assert 0.7 < pdist(x).min() < 1.1
        np.testing.assert_allclose(found.positions[row][~found.mask[row]], 0)


def test_cuts_differ_and_all_kinds_come(made):
    found, _ = made
    each = zip(found.positions, found.mask, strict=True)
    assert len({round(float(pdist(x[mask]).sum()), 2) for x, mask in each}) > 0.9 * COUNT
    assert set(found.type[found.shown]) == set(range(len(TYPES)))
    assert found.aspect[found.whole].min() >= 1 and np.percentile(found.aspect[found.whole], 90) > 1.25
