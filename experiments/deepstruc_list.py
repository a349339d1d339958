"""Claim: a PDF, even with noise, identifies its structure among DeepStruc's 3743 by a lookup and fits of the best few.

    python experiments/deepstruc_list.py                   (a quarter of an hour on one core: all parts)
    python experiments/deepstruc_list.py listed --every 10 (one part, with every tenth structure)
    python experiments/deepstruc_list.py --quick           (few PDFs; writes nothing)

The list has 197 distinct shapes of seven types with 5 to 200 atoms. Each shape has 19 bond lengths, which are twice the
metallic radii of 28 metals (Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E). The conditions are those of
MetalFinder, a program with gradient-boosted trees, and drawn uniformly: qmin 0 to 2, qmax 12 to 25, qdamp 0.01 to 0.04
1/Å and Biso 0.1 to 1 Å². Both programs get qmin, qmax and qdamp, but not Biso and delta2, which is 2 Å². Each structure
has one PDF with r from 1.5 to 30 Å, on an unknown scale, with white noise on F(Q) as in `unlisted_particles.py`.
MetalFinder identifies 83.87 % of the structures without noise. The true structure is among its first three in 95.95 %
and among its first five in 97.89 % of cases. It needs 3.8 ms for a PDF.

The lookup compares the sine transforms of the data and of all structures in one matrix product, at a few values of Uiso
and qdamp. The scale, Uiso and delta2 of the best `N_FITTED` structures are then fitted, and the structures are sorted
by Rw. Structures whose Rw equals that of the true one within a tolerance are tied with it. Each of two tied structures
counts one half.

The parts are:

- listed: the structures of the list, without noise and with 5 and 10 % of noise.
- between: unknown bond lengths, drawn uniformly from the range of the list. The stretch is fitted too, and only the
  shape has to be right.
- all: as listed, with few PDFs and fits of every structure.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import json_rows
import measured_pdfs
import numpy as np
import unlisted_particles
from jaxtyping import Array, Float, Int
from scipy.spatial.distance import pdist

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.deepstruc_shapes import METALS, deepstruc_family
from jaxstruc.clusters.distances import Histogram, distinct_distances
from jaxstruc.pdf import fit, target
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables, form_factors
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange
from jaxstruc.scattering.debye import Instrument

RESULTS = Path(__file__).parent / "results" / "deepstruc_list.jsonl"
QMIN_RANGE, QMAX_RANGE, QDAMP_RANGE, BISO_RANGE = (0.0, 2.0), (12.0, 25.0), (0.01, 0.04), (0.1, 1.0)
"""MetalFinder's ranges, in 1/Å and Å²."""
DELTA2 = 2.0
"""Value of delta2 in the simulated PDFs, in Å²."""
RMAX, RSTEP = 30.0, 0.1
"""Largest r and step of r, in Å. Curves have Q up to 25 1/Å, so that a step of 0.125 Å would be small enough."""
SEED = 7000
TABLE_RANGE = TableRange(36.0, 28.0)
"""Largest distance and Q of the cluster tables, in Å and 1/Å."""
LOOKUP_Q = np.arange(0.0, QMAX_RANGE[1] + 1e-6, 0.05)
"""Q of the lookup, in 1/Å."""
LOOKUP_UISO = (0.0017, 0.0034, 0.0062, 0.0105)
"""Values of Uiso in the lookup, in Å²."""
LOOKUP_QDAMP = (0.014, 0.021, 0.029, 0.036)
"""Values of qdamp in the lookup, in 1/Å."""
N_FITTED = 32
"""Number of structures that are fitted after the lookup."""
RW_TOLERANCE = 1e-5
"""Largest difference in Rw between tied structures."""
BOND_RATIO = 1.008
"""Ratio of neighbouring bond lengths in the lookup of `between`."""
BATCH_SIZE, BLOCK_SIZE = 64, 512
"""Number of structures or PDFs in one batch, and number of PDFs whose rankings are in memory at once."""


NOISE_COLUMNS = ("noise", "before", "tied", "type_before", "looked", "rw", "rw_other")
"""Columns of a row that have one value for each noise."""


class PdfSet(NamedTuple):
    """The settings with which the PDFs of a part are simulated and fitted."""

    noises: tuple[float, ...]
    stride: int = 1
    """Step through the list of structures: every structure whose index is a multiple of it is used."""
    drawn_bonds: bool = False
    """Whether bond lengths are drawn."""
    n_fitted: int = N_FITTED
    """Number of structures that are fitted after the lookup."""


PDF_SETS = {
    "listed": PdfSet((0.0, 0.05, 0.1)),
    "between": PdfSet((0.0, 0.05), stride=10, drawn_bonds=True),
    "all": PdfSet((0.0, 0.05), stride=60, n_fitted=3743),
}


class StructureList(NamedTuple):
    """The shapes and the bond lengths of the listed structures. A structure is a shape with a bond length."""

    shapes: tuple[Cluster, ...]
    bonds: tuple[float, ...]
    """Bond lengths, in Å."""


class SimulatedPdf(NamedTuple):
    """A simulated PDF."""

    shape_index: int
    bond_index: int
    """Index of the bond length in the list, or -1 if it is not listed."""
    settings: dict[str, float]
    """Values of bond (Å), qmin, qmax, qdamp (1/Å) and biso (Å²)."""
    pdf_by_noise: dict[float, Float[np.ndarray, " r"]]
    """G(r) for each noise."""


class StructureTable(NamedTuple):
    """The structures that PDFs are compared with."""

    shape_index: Int[np.ndarray, " structure"]
    bond: Float[np.ndarray, " structure"]
    """Bond length of each structure, in Å."""
    tables: ClusterTable
    sine_transforms: Float[Array, "qdamp uiso structure q"]
    """Sine transforms of the structures' curves over r, for each qdamp and Uiso of the lookup."""


@cache
def bond_lengths() -> tuple[float, ...]:
    """Return the 19 distinct bond lengths, in Å."""
    return tuple(sorted({round(form_factors.tabulated_bond_length(metal), 4) for metal in METALS}))


def deepstruc_structures() -> StructureList:
    """Return the shapes and bond lengths of DeepStruc's list."""
    return StructureList(deepstruc_family(), bond_lengths())


def count_twins() -> int:
    """Return the number of structures whose distances all equal those of another within 0.001 Å."""
    shape_distances = [np.sort(pdist(entry.positions)) for entry in deepstruc_family()]
    twin_keys: set[tuple[int, float]] = set()
    for (i, entry), (j, other_entry) in itertools.combinations(enumerate(shape_distances), 2):
        if len(entry) == len(other_entry):
            for bond, other_bond in itertools.product(bond_lengths(), bond_lengths()):
                if abs(bond * entry - other_bond * other_entry).max() < 1e-3:
                    twin_keys |= {(i, bond), (j, other_bond)}
    return len(twin_keys)


def simulate_structure(number: int, pdf_set: PdfSet, structures: StructureList) -> SimulatedPdf:
    """Return the PDF of the structure with this number in the list."""
    shape_index, bond_index = divmod(number, len(structures.bonds))
    rng = np.random.default_rng([SEED, number])
    qmin, qmax, qdamp, biso = (rng.uniform(*limits) for limits in (QMIN_RANGE, QMAX_RANGE, QDAMP_RANGE, BISO_RANGE))
    bonds = structures.bonds
    bond = rng.uniform(bonds[0], bonds[-1]) if pdf_set.drawn_bonds else bonds[bond_index]
    values = {
        "qmin": qmin, "qmax": qmax, "qdamp": qdamp, "uiso": biso / (8 * np.pi**2), "delta2": DELTA2,
        "stretch": bond / unlisted_particles.BOND,
    }  # fmt: skip
    q, f = unlisted_particles.structure_function(structures.shapes[shape_index].positions, values)
    pdfs = {noise: unlisted_particles.noisy_pdf(q, f, qdamp, noise, RMAX, rng)[1][::2] for noise in pdf_set.noises}
    settings = {"bond": bond, "qmin": qmin, "qmax": qmax, "qdamp": qdamp, "biso": biso}
    return SimulatedPdf(shape_index, -1 if pdf_set.drawn_bonds else bond_index, settings, pdfs)


def r_grid() -> Float[np.ndarray, " r"]:
    """Return r of the curves, in Å."""
    return np.arange(1.5, RMAX + 1e-6, RSTEP)


def build_structure_table(shapes: Sequence[Cluster], bonds: Sequence[float]) -> StructureTable:
    """Return the table of all these shapes with each of these bond lengths."""
    distance_sets = [distinct_distances(entry.positions, digits=5) for entry in shapes]
    n_distances = max(len(entry.mean) for entry in distance_sets)
    weight, mean = (np.zeros((len(distance_sets), n_distances), np.float32) for _ in range(2))
    mean[:] = 1.0
    for row, entry in enumerate(distance_sets):
        weight[row, : len(entry.mean)], mean[row, : len(entry.mean)] = entry.weight, entry.mean
    atoms = np.array([entry.atoms for entry in distance_sets], np.float32)
    nearest_distance = np.array([entry.mean.min() for entry in distance_sets], np.float32)
    shape_indices, bond_indices = (arrays.ravel() for arrays in np.indices((len(distance_sets), len(bonds))))
    bond = np.asarray(bonds, float)[bond_indices]
    windows, table_batches, transform_batches = _sine_windows(), [], []
    for start in range(0, len(shape_indices), BATCH_SIZE):
        batch_rows = np.arange(start, start + BATCH_SIZE).clip(max=len(shape_indices) - 1)
        batch_bonds = jnp.asarray(bond[batch_rows], jnp.float32)
        histogram_arrays = (
            weight[shape_indices[batch_rows]],
            mean[shape_indices[batch_rows]] * batch_bonds[:, None],
            np.zeros((BATCH_SIZE, n_distances), np.float32),
        )
        entry = _build_tables(
            Histogram(*histogram_arrays, atoms[shape_indices[batch_rows]]),
            nearest_distance[shape_indices[batch_rows]] * batch_bonds,
            windows,
        )
        table_batches.append(entry[0])
        transform_batches.append(entry[1])
    return StructureTable(
        shape_indices,
        bond,
        jax.tree.map(lambda *arrays: jnp.concatenate(arrays)[: len(shape_indices)], *table_batches),
        jnp.concatenate(transform_batches, axis=2)[:, :, : len(shape_indices)],
    )


def _sine_matrix() -> Float[np.ndarray, "r q"]:
    return np.sin(r_grid()[:, None] * LOOKUP_Q)


def _sine_windows() -> Float[np.ndarray, "qdamp q q"]:
    """Return the matrices from F(Q) to the sine transform of its curve over r, for each qdamp of the lookup."""
    sines, damping = _sine_matrix(), np.exp(-0.5 * (r_grid() * np.array(LOOKUP_QDAMP)[:, None]) ** 2)
    transform_matrix = measured_pdfs.transform(LOOKUP_Q, r_grid(), qdamp=0.0)
    return np.stack([(sines.T * qdamp_damping) @ transform_matrix for qdamp_damping in damping]).astype(np.float32)


@jax.jit
def _build_tables(
    histograms: Histogram, nearest_distance: Float[Array, " structure"], windows
) -> tuple[ClusterTable, Array]:
    """Return the cluster tables of structures and their sine transforms."""
    tables = jax.vmap(lambda histogram, bond: cluster_tables.tabulate_cluster(histogram, bond, span=TABLE_RANGE))(
        histograms, nearest_distance
    )
    delta2 = jnp.asarray(DELTA2 / 2, jnp.float32)

    def structure_function(table, uiso):
        return cluster_tables.reduced_structure_function(
            table, Instrument(uiso=uiso, delta2=delta2), jnp.asarray(LOOKUP_Q)
        )

    structure_functions = jax.vmap(jax.vmap(structure_function, (0, None)), (None, 0))(
        tables, jnp.asarray(LOOKUP_UISO, jnp.float32)
    )
    return tables, jnp.einsum("usq,dpq->dusp", structure_functions, windows)


def rank_by_lookup(
    pdfs: Float[np.ndarray, "pdf r"], settings: list[dict[str, float]], structure_table: StructureTable
) -> np.ndarray:
    """Return the structures ordered by their misfit in the lookup, best first: [pdf, structure]."""
    low, high, qdamp = (
        np.array([pdf_settings[name] for pdf_settings in settings])[:, None] for name in ("qmin", "qmax", "qdamp")
    )
    half_step = (LOOKUP_Q[1] - LOOKUP_Q[0]) / 2
    weight = ((np.minimum(LOOKUP_Q + half_step, high) - np.maximum(LOOKUP_Q - half_step, low)) / (2 * half_step)).clip(
        0, 1
    )
    data = pdfs @ _sine_matrix()
    nearest_qdamp, order = (
        abs(qdamp - LOOKUP_QDAMP).argmin(axis=1),
        np.zeros((len(pdfs), len(structure_table.shape_index)), np.int32),
    )
    for qdamp_index in np.unique(nearest_qdamp):
        qdamp_rows = np.flatnonzero(nearest_qdamp == qdamp_index)
        for start in range(0, len(qdamp_rows), BATCH_SIZE):
            batch_rows = qdamp_rows[start : start + BATCH_SIZE]
            padded_rows = np.pad(batch_rows, (0, BATCH_SIZE - len(batch_rows)), mode="edge")
            explained_squares = _explained_squares(
                structure_table.sine_transforms,
                qdamp_index,
                *(jnp.asarray(array[padded_rows], jnp.float32) for array in (weight, data)),
            )
            order[batch_rows] = np.argsort(-np.asarray(explained_squares)[: len(batch_rows)], axis=1, kind="stable")
    return order


@jax.jit
def _explained_squares(sine_transforms, qdamp_index, weight, data) -> Float[Array, "pdf structure"]:
    """Return the decrease of the sum of squares by each structure with its best Uiso and its best scale >= 0."""
    flat_transforms = sine_transforms[qdamp_index].reshape(-1, sine_transforms.shape[-1])
    overlap, squared_norm = (weight * data) @ flat_transforms.T, weight @ (flat_transforms**2).T
    explained_squares = jnp.maximum(overlap, 0.0) ** 2 / jnp.maximum(squared_norm, 1e-12)
    return explained_squares.reshape(len(data), sine_transforms.shape[1], -1).max(axis=1)


def fit_structures(
    curve,
    settings: dict[str, float],
    structure_rows: np.ndarray,
    structure_table: StructureTable,
    free: tuple[str, ...],
) -> np.ndarray:
    """Return the Rw of fits of these structures to a PDF."""
    q_settings = jnp.asarray([settings[name] for name in ("qmin", "qmax", "qdamp")], jnp.float32)
    data, rw_batches = jnp.asarray(curve, jnp.float32), []
    for start in range(0, len(structure_rows), BATCH_SIZE):
        batch_rows = structure_rows[start : start + BATCH_SIZE]
        padded_rows = np.pad(batch_rows, (0, -len(batch_rows) % N_FITTED), mode="edge")
        rw_batches.append(
            np.asarray(_fit_batch(structure_table.tables, jnp.asarray(padded_rows), data, q_settings, free=free))[
                : len(batch_rows)
            ]
        )
    return np.concatenate(rw_batches)


@partial(jax.jit, static_argnames="free")
def _fit_batch(
    tables: ClusterTable, structure_rows, data, q_settings, *, free: tuple[str, ...]
) -> Float[Array, " structure"]:
    batch_tables = jax.tree.map(lambda column: column[structure_rows], tables)
    return fit.refine_all(batch_tables, _point_basis(data, *q_settings), free=free).rw


def _point_basis(data, qmin, qmax, qdamp) -> FitBasis:
    """Return the target of a PDF whose basis is its points, because such a basis takes no time to compute."""
    r = r_grid()
    nodes, weights = np.polynomial.legendre.leggauss(target.n_q_nodes(RMAX, QMIN_RANGE[0], QMAX_RANGE[1], TABLE_RANGE))
    q = qmin + (qmax - qmin) * jnp.asarray((nodes + 1) / 2, jnp.float32)
    design = (qmax - qmin) / np.pi * jnp.asarray(weights, jnp.float32)[:, None] * jnp.sin(q[:, None] * r)
    unit = jnp.ones((), jnp.float32)
    return FitBasis(
        q=q,
        transform=design,
        radius=jnp.asarray(r, jnp.float32),
        background_basis=jnp.zeros((len(r), 0), jnp.float32),
        data=data,
        self_scattering=jnp.zeros_like(data),
        norm=data @ data,
        unmodelled_squares=0 * unit,
        n_independent=(r[-1] - r[0]) * (qmax - qmin) / np.pi,
        stretch=unit,
        bond=2.5 * unit,
        qdamp=qdamp,
        qbroad=0 * unit,
        scale_bounds=jnp.asarray((target.MIN_SCALE, jnp.inf), jnp.float32),
        span=TABLE_RANGE,
    )


def probability_within(row: dict[str, Any], n_first: int) -> float:
    """Return the probability that the true structure is among the first `n_first`, with ties broken at random."""
    return min(max((n_first - row["before"]) / (row["tied"] + 1), 0.0), 1.0)


def rank_name(misfit: np.ndarray, is_true_name: np.ndarray, names: np.ndarray) -> tuple[int, int]:
    """Return the number of names that are better than the true one, and the number of names tied with it.

    All other names are better if the true structure was not fitted.

    Args:
        misfit: Misfit of each structure, infinite if it was not fitted.
        is_true_name: Mask of the structures with the true name.
        names: Name of each structure. The misfit of a name is the lowest misfit of its structures.
    """
    true_misfit = misfit[is_true_name].min(initial=np.inf)
    if not np.isfinite(true_misfit):
        return len(set(names[~is_true_name].tolist())), 0
    better_names, close_names = (
        set(names[~is_true_name & (misfit < true_misfit + sign * RW_TOLERANCE)].tolist()) for sign in (-1, 1)
    )
    return len(better_names), len(close_names - better_names)


def name_pdfs(
    pdfs: list[SimulatedPdf],
    noise: float,
    structure_table: StructureTable,
    pdf_set: PdfSet,
    shapes: Sequence[Cluster],
) -> tuple[list[dict[str, Any]], dict]:
    """Return one row for each PDF, and the times of lookup and fits on one core, in ms per PDF."""
    free = ("scale", "stretch", "uiso", "delta2") if pdf_set.drawn_bonds else ("scale", "uiso", "delta2")
    structure_types = np.array([entry.family for entry in shapes])[structure_table.shape_index]
    result_rows, cpu_seconds = [], np.zeros(2)
    for start in range(0, len(pdfs), BLOCK_SIZE):
        block = pdfs[start : start + BLOCK_SIZE]
        start_time = time.process_time()
        orders = rank_by_lookup(
            np.stack([entry.pdf_by_noise[noise] for entry in block]),
            [entry.settings for entry in block],
            structure_table,
        )
        cpu_seconds[0] += time.process_time() - start_time
        for entry, order in zip(block, orders, strict=True):
            start_time = time.process_time()
            ranked_structures = _best_of_each_name(order, structure_table.shape_index) if pdf_set.drawn_bonds else order
            fitted_structures, misfit = ranked_structures[: pdf_set.n_fitted], np.full(len(order), np.inf)
            misfit[fitted_structures] = fit_structures(
                entry.pdf_by_noise[noise], entry.settings, fitted_structures, structure_table, free
            )
            cpu_seconds[1] += time.process_time() - start_time
            rank_row = _rank_row(entry, misfit, ranked_structures, structure_table, structure_types)
            result_rows.append({"noise": noise} | _shape_columns(shapes[entry.shape_index]) | rank_row)
    lookup_ms, fits_ms = 1e3 * cpu_seconds / len(pdfs)
    return result_rows, {"ms_look": round(lookup_ms, 2), "ms_fits": round(fits_ms, 2), "fits": pdf_set.n_fitted}


def _best_of_each_name(order: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the best structure of each name, best first."""
    return order[np.sort(np.unique(names[order], return_index=True)[1])]


def _shape_columns(shape: Cluster) -> dict:
    """Return the columns of a row that describe the true shape."""
    return {"type": shape.family, "shape": shape.label, "atoms": len(shape.positions)}


def _rank_row(
    pdf: SimulatedPdf,
    misfit: np.ndarray,
    order: np.ndarray,
    structure_table: StructureTable,
    structure_types: np.ndarray,
) -> dict:
    """Return the other columns of a row. The rank is that of the shape if the bond length is not listed."""
    has_true_shape = structure_table.shape_index == pdf.shape_index
    true_type = structure_types[has_true_shape][0]
    is_true_structure = (
        has_true_shape
        if pdf.bond_index < 0
        else has_true_shape & np.isclose(structure_table.bond, pdf.settings["bond"])
    )
    n_better, n_tied = rank_name(
        misfit, is_true_structure, structure_table.shape_index if pdf.bond_index < 0 else np.arange(len(misfit))
    )
    return {
        **{name: round(value, 3) for name, value in pdf.settings.items()},
        "before": n_better,
        "tied": n_tied,
        "type_before": rank_name(misfit, structure_types == true_type, structure_types)[0],
        "looked": int(is_true_structure[order].argmax()),
        "rw": _round_rw(misfit[is_true_structure].min()),
        "rw_other": _round_rw(misfit[~is_true_structure].min()),
    }


def _round_rw(rw: float) -> float | None:
    return round(float(rw), 5) if np.isfinite(rw) else None


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run the selected parts, write the rows and return them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=f"{', '.join(PDF_SETS)}; all by default")
    parser.add_argument("--every", type=int, help="use every N-th structure of the list")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="use few PDFs, and write nothing")
    options = parser.parse_args(arguments)
    if unknown_parts := set(options.parts) - set(PDF_SETS):
        parser.error(f"expected parts of {', '.join(PDF_SETS)}, got {', '.join(sorted(unknown_parts))}")
    provenance = {**json_rows.provenance(), "twins": count_twins()}
    all_rows = json_rows.read_lines(None if options.quick else options.out)
    for part in options.parts or (["listed"] if options.quick else list(PDF_SETS)):
        pdf_set = PDF_SETS[part]
        if options.quick or options.every:
            pdf_set = pdf_set._replace(stride=400 if options.quick else options.every)
        all_rows = [row for row in all_rows if row["part"] != part] + list(part_rows(part, pdf_set, provenance))
        if not options.quick:
            json_rows.write_lines(all_rows, options.out)
    return all_rows


def part_rows(part: str, pdf_set: PdfSet, provenance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part: one for each noise, and one for each PDF, with lists over the noises."""
    start_time, structures = time.perf_counter(), deepstruc_structures()
    n_bonds = round(np.log(structures.bonds[-1] / structures.bonds[0]) / np.log(BOND_RATIO)) + 1
    structure_table = build_structure_table(
        structures.shapes,
        np.geomspace(structures.bonds[0], structures.bonds[-1], n_bonds) if pdf_set.drawn_bonds else structures.bonds,
    )
    jax.block_until_ready(structure_table.sine_transforms)
    table_seconds = round(time.perf_counter() - start_time, 1)
    offset = pdf_set.stride // 2
    pdfs = [
        simulate_structure(number, pdf_set, structures)
        for number in range(offset, len(structures.shapes) * len(structures.bonds), pdf_set.stride)
    ]
    rows_by_noise = []
    for noise in pdf_set.noises:
        name_pdfs(pdfs[:1], noise, structure_table, pdf_set, structures.shapes)  # This call compiles and is not timed.
        noise_rows, times = name_pdfs(pdfs, noise, structure_table, pdf_set, structures.shapes)
        top_shares = {
            f"top{n_first}": round(np.mean([probability_within(row, n_first) for row in noise_rows]), 5)
            for n_first in (1, 3, 5)
        }
        run_row = {
            "part": part,
            "noise": noise,
            "pdfs": len(noise_rows),
            **top_shares,
            **times,
            "s_tables": table_seconds,
            **provenance,
        }
        json_rows.print_row(run_row)
        yield run_row
        rows_by_noise.append(noise_rows)
    for pdf_rows in zip(*rows_by_noise, strict=True):
        yield {"part": part} | {
            key: [row[key] for row in pdf_rows] if key in NOISE_COLUMNS else pdf_rows[0][key] for key in pdf_rows[0]
        }


if __name__ == "__main__":
    main()
