import json
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Decahedron

from jaxstruc.inference import candidates, target
from jaxstruc.scattering import debye
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import lattices, library
from jaxstruc.structures.shapes import fcc

SMALL = ((2, 1, 1), (3, 1, 0), (2, 2, 1), (3, 2, 0))
R, LIMITS = np.arange(1.5, 10.001, 0.1).round(1), {"qmin": 0.58, "qmax": 21.0}
"""One range for all fits: they share their compilation."""


def small():
    found = ((each, Decahedron("Au", *each).positions) for each in SMALL)
    return library.collect(lattices.scaled("decahedron", f"({p},{q},{r})", positions) for (p, q, r), positions in found)


def test_simulated_data_are_those_of_the_package(experiments):
    import measured_pdfs

    positions = fcc((2, 2, 2)).positions * 2.88
    q = np.linspace(1, 20, 191)
    pairs = debye.pairs_of(jnp.asarray(positions, jnp.float32), np.ones(19, bool))
    instrument = Instrument(uiso=0.01, delta2=2.0)
    theirs = debye.reduced_structure_function(
        pairs, instrument, jnp.ones((1, q.size)), jnp.full(1, 19.0), jnp.asarray(q, jnp.float32)
    )
    ours = measured_pdfs.structure_function(positions, q, uiso=0.01, delta2=2.0)
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(ours).max())


def test_the_decahedra_of_the_course_are_16(experiments):
    import measured_pdfs

    found = measured_pdfs.decahedra()
    assert len({len(atoms) for atoms in found.values()}) == len(found) == 16
    assert len(found[6, 1, 1]) == 423


@pytest.mark.slow
@pytest.mark.long
def test_a_set_of_weights_holds_the_truth_where_noise_is_small(experiments, monkeypatch):
    import measured_pdfs

    monkeypatch.setattr(measured_pdfs, "R", R)
    monkeypatch.setattr(measured_pdfs, "LIMITS", LIMITS)
    row = measured_pdfs.calibration(0.05, draws=4, candidates=measured_pdfs.decahedra(SMALL), truth=(2, 1, 1))
    assert row["coverage"] == row["first"] == row["size"] == 1.0
    assert row["rw_true"] < row["rw_second"] and row["converged"] == 1.0
    assert 4 < row["independent"] <= row["all_points"]
    assert json.loads(json.dumps(row)) == row


@pytest.mark.slow
@pytest.mark.long
def test_a_measured_file_gives_a_row_without_its_data_or_its_folder(experiments, tmp_path, capsys, monkeypatch):
    import measured_pdfs

    out = tmp_path / "rows.jsonl"
    known = lattices.scaled("decahedron", "known", Decahedron("Au", 2, 1, 1).positions)
    rng = np.random.default_rng(0)
    [g] = measured_pdfs.draws_of(known.positions * 2.9, R, rng, noise=0.1, draws=1, **LIMITS, uiso=0.01, delta2=2.0)
    lines = ["composition = Au", *(f"{name} = {value}" for name, value in LIMITS.items())]
    lines += [f"{x:g} {y:g}" for x, y in zip(R, g, strict=True)]
    path = tmp_path / "private" / "sample.gr"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    less = {"names": ("decahedron",), "max_atoms": 60}
    monkeypatch.setattr(candidates, "BATCH", candidates.FEW)  # of the size that the other tests compile
    monkeypatch.setattr(measured_pdfs, "mine", partial(measured_pdfs.mine, **less))
    [row] = measured_pdfs.main(["--data", str(path.parent), "--figures", str(tmp_path / "out"), "--out", str(out)])
    assert (row["file"], row["element"], row["status"]) == ("sample.gr", "Au", "solved")
    assert row["type"] == row["family"] == "decahedron"
    assert row["cluster"] == "(2,1,1)" and row["n_atoms"] == 49 and row["rw"] < row["rw_second"]
    assert row["rw_decahedron"] == pytest.approx(row["rw"], abs=1e-6)
    assert row["nearest_neighbour"] == pytest.approx(2.9, abs=0.01) and row["nearest_neighbour_error"] > 0
    assert row["rw_fcc_like"] is None and set(row["rw_families"]) == {"decahedron"}
    assert str(tmp_path) not in json.dumps(row)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(out.read_text()) == row
    assert (tmp_path / "out" / "fits" / "sample.png").exists()
    assert out.with_suffix(".png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.long
def test_relaxing_helps_where_the_particle_is_relaxed_and_not_where_it_is_ideal(
    experiments, tmp_path, capsys, monkeypatch
):
    import relax_refit

    moved = {"rw_coordinates": 0.01, "moved": 0.01}  # its compilation takes longer than all else
    monkeypatch.setattr(relax_refit, "moved_by_data", lambda *_: moved)
    monkeypatch.setattr(relax_refit, "Range", partial(relax_refit.Range, R, **LIMITS))
    out = tmp_path / "relaxed.jsonl"
    few = ["--quick", "--pqr", "2", "1", "1", "--noise", "0.05", "--draws", "1", "--steps", "6"]
    relax_refit.main([*few, "--out", str(out)])
    ideal, relaxed = map(json.loads, out.read_text().splitlines())
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [ideal, relaxed]
    assert ideal["difference"] > 0 > relaxed["difference"]
    assert ideal["weight_relaxed"] < 0.5 < relaxed["weight_relaxed"]
    assert relaxed["nearest_neighbour_relaxed"] < relaxed["nearest_neighbour_ideal"] and relaxed["energy_fall"] > 0
    assert len(ideal["rw_steps"]) == ideal["steps"] + 1 == 7
    assert out.with_suffix(".png").stat().st_size > 5000


def test_the_plain_model_beside_ours_is_the_debye_sum(experiments, keeps_cores):
    import benchmark_refinement as benchmark
    from measured_pdfs import structure_function, transform

    clusters, q = small(), np.linspace(1, 22, 1051)
    model = benchmark.Plain(library.table(clusters, 0))
    positions = library.cluster(clusters, 0).positions * benchmark.BOND * 1.01
    f = structure_function(positions, q, uiso=0.008, delta2=2.0)
    g = transform(q, benchmark.R, qdamp=0.04) @ f
    curve = model.curve(np.array([1.0, 1.01, 0.008, 2.0, 0.04]))
    assert np.linalg.norm(curve - g) < 1e-3 * np.linalg.norm(g)
    assert model.fit(g, model.start(g, 1.0), enough=1e-6) < 1e-3


@pytest.mark.slow
@pytest.mark.long
def test_ours_beside_scipy_and_optimistix_has_rows_and_no_larger_misfit(experiments, keeps_cores):
    import benchmark_refinement as benchmark

    clusters = small()
    span = target.span(rmax=20.0, qmax=22.0, diameter=float(clusters.diameter.max()) * benchmark.BOND)
    g = benchmark.data(clusters, 1, seed=0)
    goal = benchmark.target(g, span)
    chosen, fits, rows = benchmark.batches(clusters, 4, goal, runs=1)
    assert [row["what"] for row in rows] == ["templates and fits", "templates", "fits"]
    assert all(row["batch"] == 4 and row["fits_per_second"] > 0 for row in rows)
    row = benchmark.peer(clusters, chosen, fits, goal, g, count=2)
    assert row["largest_excess"] < 2e-3 and len(row["rw"]) == 2
    row = benchmark.library_peer(clusters, chosen, fits, goal, runs=1)
    assert row["engine"] == "optimistix" and row["batch"] == 4 and row["fits_per_second"] > 0
    assert row["converged"] == 1.0 and row["steps"] <= row["most_steps"] < benchmark.MOST_STEPS
    assert row["largest_excess"] < 1e-3 and row["least_excess"] > -0.02


@pytest.mark.slow
@pytest.mark.long
def test_what_is_trusted_is_tried_on_simulated_particles(experiments, tmp_path, capsys):
    """A case of two parts with a small library: the best fit is screened, the residual of the truth is noise."""
    import summary
    import trust

    out = tmp_path / "trust.jsonl"
    few = ["screening", "verdict", "--count", "1", "--max-atoms", "40", "--out", str(out)]
    trust.main(few)
    one, two = rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert one["part"] == "screening" and one["place"] < 20 and one["rw"] == one["rw_chosen"] < 0.1
    assert two["part"] == "verdict" and 0.05 < two["structure"] < 3 and two["size_seen"] > 5
    capsys.readouterr()
    trust.main(few)
    assert not capsys.readouterr().out  # what is done is not done again
    text = summary.trust(rows)
    assert "| best of all fits among those screened | 1 | 100.0 % |" in text and "| 0 | – |" in text
