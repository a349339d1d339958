"""Experiments on the smallest cases, and their committed results."""

import dataclasses
import json
from functools import partial

import evaluation
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters.fcc_shapes import fcc_cluster
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.model import CVAE, ModelSizes
from jaxstruc.scattering import debye, form_factors, pair_distribution

MAX_ATOMS = 43
"""Maximum number of atoms of the structures."""


@pytest.fixture(scope="module")
def data():
    """Return four PDFs of the two smallest shapes of the preset `kdd`."""
    shapes = [fcc_cluster((2, 2, 2)), fcc_cluster((2, 3, 2))]
    conditions = dataset._kdd_conditions(None, 4)
    shape_index, bond = np.array([0, 1, 0, 1]), np.array([2.7, 2.7, 2.9, 2.9])
    pdf = dataset._simulate_all(shapes, shape_index, bond, conditions, jax.random.key(0), None, batch_size=4)
    return dataset.Dataset(shapes, shape_index, bond, np.full(4, "Au"), conditions, pdf, "kdd", 0)


def test_the_scattering_results_keep_their_errors_and_names(repository):
    rows = json.loads((repository / "experiments" / "results" / "benchmark_scattering.json").read_text())
    column_names = (
        "engine grid atoms batch quantity gradient seconds structures_per_second error ratio device versions".split()
    )
    assert all(set(column_names) <= set(row) for row in rows)
    error_rows = [
        row for row in rows if row["engine"] == "jaxstruc" and row["error"] is not None and not row["gradient"]
    ]
    assert len(error_rows) > 15 and max(row["error"] for row in error_rows) < 1e-5
    peaks = [row["peak_gigabytes"] for row in rows if row["atoms"] == 20000]
    assert peaks and max(peaks) < 2


def test_a_case_of_the_scattering_benchmark_runs(experiments, restore_cpu_affinity, capsys):
    """The engines that are always installed run on 13 atoms with small errors."""
    import benchmark_scattering as benchmark

    run_case = partial(benchmark.run_case, engine_names=("jaxstruc", "NumPy"))
    rows = run_case("kdd", 13, 1, "gr", False, 0.0) + run_case("kdd", 13, 1, "iq", True, 0.0)
    assert [row["engine"] for row in rows] == ["jaxstruc", "NumPy", "jaxstruc"]
    assert rows[0]["error"] < 1e-5 and rows[1]["error"] < 1e-12 and rows[2]["error"] < 1e-4
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


def result_row(**values):
    names = {"dataset": "kdd", "split": "random", "latent": 2, "draw": "sample", "model": "cvae", "seed": 0}
    return {**names, "metric": "r_p", "mean": 0.5, "sd": 0.1, "n": 137, "failed": 0, **values}


def write_metrics(folder, epochs, losses=(1.0,)):
    folder = folder / "seeds-0"
    (folder / "checkpoints" / str(epochs)).mkdir(parents=True)
    lines = [
        {"epoch": epoch + 1, "seed": 0, "validation_loss": losses[min(epoch, len(losses) - 1)]}
        for epoch in range(epochs)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_training_is_finished_at_its_last_epoch_or_without_patience(experiments, tmp_path):
    import trainings

    plan = trainings.training_plan("cvae", "random", 2, quick=True, runs=tmp_path)
    assert not trainings.finished_plan(plan)
    write_metrics(plan.folder, 1)
    assert not trainings.finished_plan(plan)
    write_metrics(plan.folder, 2)
    assert trainings.finished_plan(plan) == plan
    assert trainings.finished_plan(plan.with_seeds((0, 3))).config.seeds == (0,)
    patient_plan = trainings.TrainingPlan(dataclasses.replace(plan.config, epochs=50, patience=3), tmp_path / "patient")
    write_metrics(patient_plan.folder, 5, (3.0, 2.0, 2.0))
    assert trainings.finished_plan(patient_plan)
    assert not trainings.finished_plan(
        patient_plan._replace(config=dataclasses.replace(patient_plan.config, patience=4))
    )
    (patient_plan.folder / "seeds-0" / "checkpoints" / "5").rmdir()
    assert not trainings.finished_plan(patient_plan)


def test_no_warm_up_vanishes_and_long_trainings_can_stop_early(experiments):
    import trainings

    for split, epochs_by_model in trainings.EPOCHS.items():
        for model, max_epochs in epochs_by_model.items():
            config = trainings.training_plan(model, split, 2).config
            assert 0 < config.warmup <= max_epochs / 2
            assert 0 < config.pdf_warmup <= max_epochs / 3 if config.pdf else config.pdf_warmup == 0
            assert config.patience < max_epochs or max_epochs <= 2


def test_a_training_whose_loss_all_but_stops_falling_is_finished(experiments, tmp_path):
    import trainings

    plan = trainings.training_plan("cvae", "random", 2, quick=True, runs=tmp_path)
    patient_plan = plan._replace(config=dataclasses.replace(plan.config, epochs=50, patience=3))
    write_metrics(plan.folder, 5, (3.0, 2.0, 1.99999, 1.99998, 1.99997))
    assert trainings.finished_plan(patient_plan)


def test_new_rows_take_the_place_of_their_combinations_alone(experiments):
    import table1_reconstruction as table1

    old_rows = [
        result_row(),
        result_row(seed=1),
        result_row(model="dae"),
        result_row(latent=8),
        result_row(model="cvae+pdf", metric="t_test_r_p", against="cvae"),
    ]
    old_rows.append(result_row(model="cvae+pdf", metric="t_test_r_p", against="nearest-template"))
    new_rows = [result_row(mean=0.4)]
    merged_rows = table1.replace_rows(old_rows, new_rows)
    assert merged_rows == [result_row(model="dae"), result_row(mean=0.4), old_rows[-1], result_row(latent=8)]
    assert table1.replace_rows(merged_rows, new_rows) == merged_rows
    template_row = result_row(model="nearest-template", latent=None, draw=None)
    assert old_rows[-1] not in table1.replace_rows(merged_rows, [template_row])
    error_row = result_row(metric="error")
    assert table1.replace_rows(
        [result_row(), error_row], [result_row(metric="error", mean=0.1)], measures=["error"]
    ) == [
        result_row(),
        result_row(metric="error", mean=0.1),
    ]
    assert old_rows[-1] in table1.replace_rows(merged_rows, [{**template_row, "metric": "error"}], measures=["error"])


def test_failed_structures_are_counted(experiments):
    import table1_reconstruction as table1

    statistics = table1.summary_statistics(np.array([1.0, np.nan, 3.0, np.inf]))
    assert statistics == {"mean": 2.0, "sd": pytest.approx(2**0.5), "n": 2, "failed": 2}
    assert table1.summary_statistics(np.array([np.nan])) == {"mean": None, "sd": None, "n": 0, "failed": 1}


def test_paired_t_tests_are_of_the_differences_and_over_seeds_alone(experiments):
    import table1_reconstruction as table1

    rng = np.random.default_rng(0)
    first_values = {seed: {name: rng.normal(size=30) for name in table1.TESTED_MEASURES} for seed in (0, 1, 2)}
    second_values = {seed: {name: rng.normal(0.5, size=30) for name in table1.TESTED_MEASURES} for seed in (0, 1)}
    first_values[0]["r_p"][3] = np.nan
    rows = table1.t_test_rows(first_values, second_values, {"against": "dae"})
    first_row, pooled_row = rows[0], next(test_row for test_row in rows if test_row["seed"] is None)
    assert first_row["metric"] == "t_test_r_p" and (first_row["n"], first_row["failed"]) == (29, 1)
    assert first_row["mean"] == pytest.approx(np.delete(first_values[0]["r_p"] - second_values[0]["r_p"], 3).mean())
    assert not {"t", "p"} & set(first_row)
    differences = [row["mean"] for row in rows if row["seed"] is not None and row["metric"] == "t_test_r_p"]
    assert pooled_row["mean"] == pytest.approx(np.mean(differences)) and pooled_row["mean"] < 0
    assert pooled_row["t"] == pytest.approx(pooled_row["mean"] / (np.std(differences, ddof=1) / 2**0.5))
    assert 0 < pooled_row["p"] < 1 and pooled_row["n"] == 2 and len(rows) == 2 * (2 + 1)


def test_a_structure_that_is_not_finite_has_no_measure(experiments, data):
    import table1_reconstruction as table1

    true_structures = evaluation.true_structures(data, np.arange(4), max_atoms=MAX_ATOMS)
    broken_structures = true_structures._replace(positions=true_structures.positions.at[0, 0, 0].set(np.nan))
    measures = table1.structure_measures(data, np.arange(4), broken_structures)
    assert all(np.isnan(values[0]) and np.isfinite(values[1:]).all() for values in measures.values())
    assert measures["pearson"][1:].min() > 0.999


def test_the_descent_lowers_the_misfit_and_finds_the_structure(experiments, data):
    import pdf_loss_ablation as ablation

    true_structures = evaluation.true_structures(data, np.arange(4), max_atoms=MAX_ATOMS)
    moved_positions = 1.02 * true_structures.positions + 0.1 * np.random.default_rng(0).normal(
        size=true_structures.positions.shape
    )
    start_structures = evaluation.StructureBatch(jnp.asarray(moved_positions, jnp.float32), true_structures.mask)
    refinement = ablation.refine_structures(start_structures, jnp.asarray(data.pdf), data.conditions, steps=60)
    simulated_pdfs = np.asarray(evaluation.simulate_structures(refinement.structures, data.conditions))
    np.testing.assert_allclose(
        np.mean((simulated_pdfs - data.pdf) ** 2, axis=1), refinement.end_misfit, rtol=1e-3, atol=1e-6
    )
    assert (np.asarray(refinement.end_misfit) < 0.1 * np.asarray(refinement.start_misfit)).all()


def test_noise_on_f_has_the_requested_standard_deviation(experiments, data):
    """The variance of G(r) is that of white noise on F(Q) after the sine transform."""
    import pdf_loss_ablation as ablation

    rows, noise = np.repeat(np.array([0]), 400), 0.1
    clean_pdfs, noisy_pdfs = (
        ablation.simulate_noisy_pdfs(data, rows, noise_level, jax.random.key(0)) for noise_level in (0.0, noise)
    )
    np.testing.assert_allclose(clean_pdfs, data.pdf[rows], atol=1e-4)
    q, r = dataset.PDF_GRID.q, dataset.PDF_GRID.r
    instrument = debye.Instrument(uiso=1 / (8 * np.pi**2), delta2=2.0, qdamp=0.04)
    positions = data.shapes[0].positions * data.bond[0]
    pairs = pair_distribution.pair_distances_from_positions(
        jnp.asarray(positions), np.ones(len(positions), bool), dataset.PDF_GRID
    )
    amplitudes = form_factors.xray_form_factors(form_factors.UNIT_COEFFICIENTS, jnp.asarray(q))
    f = debye.reduced_structure_function(pairs, instrument, amplitudes, np.array([float(len(positions))]), q)
    weights = np.full(q.size, 0.1)
    weights[[0, -1]] /= 2
    transform_matrix = (2 / np.pi) * np.sin(r[:, None] * q) * weights * np.exp(-0.5 * (0.04 * r[:, None]) ** 2)
    expected_variance = noise**2 * np.mean(np.asarray(f) ** 2) * np.sum(transform_matrix**2, axis=1)
    assert np.mean((noisy_pdfs - clean_pdfs) ** 2) == pytest.approx(expected_variance.mean(), rel=0.03)


def test_untrained_models_are_left_out_if_asked(experiments, tmp_path, capsys):
    import pdf_loss_ablation
    import table1_reconstruction
    import trainings

    source = trainings.TrainingSource(partial(trainings.training_plan, runs=tmp_path))
    arguments = ["--trained-only", "--out", str(tmp_path / "rows.jsonl")]
    assert table1_reconstruction.main(["--models", "cvae", "dae", *arguments], source=source) == []
    assert capsys.readouterr().err.count("is not trained") == 8
    assert pdf_loss_ablation.main(arguments, source=source) == []
    assert "the shape split" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.long
def test_table_1_and_the_ablation_run_on_a_small_training(experiments, data, tmp_path):
    """A small network is trained on sixty PDFs for one epoch. Rows, tables and a picture are made from it."""
    import network_tables
    import pdf_loss_ablation as ablation
    import table1_reconstruction as table1
    import trainings

    repeated_rows = np.tile(np.arange(4), 15)
    columns = {name: getattr(data, name)[repeated_rows] for name in ("shape_index", "bond", "element", "pdf")}
    conditions = jax.tree.map(lambda column: column[repeated_rows], data.conditions)
    small_dataset = data._replace(**columns, conditions=conditions)
    split = dataset.Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    train_or_read = partial(
        trainings.train_or_read,
        split_data=lambda *_, **__: split,
        network=CVAE(ModelSizes(2, atoms=MAX_ATOMS, satellites=4)),
    )

    def plan_short_training(model, split, latent, *, quick=False):
        plan = trainings.training_plan(model, split, latent, runs=tmp_path)
        return plan._replace(config=dataclasses.replace(plan.config, epochs=1, warmup=0.5, pdf_warmup=0, seeds=(0, 1)))

    source = trainings.TrainingSource(plan_short_training, lambda split: small_dataset, train_or_read)
    arguments = ["--models", "cvae", table1.TEMPLATE, "--splits", "random", "--latents", "2"]
    out, pairs = tmp_path / "table1_reconstruction.jsonl", (("cvae", table1.TEMPLATE),)
    rows = table1.main([*arguments, "--out", str(out)], source=source, pairs=pairs)
    column_names = "experiment dataset latent draw model split seed metric mean sd n failed config commit versions"
    assert all(set(column_names.split()) <= set(table_row) for table_row in rows)
    assert {table_row["metric"] for table_row in rows} == {*network_tables.MEASURES, "t_test_r_p", "t_test_pearson"}
    template_rows = [
        table_row for table_row in rows if table_row["model"] == table1.TEMPLATE and table_row["metric"] == "pearson"
    ]
    assert [table_row["mean"] > 0.999 for table_row in template_rows] == [True, True]
    first_text = out.read_text()
    table1.main([*arguments, "--trained-only", "--out", str(out)], source=source, pairs=pairs)
    assert out.read_text() == first_text
    assert network_tables.reconstruction_table(rows).count("| random |") >= 3
    out = tmp_path / "pdf_loss_ablation.jsonl"
    rows = ablation.main(
        ["--splits", "random", "--out", str(out)], source=source, models=("cvae",), noises=(0.1,), steps=2
    )
    mean_misfits = [
        [row["mean"] for row in rows if row["metric"] == "r_p" and row["refined"] is flag] for flag in (False, True)
    ]
    assert len(mean_misfits[0]) == len(mean_misfits[1]) == 2
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert network_tables.ablation_table(rows).count("| random |") >= 2
