"""Families of clusters, elements and bond lengths to arrays on disk; splits; PDFs simulated on the device.

A data set keeps each shape once, with bond length 1, and for each PDF its shape, bond length and instrument. PDFs of a
single element depend on distances alone (f cancels), so one table of distinct distances a shape gives them all.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ase
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jaxstruc
from jaxstruc import files
from jaxstruc.network import representation
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.structures.atoms import Cluster, from_ase
from jaxstruc.structures.distances import Histogram, distinct
from jaxstruc.structures.shapes import fcc_family, fcc_shapes

GRID = Grid(qmin=0.0, qmax=30.0, qstep=0.1, rmin=0.0, rmax=30.0, rstep=0.1)
"""The model's grid: 301 points, KDD 2020 table 3."""

ELEMENTS = tuple("Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo Tc Ru Rh Pd Ag Cd La Hf Ta W Re Os Ir Pt Au Hg".split())
"""d-block metals of periods 4 to 6. Lanthanum stands for group 3 of period 6: lutetium has no tabulated radius."""

RANGES = {
    "uiso": (0.003, 0.025),  # Å²
    "delta2": (0.0, 5.0),  # Å²
    "qdamp": (0.01, 0.06),  # 1/Å
    "qmin": (0.0, 2.5),  # 1/Å
    "qmax": (10.0, 30.0),  # 1/Å
    "rmin": (0.0, 2.0),  # Å
    "rmax": (15.0, 30.0),  # Å
    "noise": (0.0, 0.15),  # white noise on F(Q), relative to the root mean square of F
}
"""Instruments of the `real` preset, drawn evenly."""

FACTORS = {
    "kdd": np.linspace(0.99, 1.01, 10),
    "kdd-shapes": np.ones(1),
    "real": np.linspace(0.97, 1.03, 10),
}
"""Bond lengths of an element, relative to its own."""

TEST = 137


class Conditions(NamedTuple):
    """What was drawn for each PDF; all [pdf]. Units as in `RANGES`."""

    uiso: Array
    delta2: Array
    qdamp: Array
    qmin: Array
    qmax: Array
    rmin: Array
    rmax: Array
    noise: Array


class Dataset(NamedTuple):
    """PDFs with their structures and conditions."""

    shapes: list[Cluster]
    shape: np.ndarray
    """[pdf] index into `shapes`."""
    bond: np.ndarray
    """[pdf] nearest-neighbour distance, in Å."""
    element: np.ndarray
    """[pdf] symbols; of several metals with one bond length, all, joined by a space."""
    conditions: Conditions
    pdf: np.ndarray
    """[pdf, 301] G(r) on `GRID`, in 1/Å², zero outside rmin to rmax."""
    preset: str
    seed: int


class Split(NamedTuple):
    """Indices of PDFs."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def generate(preset: str, *, seed: int, draws: int = 16, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Return a simulated data set.

    `kdd`: KDD 2020 section 4.3; bond lengths from the tabulated metallic radius, one instrument. Metals of equal radius
    give equal structures, which are merged. `kdd-shapes`: the same with the shapes of `shapes.fcc_shapes` and one
    bond length a metal. `real`: the shapes of `kdd` with real nearest-neighbour distances, `draws` random instruments
    for each structure.

    Args:
        preset: "kdd", "kdd-shapes" or "real".
        seed: of the conditions and the noise.
        draws: instruments for each structure; 1 but for real, whatever is asked.
        progress: called with PDFs done and in all.
    """
    shapes = list(fcc_shapes() if preset == "kdd-shapes" else fcc_family())
    shape, bond, element = _structures(preset, len(shapes))
    repeats = draws if preset == "real" else 1
    shape, bond, element = (np.repeat(column, repeats) for column in (shape, bond, element))
    key_conditions, key_noise = jax.random.split(jax.random.key(seed))
    make = _random_conditions if preset == "real" else _kdd_conditions
    conditions = make(key_conditions, len(shape))
    curves = _simulate_all(shapes, shape, bond, conditions, key_noise, progress)
    return Dataset(shapes, shape, bond, element, conditions, curves, preset, seed)


def split(dataset: Dataset, *, by: str, seed: int) -> Split:
    """Return a split of a data set.

    Args:
        dataset: to split.
        by: "random" keeps 137 structures for test and splits the others 4:1, as the paper; all PDFs of a structure stay
            together, but each shape is on every side. "shape" keeps whole shapes apart: about a quarter for test, an
            eighth for validation.
        seed: of the shuffle.
    """
    rng = np.random.default_rng(seed)
    if by == "shape":
        group = dataset.shape
        order = rng.permutation(len(dataset.shapes))
        tests, validations = len(order) // 4, max(1, len(order) // 8)
    else:
        _, group = np.unique(np.stack([dataset.shape, dataset.bond], axis=1), axis=0, return_inverse=True)
        order = rng.permutation(group.max() + 1)
        tests = min(TEST, len(order) // 5)
        validations = round((len(order) - tests) / 5)
    test, validation, train = np.split(order, [tests, tests + validations])
    return Split(*(np.flatnonzero(np.isin(group, part)) for part in (train, validation, test)))


def normalised(pdf: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
    """Return PDFs divided by their root mean square over the points that are not zero: the network's input.

    The measured scale is unknown, and points outside the data's r range are zero.
    """
    seen = pdf != 0
    count = jnp.maximum(jnp.sum(seen, axis=-1, keepdims=True), 1)
    square = jnp.sum(pdf**2, axis=-1, keepdims=True) / count
    return pdf / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def conditions_span(dataset: Dataset) -> dict[str, list[float]]:
    """Return lowest and highest value of each condition: what was drawn from, or what there is; units of `RANGES`."""
    if dataset.preset == "real":
        return {name: list(span) for name, span in RANGES.items()}
    named = dataset.conditions._asdict().items()
    return {name: [float(values.min()), float(values.max())] for name, values in named}


def shape_features(shapes: list[Cluster], *, atoms: int, satellites: int) -> representation.Features:
    """Return the unit-sphere features of each shape, stacked; the radius is that of bond length 1."""
    anchors = jnp.asarray(representation.satellites(satellites))
    each = [from_ase(shape.atoms("Au", bond=1.0), size=atoms) for shape in shapes]
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *each)
    return _features(stacked, anchors)


_features = jax.jit(jax.vmap(representation.features, in_axes=(0, None)))


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set to HDF5; the file appears whole or not at all, and equal data gives equal bytes."""
    with files.replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs["preset"], file.attrs["seed"] = dataset.preset, dataset.seed
        file.attrs["jaxstruc"] = jaxstruc.__version__
        file.attrs["grid"] = json.dumps(vars(GRID), sort_keys=True)
        file.attrs["versions"] = json.dumps({m.__name__: m.__version__ for m in (jax, np, ase, h5py)})
        for index, shape in enumerate(dataset.shapes):
            stored = file.create_dataset(f"shapes/{index:04d}", data=shape.positions)
            stored.attrs["family"], stored.attrs["label"] = shape.family, shape.label
        file["shape"], file["bond"] = dataset.shape, dataset.bond
        file["element"] = dataset.element.astype("S")
        for name, values in dataset.conditions._asdict().items():
            file[f"conditions/{name}"] = np.asarray(values)
        file["pdf"] = dataset.pdf


def read(path: Path) -> Dataset:
    """Return a data set from HDF5.

    Raises:
        ValueError: where the file is missing or is not one of `write`'s.
    """
    try:
        with h5py.File(path, "r") as file:
            shapes = [Cluster(node.attrs["family"], node.attrs["label"], node[()]) for node in file["shapes"].values()]
            conditions = Conditions(*(jnp.asarray(file[f"conditions/{name}"][()]) for name in Conditions._fields))
            return Dataset(
                shapes=shapes,
                shape=file["shape"][()],
                bond=file["bond"][()],
                element=file["element"][()].astype(str),
                conditions=conditions,
                pdf=file["pdf"][()],
                preset=str(file.attrs["preset"]),
                seed=int(file.attrs["seed"]),
            )
    except (OSError, KeyError) as error:
        raise ValueError(f"Expected a data set of `jaxstruc generate`, got {path}: {error}.") from error


def _structures(preset: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shape, bond length and elements of each distinct structure."""
    rule = form_factors.bond_length if preset == "real" else form_factors.tabulated_bond_length
    elements: dict[float, list[str]] = {}
    for symbol in ELEMENTS:
        for factor in FACTORS[preset]:
            elements.setdefault(round(rule(symbol) * factor, 6), []).append(symbol)
    lengths = np.array(sorted(elements))
    names = np.array([" ".join(elements[length]) for length in sorted(elements)])
    return (
        np.repeat(np.arange(count), len(lengths)),
        np.tile(lengths, count),
        np.tile(names, count),
    )


def _kdd_conditions(key, count: int) -> Conditions:
    """Return KDD 2020 table 3: Biso 1 Å², delta2 2 Å², qdamp 0.04 1/Å, Q 0-30 1/Å, r 0-30 Å."""
    values = {"uiso": 1 / (8 * np.pi**2), "delta2": 2.0, "qdamp": 0.04, "qmin": 0.0, "qmax": 30.0}
    values |= {"rmin": 0.0, "rmax": 30.0, "noise": 0.0}
    return Conditions(**{name: jnp.full(count, value, jnp.float32) for name, value in values.items()})


def _random_conditions(key, count: int) -> Conditions:
    """Return conditions drawn evenly from `RANGES`."""
    keys = jax.random.split(key, len(RANGES))
    return Conditions(
        **{
            name: jax.random.uniform(k, (count,), jnp.float32, low, high)
            for k, (name, (low, high)) in zip(keys, RANGES.items(), strict=True)
        }
    )


def _simulate_all(shapes, shape, bond, conditions, key, progress, *, batch: int = 2000) -> np.ndarray:
    """Return the PDFs, simulated in batches of one size so that one compilation serves all."""
    table = distance_table(shapes)
    count = len(shape)
    curves = []
    for start in range(0, count, batch):
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        chunk = simulate(
            jax.tree.map(lambda column, rows=rows: jnp.asarray(column)[shape[rows]], table),
            jnp.asarray(bond[rows], jnp.float32),
            jax.tree.map(lambda column, rows=rows: column[rows], conditions),
            jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(rows)),
        )
        curves.append(np.asarray(chunk))
        if progress:
            progress(min(start + batch, count), count)
    return np.concatenate(curves)[:count]


def distance_table(shapes: list[Cluster]) -> Histogram:
    """Return the distinct pair distances of each shape at bond length 1, padded with weight 0 [shape, distance]."""
    each = [distinct(shape.positions) for shape in shapes]
    longest = max(len(one.mean) for one in each)

    def stacked(columns, fill):
        return np.stack([np.pad(x, (0, longest - len(x)), constant_values=fill) for x in columns])

    return Histogram(
        weight=stacked([one.weight for one in each], 0.0),
        mean=stacked([one.mean for one in each], 1.0),
        variance=stacked([one.variance for one in each], 0.0),
        atoms=np.array([one.atoms for one in each]),
    )


@jax.jit
@jax.vmap
def simulate(table: Histogram, bond: Float[Array, ""], conditions: Conditions, key: Array) -> Float[Array, " r"]:
    """Return G(r) on `GRID` of clusters of one element, in a batch, with noise and r range as drawn.

    Args:
        table: one row of `distance_table` each.
        bond: nearest-neighbour distance, in Å.
        conditions: of each PDF.
        key: random key of each PDF's noise.
    """
    q = jnp.asarray(GRID.q, bond.dtype)
    zero = jnp.zeros(table.mean.shape, int)
    pairs = Pairs(jnp.asarray(table.mean, bond.dtype) * bond, jnp.asarray(table.weight, bond.dtype), zero, zero)
    instrument = instrument_of(conditions)
    variance = debye.pair_variance(pairs, instrument)
    f = q * debye.debye_sum(pairs, variance, jnp.ones((1, q.size), q.dtype), q) / table.atoms
    noise = conditions.noise * jnp.sqrt(jnp.mean(f**2)) * jax.random.normal(key, f.shape, f.dtype)
    curve = curves.transformed(f + noise, instrument, GRID, limits=(conditions.qmin, conditions.qmax))
    return seen(curve, conditions)


def instrument_of(conditions: Conditions) -> Instrument:
    """Return the part of the conditions that acts on pairs and on G(r)."""
    return Instrument(uiso=conditions.uiso, delta2=conditions.delta2, qdamp=conditions.qdamp)


def seen(curve: Float[Array, " r"], conditions: Conditions) -> Float[Array, " r"]:
    """Return a curve on `GRID`, zero outside rmin to rmax."""
    r = jnp.asarray(GRID.r, curve.dtype)
    return jnp.where((r >= conditions.rmin) & (r <= conditions.rmax), curve, 0.0)
