r"""Which words of close-packed layers a measured G(r) shows: all words of a particle's layers at once.

Each layer may sit over three places; the pairs of two layers depend on theirs alone, so that the sum over pairs of a
word is one over pairs of layers, $y = \sum_{a \le b} y_{ab}(s_a, s_b)$, and thousands of words cost no more than one
particle.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from jaxstruc.structures import lattices

MOST = 14
"""Layers whose words are all tried; of more layers the lowest are cubic."""
PLACES = np.array([[0.0, 0.0, 0.0], [0.0, lattices.HOLLOW, 0.0], [0.0, -lattices.HOLLOW, 0.0]])
"""Of a layer, in bonds."""


class Word(NamedTuple):
    """A stack of layers."""

    places: np.ndarray
    """[layer] 0, 1 or 2, from the lowest on."""
    misfit: float
    """Sum of squares."""

    @property
    def letters(self) -> str:
        """The letters of the inner layers, h or c, from the lowest on."""
        step = np.diff(self.places) % 3
        return "".join(np.where(step[1:] == step[:-1], "c", "h"))


def layers(positions: Float[np.ndarray, "atom 3"]) -> list[np.ndarray]:
    """Return the atoms of each layer [atom, 3] of a stack along z, from the lowest on.

    Args:
        positions: sites of a stack as `lattices.stack` makes it, in bonds, moved as a whole or not.
    """
    level = np.round((positions[:, 2] - positions[:, 2].min()) / lattices.LAYER).astype(int)
    return [positions[level == k] for k in range(level.max() + 1)]


def ball(layer: np.ndarray, heights: Sequence[float], radius: float) -> list[list[np.ndarray]]:
    """Return the atoms of layers of a ball about the origin, over each of three places [layer][place].

    Args:
        layer: atoms [atom, 3] of a layer at height 0 over place 0.
        heights: of the layers.
        radius: of the ball.
    """
    found = []
    for height in heights:
        every = [layer + place + np.array([0, 0, height]) for place in PLACES]
        found.append([one[np.linalg.norm(one, axis=1) <= radius] for one in every])
    return found


def shifted(positions: np.ndarray) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Return the atoms of a particle's layers over each of three places, its own moved to the others; and its own.

    Nothing where it has a gap.
    """
    each = layers(positions)
    own = np.zeros(len(each), int)
    if not all(len(one) for one in each):
        return [], own[:0]
    for k in range(1, len(each)):
        off = (each[k][0] - each[0][0])[:2] - PLACES[:, :2]
        # a layer's vectors are whole numbers of (1, 0) and (1/2, sqrt(3)/2)
        second = off[:, 1] / np.sqrt(0.75)
        first = off[:, 0] - second / 2
        wrong = abs(first - np.round(first)) + abs(second - np.round(second))
        own[k] = int(np.argmin(wrong))
    return [[one + PLACES[place] - PLACES[at] for place in range(3)] for one, at in zip(each, own, strict=True)], own


def ranked(
    groups: Sequence[Sequence[np.ndarray]],
    curves: Float[np.ndarray, "third basis"],
    data: Float[np.ndarray, " basis"],
    *,
    absolute: bool,
    most: int,
) -> list[Word]:
    """Return the words that fit best, each once whichever end is up.

    Args:
        groups: atoms [atom, 3] of each layer over each place, in bonds.
        curves: of a pair, times the number of atoms, at each of `distances`.
        data: in the basis.
        absolute: whether the scale is 1; else the best counts.
        most: words.
    """
    count = len(groups)
    pairs = _pairs(groups, curves)
    atoms = np.array([[len(one) for one in layer] for layer in groups])
    places = np.arange(3, dtype=np.int8)[:, None]
    sums, sizes = pairs[0, :, 0, :].diagonal().T.copy(), atoms[0].astype(float)
    for b in range(1, count):
        turns = [1, 2] if count - b <= MOST or b == 1 else [0]
        grown = []
        for turn in turns:
            place = (places[:, -1] + turn) % 3 if turn else (2 * places[:, -1] - places[:, -2]) % 3
            added = pairs[b, place, b, place]
            for a in range(b):
                added += pairs[a, places[:, a], b, place]
            grown.append((np.concatenate([places, place[:, None]], 1), sums + added, sizes + atoms[b, place]))
        places, sums, sizes = (np.concatenate(columns) for columns in zip(*grown, strict=True))
    model = sums / sizes[:, None]
    along, square = model @ data, np.einsum("ij,ij->i", model, model)
    misfit = data @ data - (2 * along - square if absolute else np.maximum(along, 0) ** 2 / square)
    found: dict[str, Word] = {}
    for row in np.argsort(misfit, kind="stable"):
        word = Word(places[row], float(misfit[row]))
        found.setdefault(min(word.letters, word.letters[::-1]), word)
        if len(found) == most:
            break
    return list(found.values())


def distances(longest: float) -> Float[np.ndarray, " third"]:
    """Return the distances that atoms of close-packed layers can have, up to the longest; squares are thirds of bonds².

    The first and the last stand for none.
    """
    return np.sqrt(np.maximum(np.arange(int(3 * longest**2) + 2), 1) / 3)


def _pairs(groups, curves) -> Float[np.ndarray, "layer place layer place basis"]:
    """Return the sums over pairs within and between layers."""
    count, bins = len(groups), len(curves)
    curves = np.concatenate([np.zeros_like(curves[:1]), curves[1:-1], np.zeros_like(curves[:1])])
    every = [one for layer in groups for one in layer]
    owner = np.repeat(np.arange(3 * count), [len(one) for one in every])
    positions = np.concatenate(every)
    found = np.zeros((3 * count, 3 * count, curves.shape[1]), np.float32)
    starts = np.searchsorted(owner, np.arange(3 * count + 1))
    for g in range(3 * count):  # with the layers below, and the layer itself, whose pairs are met twice
        some, below = slice(starts[g], starts[g + 1]), slice(starts[3 * (g // 3) + 3])
        squares = cdist(positions[some], positions[below], "sqeuclidean")
        apart = np.minimum(np.rint(3 * squares), bins - 1).astype(np.int64)
        groups_below = 3 * (g // 3) + 3
        sums = np.bincount((owner[below] * bins + apart).ravel(), minlength=groups_below * bins)
        sums = sums.reshape(groups_below, bins).astype(np.float32)
        sums[g] /= 2
        found[:groups_below, g] = sums @ curves
    return found.reshape(count, 3, count, 3, -1)


def word_of(word: Word, *, layer: int, other: bool = False) -> str:
    """Return a stack's word for `lattices.stack`, with one of the layers as its layer 0.

    Args:
        word: of the layers that there are.
        layer: its layer 0.
        other: whether the layers beyond are not of the letter that most inner layers have, but of the other.
    """
    hexagonal = 2 * word.letters.count("h") > len(word.letters)
    beyond = "h" if hexagonal != other else "c"
    letters = beyond + word.letters + beyond
    return letters[layer:] + beyond * (64 - len(letters)) + letters[:layer]
