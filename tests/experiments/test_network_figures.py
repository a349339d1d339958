import json
from functools import partial

import evaluation
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.fcc_shapes import fcc_cluster
from jaxstruc.clusters.lattices import fcc_lattice
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.model import CVAE, ModelSizes

ROW_COLUMNS = "experiment dataset latent model split seed metric mean sd n config commit versions".split()


@pytest.fixture(scope="module")
def data():
    """Return forty PDFs of clusters of 13 and 19 atoms."""
    shapes = [Cluster("fcc", "13", thirteen_atoms()), fcc_cluster((2, 2, 2))]
    return dataset.generate("kdd", seed=0, shapes=shapes, elements=("Cu", "Au"))


def thirteen_atoms():
    """Return an atom and its twelve neighbours in the fcc lattice."""
    lattice = fcc_lattice(1) / np.sqrt(2)
    return lattice[np.linalg.norm(lattice, axis=1) < 1.1]


@pytest.fixture
def untrained_source(experiments, data):
    """Return a source of trainings whose models are small untrained networks."""
    import trainings

    def untrained_models(data, plan, *, quick):
        network = CVAE(ModelSizes(latent=plan.config.latent, atoms=19, satellites=4))
        splits = [dataset.Split(np.arange(20), np.arange(20, 30), np.arange(0, 40, 5))]
        return trainings.TrainedModels([initial_params(network)], splits, network, plan)

    def initial_params(network):
        rng, key = np.random.default_rng(0), jax.random.key(0)
        features = dataset.shape_features(data.shapes[:1], atoms=19, satellites=4)
        leaf_structs = jax.eval_shape(network.init, key, features, jnp.asarray(data.pdf[:1]), key)
        return jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0])), leaf_structs)

    return trainings.TrainingSource(load_dataset=lambda split: data, train_or_read=untrained_models)


def run_figure(module, out, *arguments, **options):
    """Return the rows of a small run, after checking that its picture exists."""
    module.main(["--quick", "--out", str(out), *arguments], **options)
    assert out.with_suffix(".png").stat().st_size > 10_000
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows and all(set(ROW_COLUMNS) <= set(row) for row in rows)
    return rows


@pytest.mark.slow
@pytest.mark.long
def test_figure_1_has_rows_and_a_picture(untrained_source, tmp_path):
    import figure1_interpolation as figure

    options = {"source": untrained_source, "n_paths": 3, "n_points": 5}
    rows = run_figure(figure, tmp_path / "figure.jsonl", "--models", "dae", "cvae", **options)
    assert {(row["model"], row["ends"]) for row in rows} == {
        (model, end_source) for model in ("dae", "cvae") for end_source in ("posterior", "prior")
    }
    assert {"valid", "pearson_ends", "largest_step"} <= {row["metric"] for row in rows}
    assert all(row["n"] == 3 for row in rows if row["metric"] == "valid")


def test_ends_of_a_path_differ_in_their_number_of_atoms(experiments, data):
    import figure1_interpolation as figure
    import network_figures

    path_ends = figure.select_pairs(data, np.arange(40), count=20, seed=0)
    np.testing.assert_array_equal(path_ends, figure.select_pairs(data, np.arange(40), count=20, seed=0))
    atoms = network_figures.atom_counts(data, path_ends)
    assert path_ends.shape == (20, 2) and set(atoms.ravel()) == {13, 19} and (atoms[:, 0] != atoms[:, 1]).all()


def true_path(data, *, points):
    """Return a path whose points are one true structure in different orientations."""
    import figure1_interpolation as figure

    structure = evaluation.true_structures(data, np.array([30]), max_atoms=19)
    rotations = np.linalg.qr(np.random.default_rng(0).normal(size=(points, 3, 3)))[0]
    positions = np.einsum("ai,pij->paj", np.asarray(structure.positions[0]), rotations)[None]
    mask = np.repeat(np.asarray(structure.mask)[None], points, axis=1)
    return figure.LatentPaths(positions, mask, np.ones((1, points), bool))


def test_a_path_of_true_structures_is_valid_and_still_and_ends_at_them(experiments, data):
    import figure1_interpolation as figure

    measures = figure.path_measures(data, np.array([[30, 30]]), true_path(data, points=5))
    assert measures["valid"] == 1 and measures["count_exact_ends"].all() and measures["count_changes"] == 0
    assert measures["largest_step"] < 1e-5 and measures["pearson_ends"].min() > 0.9999


def test_a_path_is_not_valid_where_two_atoms_are_one_or_all_are_shrunk(experiments, data):
    import figure1_interpolation as figure

    path = true_path(data, points=6)
    path.positions[0, 1, 3] = path.positions[0, 1, 4]
    path.positions[0, 2] *= 0.5
    path.positions[0, 3] = np.nan
    bonds = float(data.bond.min()), float(data.bond.max())
    np.testing.assert_array_equal(figure.validity(path, bonds)[0], [True, False, False, False, True, True])


def test_a_step_is_that_of_the_atom_that_moves_most(experiments):
    import figure1_interpolation as figure

    positions = fcc_cluster((2, 2, 2)).positions
    moved_positions = positions.copy()
    moved_positions[3] += [0, 0, 0.1]
    assert figure.largest_step(positions, moved_positions) == pytest.approx(0.1, rel=0.1)
    assert np.isnan(figure.largest_step(positions, moved_positions * np.nan))


def test_the_encoders_density_is_the_posterior_that_is_trained(untrained_source, data):
    import figure1_interpolation as figure

    plan = untrained_source.make_plan("cvae", "random", 2, quick=True)
    models = untrained_source.train_or_read(data, plan, quick=True)
    path_ends = np.array([[0, 30]])
    features = figure.structure_features(data, path_ends[0], atoms=19, satellites=4)
    pdf = dataset.normalise(jnp.asarray(data.pdf[path_ends[0]]))
    _, posterior, prior = jax.jit(models.network.apply)(models.params[0], features, pdf, jax.random.key(0))
    latent_ends = figure.latent_ends(data, models, 0, path_ends)
    np.testing.assert_allclose(latent_ends["posterior"][0], posterior.mean, atol=1e-5)
    np.testing.assert_allclose(latent_ends["prior"][0], prior.mean, atol=1e-5)


@pytest.mark.slow
@pytest.mark.long
def test_figure_5_has_rows_and_a_picture(untrained_source, tmp_path):
    import figure5_examples

    rows = run_figure(figure5_examples, tmp_path / "figure.jsonl", source=untrained_source)
    assert {"rw", "pearson", "count_exact", "valid"} <= {row["metric"] for row in rows}
    assert all(row["n"] + row["failed"] == 8 for row in rows)


@pytest.mark.slow
@pytest.mark.long
def test_figure_8_has_rows_and_a_picture(untrained_source, tmp_path):
    import figure8_samples

    figure_rows = run_figure(figure8_samples, tmp_path / "figure.jsonl", source=untrained_source, n_draws=3)
    rows = {row["metric"]: row for row in figure_rows}
    assert rows["rw_best"]["mean"] <= rows["rw"]["mean"] and rows["pearson_sd"]["mean"] > 0
    assert 1 <= rows["counts"]["mean"] <= 3 and rows["counts"]["draws"] == 3


def test_figure_7_has_rows_and_a_picture(untrained_source, tmp_path):
    pytest.importorskip("sklearn")
    import figure7_latent

    rows = run_figure(figure7_latent, tmp_path / "figure.jsonl", "--latents", "2", "3", source=untrained_source)
    assert [row["metric"] for row in rows] == ["agreement", "chance"] * 2
    assert [row["latent"] for row in rows] == [2, 2, 3, 3]


def test_figure_7_says_how_to_install_scikit_learn(experiments, monkeypatch):
    import figure7_latent

    monkeypatch.setattr(figure7_latent.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"Expected scikit-learn .* pip install"):
        figure7_latent.main(["--quick"])


def test_order_is_1_for_clusters_and_chance_for_shuffled_labels(experiments):
    import figure7_latent

    rng = np.random.default_rng(0)
    labels = np.repeat([19, 43, 55, 63], 100)
    points = labels[:, None] + rng.normal(size=(400, 2))
    points[:, 0] *= 10
    assert figure7_latent.neighbour_agreement(points, labels).min() == 1
    shuffled_labels = rng.permutation(labels)
    agreement, chance = (
        np.mean(values)
        for values in (
            figure7_latent.neighbour_agreement(points, shuffled_labels),
            figure7_latent.chance_agreement(labels),
        )
    )
    assert chance == pytest.approx(99 / 399) and agreement == pytest.approx(chance, abs=0.05)


def test_figures_are_not_made_of_unfinished_trainings(experiments, data, tmp_path):
    import network_figures
    import trainings

    source = trainings.TrainingSource(partial(trainings.training_plan, runs=tmp_path))
    with pytest.raises(SystemExit, match=r"Expected a finished training .*trainings\.py --models cvae"):
        network_figures.load_training(data, "cvae", "random", 2, quick=False, source=source)


def test_the_nearest_atom_is_drawn_last_and_darkest(experiments):
    import matplotlib.figure
    import plots

    np.testing.assert_allclose(plots.view_rotation() @ plots.view_rotation().T, np.eye(3), atol=1e-12)
    axes = matplotlib.figure.Figure().add_subplot()
    positions = np.array([[0.0, 0, 0], [0, 0, 3], [np.nan, 0, 0], [0, -3, 0]])
    plots.draw_spheres(axes, positions, bond=1.0, reach=5.0, colour="C0")
    brightness = axes.collections[0].get_facecolor()[:, :3].sum(axis=1)
    assert len(brightness) == 3 and (np.diff(brightness) < 0).all()
