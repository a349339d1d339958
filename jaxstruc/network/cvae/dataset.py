"""The data set of the autoencoder: PDFs simulated for clusters of several shapes, elements and bond lengths.

A shape is a cluster whose bond length (nearest-neighbour distance) is 1. A structure is a shape with a bond length in
Å. The data set stores each shape once. For each PDF, it stores the index of the shape, the bond length and the
conditions (vibrations, instrument, ranges and noise). The form factor cancels in the PDF of a single element, which
then depends on the distances only. One table of the distinct distances of a shape is therefore enough for all its PDFs.
"""

import json
import math
from collections.abc import Callable, Sequence
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
from jaxstruc.clusters import deepstruc_shapes, particle_codes
from jaxstruc.clusters.cluster import Cluster, from_ase
from jaxstruc.clusters.distances import Histogram, distinct_distances
from jaxstruc.clusters.fcc_shapes import fcc_family, wide_fcc_family
from jaxstruc.network.classifier.simulated_pdfs import FULL_RANGE_FRACTION, NOISELESS_FRACTION
from jaxstruc.network.cvae import representation
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.scattering.pair_distribution import Grid

PDF_GRID = Grid(qmin=0.0, qmax=30.0, qstep=0.1, rmin=0.0, rmax=30.0, rstep=0.1)
"""Grid of the model's PDFs, with 301 points (KDD 2020, table 3)."""

ELEMENTS = tuple("Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo Tc Ru Rh Pd Ag Cd La Hf Ta W Re Os Ir Pt Au Hg".split())
"""Elements of the data sets: the d-block metals of periods 4 to 6. Lanthanum represents group 3 of period 6, because
lutetium has no tabulated radius."""

CONDITION_RANGES = {
    "uiso": (0.003, 0.025),  # Å²
    "delta2": (0.0, 5.0),  # Å²
    "qdamp": (0.01, 0.06),  # 1/Å
    "qmin": (0.0, 2.5),  # 1/Å
    "qmax": (10.0, 30.0),  # 1/Å
    "rmin": (0.0, 2.0),  # Å
    "rmax": (15.0, 30.0),  # Å
    "noise": (0.0, 0.15),  # white noise on F(Q), relative to the root mean square of F
}
"""Ranges of the conditions of the preset `real`, from which values are drawn uniformly."""

BOND_FACTORS = {
    "kdd": np.linspace(0.99, 1.01, 10),
    "kdd-shapes": np.ones(1),
    "real": np.linspace(0.97, 1.03, 10),
    "deepstruc": np.ones(1),
    "deepstruc-continuous": np.ones(1),
    "deepstruc-varied": np.ones(1),
    "deepstruc-stacks": np.ones(1),
}
"""Bond lengths of each preset, divided by the bond length of the element."""

N_TEST_STRUCTURES = 137
"""Number of structures in the test part of a random split (KDD 2020)."""
DEEPSTRUC_PRESETS = ("deepstruc", "deepstruc-continuous", "deepstruc-varied", "deepstruc-stacks")
"""Presets with the types of DeepStruc. A fifth of their structures each tests and validates in a random split."""
CONTINUOUS_PRESETS = ("deepstruc-continuous", "deepstruc-varied")
"""Presets whose bond lengths are drawn uniformly."""
HELD_OUT_VALIDATION_SHARE = 0.1
"""Share of the remaining structures that validates a split by ranges."""


class Conditions(NamedTuple):
    """The conditions of each PDF [pdf], in the units of `CONDITION_RANGES`."""

    uiso: Array
    delta2: Array
    qdamp: Array
    qmin: Array
    qmax: Array
    rmin: Array
    rmax: Array
    noise: Array


class Dataset(NamedTuple):
    """Simulated PDFs with their structures and conditions."""

    shapes: list[Cluster]
    shape_index: np.ndarray
    """Index into `shapes` of each PDF [pdf]."""
    bond: np.ndarray
    """Nearest-neighbour distance of each PDF [pdf], in Å."""
    element: np.ndarray
    """Element of each PDF [pdf]. If several metals have the same bond length, their symbols are separated by spaces."""
    conditions: Conditions
    pdf: np.ndarray
    """G(r) on `PDF_GRID` [pdf, 301] in 1/Å², with 0 outside rmin to rmax."""
    preset: str
    seed: int


class Split(NamedTuple):
    """Indices of the PDFs in the training, validation and test parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def generate(
    preset: str,
    *,
    seed: int,
    draws: int = 16,
    report_progress: Callable[[int, int], None] | None = None,
    shapes: Sequence[Cluster] | None = None,
    elements: Sequence[str] | None = None,
) -> Dataset:
    """Return a simulated data set.

    There are seven presets:

    - `kdd`: the data set of KDD 2020, section 4.3 (see `model`), with bond lengths from tabulated metallic radii and
      one instrument. Metals of equal radius give equal structures, which are merged.
    - `kdd-shapes`: like `kdd`, but with the shapes of `wide_fcc_family` and one bond length for each metal.
    - `real`: the shapes of `kdd` with real nearest-neighbour distances, and random conditions for each PDF.
    - `deepstruc`: the 3743 structures of DeepStruc (see `deepstruc_shapes`): 197 shapes with 19 bond lengths from
      tabulated metallic radii. All PDFs share the conditions that fit the released PDFs best.
    - `deepstruc-continuous`: like `deepstruc`, but with bond lengths drawn uniformly from the same range.
    - `deepstruc-varied`: all polyhedra of the lattices of DeepStruc's types, whole and with a cap cut away (see
      `particle_codes`), with random bond lengths and random conditions. Each type has the same number of PDFs.
    - `deepstruc-stacks`: all stacks of 3 to 10 close-packed layers (see `particle_codes`), with the bond lengths and
      conditions of `deepstruc`.

    Args:
        preset: Name of the preset.
        seed: Seed of the conditions and the noise.
        draws: Number of random conditions for each structure in the preset `real`, or of random bond lengths for each
            shape in `deepstruc-continuous` and `deepstruc-varied`. Other presets ignore it.
        report_progress: Function that is called with the number of PDFs done and the number of all PDFs.
        shapes: Shapes with bond length 1, by default those of the preset.
        elements: Symbols of the elements, by default those of the preset.
    """
    shapes = list(shapes or _preset_shapes(preset, seed))
    if elements is None:
        elements = deepstruc_shapes.METALS if preset in DEEPSTRUC_PRESETS else ELEMENTS
    shape_index, bond, element = _distinct_structures(preset, len(shapes), elements)
    if preset in CONTINUOUS_PRESETS:
        shape_index, bond, element = _random_bonds(len(shapes), (bond.min(), bond.max()), draws, seed)
    if preset == "deepstruc-varied":
        shape_index = _balanced_shapes(shapes, len(bond))
    repeats = draws if preset == "real" else 1
    shape_index, bond, element = (np.repeat(column, repeats) for column in (shape_index, bond, element))
    key_conditions, key_noise = jax.random.split(jax.random.key(seed))
    make_conditions = CONDITION_RULES.get(preset, _kdd_conditions)
    conditions = make_conditions(key_conditions, len(shape_index))
    pdfs = _simulate_all(shapes, shape_index, bond, conditions, key_noise, report_progress)
    return Dataset(shapes, shape_index, bond, element, conditions, pdfs, preset, seed)


def split(dataset: Dataset, *, strategy: str, seed: int) -> Split:
    """Return a random split of a data set into training, validation and test parts.

    Args:
        dataset: Data set to split.
        strategy: Either "random", "shape" or "range". "random" keeps all PDFs of a structure together, but a shape may
            occur in all parts. It takes 137 structures, but at most a fifth, for the test. The others are split 4:1
            into training and validation, as in KDD 2020. For the presets of DeepStruc, test and validation have a fifth
            each. "shape" keeps all PDFs of a shape together. It takes about a quarter of the shapes for the test and an
            eighth for the validation. "range" takes the shapes of DeepStruc in `deepstruc_shapes.HELD_OUT_RANGES` for
            the test, and a random tenth of the other structures for the validation.
        seed: Seed of the shuffle.
    """
    rng = np.random.default_rng(seed)
    if strategy == "range":
        return _split_by_ranges(dataset, rng)
    if strategy == "shape":
        groups = dataset.shape_index
        order = rng.permutation(len(dataset.shapes))
        n_tests, n_validations = len(order) // 4, max(1, len(order) // 8)
    else:
        _, groups = np.unique(np.stack([dataset.shape_index, dataset.bond], axis=1), axis=0, return_inverse=True)
        order = rng.permutation(groups.max() + 1)
        n_tests = min(N_TEST_STRUCTURES, len(order) // 5)
        n_validations = round((len(order) - n_tests) / 5)
        if dataset.preset in DEEPSTRUC_PRESETS:
            n_tests = n_validations = len(order) // 5
    test, validation, train = np.split(order, [n_tests, n_tests + n_validations])
    return Split(*(np.flatnonzero(np.isin(groups, part_groups)) for part_groups in (train, validation, test)))


def balance_types(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return rows in which each structure type occurs as often as the most frequent one.

    Rows of the other types are repeated. A training on these rows gives all types the same weight.
    """
    families = np.array([shape.family for shape in dataset.shapes])[dataset.shape_index[rows]]
    rows_by_type = [rows[families == family] for family in np.unique(families)]
    return np.concatenate([np.resize(type_rows, max(map(len, rows_by_type))) for type_rows in rows_by_type])


def normalise(pdf: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
    """Return PDFs divided by their root mean square over the points that are not zero, as the network's input.

    The division is needed because the scale of a measured PDF is unknown. Points outside the r range of the data are 0.
    """
    mask = pdf != 0
    n_points = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
    mean_square = jnp.sum(pdf**2, axis=-1, keepdims=True) / n_points
    return pdf / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1.0))


def condition_ranges(dataset: Dataset) -> dict[str, list[float]]:
    """Return the range of each condition, in the units of `CONDITION_RANGES`.

    For the preset `real`, these are the ranges from which the conditions were drawn. For other presets, they are the
    smallest and the largest value in the data set.
    """
    if dataset.preset == "real":
        return {name: list(bounds) for name, bounds in CONDITION_RANGES.items()}
    columns = dataset.conditions._asdict().items()
    return {name: [float(values.min()), float(values.max())] for name, values in columns}


def shape_features(shapes: list[Cluster], *, atoms: int, satellites: int) -> representation.Features:
    """Return the stacked features of all shapes (see `representation`), with radii in units of the bond length."""
    anchors = jnp.asarray(representation.satellites(satellites))
    structures = [from_ase(shape.to_ase("Au", bond=1.0), n_rows=atoms) for shape in shapes]
    stacked_structures = jax.tree.map(lambda *rows: np.stack(rows), *structures)
    return _batched_features(stacked_structures, anchors)


_batched_features = jax.jit(jax.vmap(representation.unit_sphere_features, in_axes=(0, None)))


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set to an HDF5 file. The file appears only when it is complete. Equal data give equal bytes."""
    with files.atomic_replacement(path) as temporary_path, h5py.File(temporary_path, "w") as file:
        file.attrs["preset"], file.attrs["seed"] = dataset.preset, dataset.seed
        file.attrs["jaxstruc"] = jaxstruc.__version__
        file.attrs["grid"] = json.dumps(vars(PDF_GRID), sort_keys=True)
        file.attrs["versions"] = json.dumps({module.__name__: module.__version__ for module in (jax, np, ase, h5py)})
        for index, shape in enumerate(dataset.shapes):
            shape_node = file.create_dataset(f"shapes/{index:04d}", data=shape.positions)
            shape_node.attrs["family"], shape_node.attrs["label"] = shape.family, shape.label
        file["shape"], file["bond"] = dataset.shape_index, dataset.bond
        file["element"] = dataset.element.astype("S")
        for name, values in dataset.conditions._asdict().items():
            file[f"conditions/{name}"] = np.asarray(values)
        file["pdf"] = dataset.pdf


def read(path: Path) -> Dataset:
    """Return a data set from an HDF5 file.

    Raises:
        ValueError: If the file is missing or was not written by `write`.
    """
    try:
        with h5py.File(path, "r") as file:
            shapes = [Cluster(node.attrs["family"], node.attrs["label"], node[()]) for node in file["shapes"].values()]
            conditions = Conditions(*(jnp.asarray(file[f"conditions/{name}"][()]) for name in Conditions._fields))
            return Dataset(
                shapes=shapes,
                shape_index=file["shape"][()],
                bond=file["bond"][()],
                element=file["element"][()].astype(str),
                conditions=conditions,
                pdf=file["pdf"][()],
                preset=str(file.attrs["preset"]),
                seed=int(file.attrs["seed"]),
            )
    except (OSError, KeyError) as error:
        raise ValueError(f"Expected a data set written by `jaxstruc generate`, got {path}: {error}.") from error


def _distinct_structures(
    preset: str, n_shapes: int, elements: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the shape index, the bond length in Å and the elements of each distinct structure."""
    bond_rule = form_factors.bond_length if preset == "real" else form_factors.tabulated_bond_length
    elements_by_bond: dict[float, list[str]] = {}
    for symbol in elements:
        for factor in BOND_FACTORS[preset]:
            elements_by_bond.setdefault(round(bond_rule(symbol) * factor, 6), []).append(symbol)
    bond_lengths = np.array(sorted(elements_by_bond))
    element_names = np.array([" ".join(elements_by_bond[bond_length]) for bond_length in sorted(elements_by_bond)])
    return (
        np.repeat(np.arange(n_shapes), len(bond_lengths)),
        np.tile(bond_lengths, n_shapes),
        np.tile(element_names, n_shapes),
    )


def _preset_shapes(preset: str, seed: int) -> Sequence[Cluster]:
    """Return the shapes of a preset."""
    if preset == "deepstruc-varied":
        return [*particle_codes.polyhedra(), *particle_codes.cut_polyhedra(seed)]
    if preset == "deepstruc-stacks":
        return particle_codes.stacks()
    if preset in DEEPSTRUC_PRESETS:
        return deepstruc_shapes.deepstruc_family()
    return wide_fcc_family() if preset == "kdd-shapes" else fcc_family()


def _random_bonds(
    n_shapes: int, bond_range: tuple[float, float], draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the shape index, a random bond length in Å and no element for each draw of each shape."""
    bond = np.random.default_rng([seed, 1]).uniform(*bond_range, n_shapes * draws)
    return np.repeat(np.arange(n_shapes), draws), bond, np.full(n_shapes * draws, "")


def _balanced_shapes(shapes: Sequence[Cluster], n_pdfs: int) -> np.ndarray:
    """Return the index of the shape of each PDF. Types have equal shares, of which whole polyhedra have a half."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault((shape.family, shape.label.endswith(" 0")), []).append(index)
    size = math.ceil(n_pdfs / len(groups))
    return np.sort(np.concatenate([np.resize(group, size) for group in groups.values()])[:n_pdfs])


def _split_by_ranges(dataset: Dataset, rng: np.random.Generator) -> Split:
    """Return the split whose test part has all shapes in the held-out ranges of DeepStruc's parameters.

    Raises:
        ValueError: If the data set has other shapes than DeepStruc's.
    """
    if dataset.preset not in DEEPSTRUC_PRESETS[:3]:
        raise ValueError(
            f"Expected a data set of the presets {' or '.join(DEEPSTRUC_PRESETS[:3])} for the split by ranges, got "
            f"{dataset.preset}; pass --split random or shape."
        )
    if dataset.preset == "deepstruc-varied":
        is_test_shape = particle_codes.is_near(dataset.shapes, held_out_shapes())
    else:
        is_test_shape = np.array([deepstruc_shapes.is_held_out(shape) for shape in dataset.shapes])
    is_test = is_test_shape[dataset.shape_index]
    order = rng.permutation(np.flatnonzero(~is_test))
    n_validations = round(HELD_OUT_VALIDATION_SHARE * len(order))
    return Split(np.sort(order[n_validations:]), np.sort(order[:n_validations]), np.flatnonzero(is_test))


def held_out_shapes() -> list[Cluster]:
    """Return the shapes of DeepStruc in the held-out ranges."""
    return [shape for shape in deepstruc_shapes.deepstruc_family() if deepstruc_shapes.is_held_out(shape)]


def _deepstruc_conditions(key, n_pdfs: int) -> Conditions:
    """Return the conditions that fit DeepStruc's released PDFs (Biso = 0.3 Å², no delta2 and qdamp).

    The Q and r ranges are those of `PDF_GRID`.
    """
    values = {"uiso": 0.3 / (8 * np.pi**2), "delta2": 0.0, "qdamp": 0.0, "qmin": 0.0, "qmax": 30.0}
    values |= {"rmin": 0.0, "rmax": 30.0, "noise": 0.0}
    return Conditions(**{name: jnp.full(n_pdfs, value, jnp.float32) for name, value in values.items()})


def _kdd_conditions(key, n_pdfs: int) -> Conditions:
    """Return the conditions of KDD 2020, table 3 (Biso = 1 Å²), which all PDFs share."""
    values = {"uiso": 1 / (8 * np.pi**2), "delta2": 2.0, "qdamp": 0.04, "qmin": 0.0, "qmax": 30.0}
    values |= {"rmin": 0.0, "rmax": 30.0, "noise": 0.0}
    return Conditions(**{name: jnp.full(n_pdfs, value, jnp.float32) for name, value in values.items()})


def _random_conditions(key, n_pdfs: int) -> Conditions:
    """Return conditions drawn uniformly from `CONDITION_RANGES`."""
    keys = jax.random.split(key, len(CONDITION_RANGES))
    return Conditions(
        **{
            name: jax.random.uniform(subkey, (n_pdfs,), jnp.float32, low, high)
            for subkey, (name, (low, high)) in zip(keys, CONDITION_RANGES.items(), strict=True)
        }
    )


def _varied_conditions(key, n_pdfs: int) -> Conditions:
    """Return random conditions with the shares of the classifier's training.

    Weak noise is more frequent than strong noise, and some PDFs have no noise or the largest rmax.
    """
    conditions_key, share_key = jax.random.split(key)
    conditions = _random_conditions(conditions_key, n_pdfs)
    noise = conditions.noise**2 / CONDITION_RANGES["noise"][1]
    uniform = jax.random.uniform(share_key, (2, n_pdfs))
    return conditions._replace(
        noise=jnp.where(uniform[0] < NOISELESS_FRACTION, 0.0, noise),
        rmax=jnp.where(uniform[1] < FULL_RANGE_FRACTION, CONDITION_RANGES["rmax"][1], conditions.rmax),
    )


CONDITION_RULES: dict[str, Callable[..., Conditions]] = {
    "real": _random_conditions,
    "deepstruc": _deepstruc_conditions,
    "deepstruc-continuous": _deepstruc_conditions,
    "deepstruc-varied": _varied_conditions,
    "deepstruc-stacks": _deepstruc_conditions,
}
"""Function that makes the conditions of each preset. Presets without an entry have the conditions of KDD 2020."""


def _simulate_all(shapes, shape_index, bond, conditions, key, report_progress, *, batch_size: int = 2000) -> np.ndarray:
    """Return the PDFs. They are simulated in batches of equal size, which need only one compilation."""
    distance_tables = distance_table(shapes)
    n_pdfs = len(shape_index)
    pdfs = []
    for start in range(0, n_pdfs, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), n_pdfs - 1)
        batch_pdfs = simulate_pdfs(
            jax.tree.map(lambda column, rows=rows: jnp.asarray(column)[shape_index[rows]], distance_tables),
            jnp.asarray(bond[rows], jnp.float32),
            jax.tree.map(lambda column, rows=rows: column[rows], conditions),
            jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(rows)),
        )
        pdfs.append(np.asarray(batch_pdfs))
        if report_progress:
            report_progress(min(start + batch_size, n_pdfs), n_pdfs)
    return np.concatenate(pdfs)[:n_pdfs]


def distance_table(shapes: list[Cluster]) -> Histogram:
    """Return the distinct pair distances of each shape [shape, distance] at bond length 1. Padding has weight 0."""
    histograms = [distinct_distances(shape.positions) for shape in shapes]
    max_length = max(len(histogram.mean) for histogram in histograms)

    def stack_padded(columns, fill_value):
        return np.stack(
            [np.pad(column, (0, max_length - len(column)), constant_values=fill_value) for column in columns]
        )

    return Histogram(
        weight=stack_padded([histogram.weight for histogram in histograms], 0.0),
        mean=stack_padded([histogram.mean for histogram in histograms], 1.0),
        variance=stack_padded([histogram.variance for histogram in histograms], 0.0),
        atoms=np.array([histogram.atoms for histogram in histograms]),
    )


@jax.jit
@jax.vmap
def simulate_pdfs(
    histogram: Histogram, bond: Float[Array, ""], conditions: Conditions, key: Array
) -> Float[Array, " r"]:
    """Return a batch of G(r) on `PDF_GRID` for clusters of one element, with the noise and r range of the conditions.

    Args:
        histogram: Rows of `distance_table`, one for each PDF.
        bond: Nearest-neighbour distance of each PDF, in Å.
        conditions: Conditions of each PDF.
        key: Random key of each PDF's noise.
    """
    q = jnp.asarray(PDF_GRID.q, bond.dtype)
    kind_index = jnp.zeros(histogram.mean.shape, int)
    pairs = Pairs(
        jnp.asarray(histogram.mean, bond.dtype) * bond,
        jnp.asarray(histogram.weight, bond.dtype),
        kind_index,
        kind_index,
    )
    instrument = instrument_from_conditions(conditions)
    variance = debye.pair_variance(pairs, instrument)
    f = q * debye.debye_sum(pairs, variance, jnp.ones((1, q.size), q.dtype), q) / histogram.atoms
    noise = conditions.noise * jnp.sqrt(jnp.mean(f**2)) * jax.random.normal(key, f.shape, f.dtype)
    curve = pair_distribution.pdf_from_f(f + noise, instrument, PDF_GRID, q_limits=(conditions.qmin, conditions.qmax))
    return mask_r_range(curve, conditions)


def instrument_from_conditions(conditions: Conditions) -> Instrument:
    """Return the conditions that belong to the instrument: uiso, delta2 and qdamp."""
    return Instrument(uiso=conditions.uiso, delta2=conditions.delta2, qdamp=conditions.qdamp)


def mask_r_range(curve: Float[Array, " r"], conditions: Conditions) -> Float[Array, " r"]:
    """Return a curve on `PDF_GRID` with 0 outside rmin to rmax."""
    r = jnp.asarray(PDF_GRID.r, curve.dtype)
    return jnp.where((r >= conditions.rmin) & (r <= conditions.rmax), curve, 0.0)
