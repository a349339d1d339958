"""The experiments' own paths, on the smallest of cases, and their committed results."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network import card, dataset, evaluation, training
from jaxstruc.network.config import Sizes
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.structures.shapes import fcc

ATOMS = 43
"""Most atoms of the structures here."""


@pytest.fixture(scope="module")
def data():
    """Four PDFs as those of the kdd set, of its two smallest shapes."""
    shapes = [fcc((2, 2, 2)), fcc((2, 3, 2))]
    conditions = dataset._kdd_conditions(None, 4)
    shape, bond = np.array([0, 1, 0, 1]), np.array([2.7, 2.7, 2.9, 2.9])
    pdf = dataset._simulate_all(shapes, shape, bond, conditions, jax.random.key(0), None, batch=4)
    return dataset.Dataset(shapes, shape, bond, np.full(4, "Au"), conditions, pdf, "kdd", 0)


def run(repository, *words):
    result = subprocess.run(
        [sys.executable, *map(str, words)], cwd=repository, capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout


def test_the_scattering_table_in_the_readme_is_that_of_its_results(repository):
    text = (repository / "experiments" / "README.md").read_text()
    shown = text.split("<!-- benchmark_scattering --summary -->\n")[1].split("<!-- end -->")[0]
    assert shown == run(repository, "experiments/benchmark_scattering.py", "--summary")


def test_the_scattering_results_keep_their_errors_and_names(repository):
    rows = json.loads((repository / "experiments" / "results" / "benchmark_scattering.json").read_text())
    names = (
        "engine grid atoms batch quantity gradient seconds structures_per_second error ratio device versions".split()
    )
    assert all(set(names) <= set(row) for row in rows)
    values = [row for row in rows if row["engine"] == "jaxstruc" and row["error"] is not None and not row["gradient"]]
    assert len(values) > 15 and max(row["error"] for row in values) < 1e-5
    peaks = [row["peak_gigabytes"] for row in rows if row["atoms"] == 20000]
    assert peaks and max(peaks) < 2


def test_a_case_of_the_scattering_benchmark_runs(experiments, keeps_cores, monkeypatch, capsys):
    """The engines that are always there, on 13 atoms, with errors as they should be."""
    import benchmark_scattering as benchmark

    monkeypatch.setattr(benchmark, "ENGINES", {name: benchmark.ENGINES[name] for name in ("jaxstruc", "NumPy")})
    found = benchmark.case("kdd", 13, 1, "gr", False, 0.0) + benchmark.case("kdd", 13, 1, "iq", True, 0.0)
    assert [row["engine"] for row in found] == ["jaxstruc", "NumPy", "jaxstruc"]
    assert found[0]["error"] < 1e-5 and found[1]["error"] < 1e-12 and found[2]["error"] < 1e-4
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found


def row(**values):
    names = {"dataset": "kdd", "split": "random", "latent": 2, "draw": "sample", "model": "cvae", "seed": 0}
    return {**names, "metric": "r_p", "mean": 0.5, "sd": 0.1, "n": 137, "failed": 0, **values}


def log(folder, epochs, losses=(1.0,)):
    folder = folder / "seeds-0"
    (folder / "checkpoints" / str(epochs)).mkdir(parents=True)
    lines = [{"epoch": e + 1, "seed": 0, "validation_loss": losses[min(e, len(losses) - 1)]} for e in range(epochs)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_training_is_finished_at_its_last_epoch_or_without_patience(experiments, tmp_path):
    import trainings

    plan = trainings.planned("cvae", "random", 2, quick=True, runs=tmp_path)
    assert not trainings.finished(plan)
    log(plan.folder, 1)
    assert not trainings.finished(plan)
    log(plan.folder, 2)
    assert trainings.finished(plan) == plan
    assert trainings.finished(plan.of_seeds((0, 3))).config.seeds == (0,)
    patient = trainings.Planned(dataclasses.replace(plan.config, epochs=50, patience=3), tmp_path / "patient")
    log(patient.folder, 5, (3.0, 2.0, 2.0))
    assert trainings.finished(patient)
    assert not trainings.finished(patient._replace(config=dataclasses.replace(patient.config, patience=4)))
    (patient.folder / "seeds-0" / "checkpoints" / "5").rmdir()
    assert not trainings.finished(patient)


def test_no_warm_up_vanishes_and_long_trainings_can_stop_early(experiments):
    import trainings

    for split, epochs in trainings.EPOCHS.items():
        for model, most in epochs.items():
            config = trainings.planned(model, split, 2).config
            assert 0 < config.warmup <= most / 2
            assert 0 < config.pdf_warmup <= most / 3 if config.pdf else config.pdf_warmup == 0
            assert config.patience < most or most <= 2


def test_a_training_whose_loss_all_but_stops_falling_is_finished(experiments, tmp_path):
    import trainings

    plan = trainings.planned("cvae", "random", 2, quick=True, runs=tmp_path)
    patient = plan._replace(config=dataclasses.replace(plan.config, epochs=50, patience=3))
    log(plan.folder, 5, (3.0, 2.0, 1.99999, 1.99998, 1.99997))
    assert trainings.finished(patient)


def test_new_rows_take_the_place_of_their_combinations_alone(experiments):
    import table1_reconstruction as table1

    old = [
        row(),
        row(seed=1),
        row(model="dae"),
        row(latent=8),
        row(model="cvae+pdf", metric="t_test_r_p", against="cvae"),
    ]
    old.append(row(model="cvae+pdf", metric="t_test_r_p", against="nearest-template"))
    new = [row(mean=0.4)]
    kept = table1.replaced(old, new)
    assert kept == [row(model="dae"), row(mean=0.4), old[-1], row(latent=8)]
    assert table1.replaced(kept, new) == kept
    template = row(model="nearest-template", latent=None, draw=None)
    assert old[-1] not in table1.replaced(kept, [template])
    error = row(metric="error")
    assert table1.replaced([row(), error], [row(metric="error", mean=0.1)], measures=["error"]) == [
        row(), row(metric="error", mean=0.1),
    ]  # fmt: skip
    assert old[-1] in table1.replaced(kept, [{**template, "metric": "error"}], measures=["error"])


def test_failed_structures_are_counted(experiments):
    import table1_reconstruction as table1

    found = table1.spread(np.array([1.0, np.nan, 3.0, np.inf]))
    assert found == {"mean": 2.0, "sd": pytest.approx(2**0.5), "n": 2, "failed": 2}
    assert table1.spread(np.array([np.nan])) == {"mean": None, "sd": None, "n": 0, "failed": 1}


def test_paired_t_tests_are_of_the_differences_and_over_seeds_alone(experiments):
    import table1_reconstruction as table1

    rng = np.random.default_rng(0)
    one = {seed: {name: rng.normal(size=30) for name in table1.TESTED} for seed in (0, 1, 2)}
    other = {seed: {name: rng.normal(0.5, size=30) for name in table1.TESTED} for seed in (0, 1)}
    one[0]["r_p"][3] = np.nan
    found = table1.t_tests(one, other, {"against": "dae"})
    first, over = found[0], next(each for each in found if each["seed"] is None)
    assert first["metric"] == "t_test_r_p" and (first["n"], first["failed"]) == (29, 1)
    assert first["mean"] == pytest.approx(np.delete(one[0]["r_p"] - other[0]["r_p"], 3).mean())
    assert not {"t", "p"} & set(first)
    differences = [row["mean"] for row in found if row["seed"] is not None and row["metric"] == "t_test_r_p"]
    assert over["mean"] == pytest.approx(np.mean(differences)) and over["mean"] < 0
    assert over["t"] == pytest.approx(over["mean"] / (np.std(differences, ddof=1) / 2**0.5))
    assert 0 < over["p"] < 1 and over["n"] == 2 and len(found) == 2 * (2 + 1)


def test_a_structure_that_is_not_finite_has_no_measure(experiments, data):
    import table1_reconstruction as table1

    true = evaluation.truth(data, np.arange(4), atoms=ATOMS)
    broken = true._replace(positions=true.positions.at[0, 0, 0].set(np.nan))
    found = table1.measures(data, np.arange(4), broken)
    assert all(np.isnan(each[0]) and np.isfinite(each[1:]).all() for each in found.values())
    assert found["pearson"][1:].min() > 0.999


def test_the_descent_lowers_the_misfit_and_finds_the_structure(experiments, data):
    import pdf_loss_ablation as ablation

    true = evaluation.truth(data, np.arange(4), atoms=ATOMS)
    moved = 1.02 * true.positions + 0.1 * np.random.default_rng(0).normal(size=true.positions.shape)
    start = evaluation.Structures(jnp.asarray(moved, jnp.float32), true.mask)
    found = ablation.refine(start, jnp.asarray(data.pdf), data.conditions, steps=60)
    again = np.asarray(evaluation.simulate(found.structures, data.conditions))
    np.testing.assert_allclose(np.mean((again - data.pdf) ** 2, axis=1), found.after, rtol=1e-3, atol=1e-6)
    assert (np.asarray(found.after) < 0.1 * np.asarray(found.before)).all()


def test_noise_on_f_has_the_asked_size(experiments, data):
    """The variance of G(r) is that of white noise in F(Q), carried through the sine sum."""
    import pdf_loss_ablation as ablation

    chosen, noise = np.repeat(np.array([0]), 400), 0.1
    clean, found = (ablation.noisy(data, chosen, size, jax.random.key(0)) for size in (0.0, noise))
    np.testing.assert_allclose(clean, data.pdf[chosen], atol=1e-4)
    q, r = dataset.GRID.q, dataset.GRID.r
    instrument = debye.Instrument(uiso=1 / (8 * np.pi**2), delta2=2.0, qdamp=0.04)
    positions = data.shapes[0].positions * data.bond[0]
    pairs = curves.gather(jnp.asarray(positions), np.ones(len(positions), bool), dataset.GRID)
    amplitudes = form_factors.xray(form_factors.UNIT, jnp.asarray(q))
    f = debye.reduced_structure_function(pairs, instrument, amplitudes, np.array([len(positions)]), q)
    weights = np.full(q.size, 0.1)
    weights[[0, -1]] /= 2
    carried = (2 / np.pi) * np.sin(r[:, None] * q) * weights * np.exp(-0.5 * (0.04 * r[:, None]) ** 2)
    wanted = noise**2 * np.mean(np.asarray(f) ** 2) * np.sum(carried**2, axis=1)
    assert np.mean((found - clean) ** 2) == pytest.approx(wanted.mean(), rel=0.03)


def test_the_summary_of_rows_is_right(experiments):
    import summary

    rows = [row(mean=0.4, sd=0.2), row(seed=1, mean=0.6, sd=0.4, failed=3), row(metric="pearson", mean=0.9, sd=None)]
    rows.append(row(metric="t_test_r_p", against="dae", mean=-0.1, t=-2.0, p=0.03))
    rows.append(row(metric="t_test_r_p", against="dae", seed=None, mean=-0.1, t=-2.0, p=0.2))
    made = summary.table1(rows)
    assert "| random | cvae | 2 | sample | 2 | 0.5 ± 0.14 (0.3), 3 failed | 0.9 | – | – | – | † | – | † |" in made
    assert "| random | dae, the paper | 2 | sample | 1 | 0.4548 | 0.7482 | – | – | – | – | – | – |" in made
    assert "| random | 2 | sample | cvae | dae | R_p | -0.1 (0.1) | 0.2 |\n" in made and "structures" not in made
    assert made.endswith(
        "Comparisons: 1. p is below 0.05 in 0, where chance alone gives about 0.05, and below 0.05 / 1 = "
        "0.05, which allows for their number, in 0."
    )
    extra = {"noise": 0.1, "weight": 0.0, "refined": True, "seconds_per_structure": 0.25}
    made = summary.ablation([row(**extra), row(**extra, metric="pearson", mean=0.9)])
    assert "| random | 0.1 | cvae | 0 | yes | 1 | 0.9 (0.1) | 0.5 (0.1) | † | – | † | 0.25 |" in made
    made = summary.by_model(
        [row(metric="share_valid", mean=0.7, sd=None), row(metric="share_valid", mean=0.9, sd=None, seed=1)]
    )
    assert made.splitlines()[0] == "| measure | random, cvae, H = 2 |"
    assert made.splitlines()[-1] == "| share valid | 0.8 ± 0.14 |"


def test_small_ps_are_counted_one_by_one_and_all_together(experiments):
    import summary

    assert summary.counted([0.001, 0.01, 0.04, 0.5, 0.9]) == (
        "Comparisons: 5. p is below 0.05 in 3, where chance alone gives about 0.25, and below 0.05 / 5 = 0.01, which "
        "allows for their number, in 1."
    )


def test_the_summary_changes_nothing_but_what_is_between_its_markers(experiments, tmp_path):
    import summary

    text = "before\n" + "".join(f"<!-- {marker} -->\nold\n<!-- end -->\nafter\n" for marker in summary.TABLES)
    once = summary.written(text, tmp_path)
    assert summary.written(once, tmp_path) == once
    assert (
        once.count("not run yet: `python experiments/") == once.count("after") == len(summary.TABLES)
        and "old" not in once
    )
    with pytest.raises(ValueError, match="Expected <!-- table1 -->"):
        summary.written("nothing", tmp_path)


def test_the_tables_in_the_readme_are_those_of_the_results(experiments):
    import summary

    text = summary.README.read_text("utf-8")
    assert summary.written(text, experiments / "results") == text


def test_untrained_models_are_left_out_where_asked(experiments, tmp_path, capsys, monkeypatch):
    import pdf_loss_ablation
    import table1_reconstruction
    import trainings

    monkeypatch.setattr(trainings, "RUNS", tmp_path)
    words = ["--trained-only", "--out", str(tmp_path / "rows.jsonl")]
    assert table1_reconstruction.main(["--models", "cvae", "dae", *words]) == []
    assert capsys.readouterr().err.count("is not trained") == 8
    assert pdf_loss_ablation.main(words) == []
    assert "the shape split" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.long
def test_table_1_and_the_ablation_run_on_a_small_training(experiments, data, tmp_path, monkeypatch):
    """Sixty PDFs, a small network, one epoch; the paths of the whole, to rows, tables and a picture."""
    import pdf_loss_ablation as ablation
    import summary
    import table1_reconstruction as table1
    import trainings

    repeated = np.tile(np.arange(4), 15)
    columns = {name: getattr(data, name)[repeated] for name in ("shape", "bond", "element", "pdf")}
    conditions = jax.tree.map(lambda column: column[repeated], data.conditions)
    small = data._replace(**columns, conditions=conditions)
    parts = dataset.Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    monkeypatch.setattr(dataset, "split", lambda *_, **__: parts)
    for module in (training, card, trainings):
        monkeypatch.setattr(module, "sizes", lambda options: Sizes(options.latent, atoms=ATOMS, satellites=4))
    monkeypatch.setattr(table1, "ATOMS", ATOMS)
    monkeypatch.setattr(trainings, "RUNS", tmp_path)
    monkeypatch.setattr(trainings, "data_of", lambda split: small)
    monkeypatch.setattr(trainings, "EPOCHS", {"random": {"cvae": 1}})
    monkeypatch.setattr(trainings, "GROUPS", ((0,), (1,)))
    monkeypatch.setattr(table1, "MODELS", {"cvae": {}})
    monkeypatch.setattr(table1, "DRAWS", {"sample": True})
    monkeypatch.setattr(table1, "PAIRS", (("cvae", table1.TEMPLATE),))
    words = ["--models", "cvae", table1.TEMPLATE, "--splits", "random", "--latents", "2"]
    out = tmp_path / "table1_reconstruction.jsonl"
    found = table1.main([*words, "--out", str(out)])
    wanted = "experiment dataset latent draw model split seed metric mean sd n failed config commit versions"
    assert all(set(wanted.split()) <= set(each) for each in found)
    assert {each["metric"] for each in found} == {*summary.MEASURES, "t_test_r_p", "t_test_pearson"}
    exact = [each for each in found if each["model"] == table1.TEMPLATE and each["metric"] == "pearson"]
    assert [each["mean"] > 0.999 for each in exact] == [True, True]
    first = out.read_text()
    train, resumed = trainings.trained, []

    def resuming(*given, **more):
        resumed.append(train(*given, **more))
        return resumed[0]

    monkeypatch.setattr(trainings, "trained", resuming)
    table1.main([*words, "--trained-only", "--out", str(out)])
    assert out.read_text() == first
    monkeypatch.setattr(trainings, "trained", lambda *_, **__: resumed[0])
    monkeypatch.setattr(ablation, "MODELS", ("cvae",))
    monkeypatch.setattr(ablation, "NOISES", (0.1,))
    monkeypatch.setattr(ablation, "STEPS", 2)
    out = tmp_path / "pdf_loss_ablation.jsonl"
    found = ablation.main(["--splits", "random", "--out", str(out)])
    both = [
        [row["mean"] for row in found if row["metric"] == "r_p" and row["refined"] is flag] for flag in (False, True)
    ]
    assert len(both[0]) == len(both[1]) == 2
    assert out.with_suffix(".png").stat().st_size > 10_000
    text = "".join(f"<!-- {marker} -->\n<!-- end -->\n" for marker in summary.TABLES)
    assert summary.written(text, tmp_path).count("| random |") >= 6
