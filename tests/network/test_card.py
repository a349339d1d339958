import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.network import weights
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.training import TrainingProgress
from jaxstruc.options.training import TrainOptions

CONFIG = TrainOptions(batch=16, seeds=(3, 0), latent=4, model="dae")


@pytest.fixture(scope="module")
def split(small_dataset):
    return dataset.split(small_dataset, strategy="random", seed=0)


@pytest.fixture(scope="module")
def training_card(small_dataset, split):
    progress = TrainingProgress(7, np.array([0.5, 0.4]), np.array([6, 5]))
    return weights.autoencoder_card(
        small_dataset, split, CONFIG, progress, command="jaxstruc train -o here", seed_index=1
    )


def test_a_card_names_the_seed_and_how_to_train_it_again(training_card):
    assert training_card["name"] == "real-H4-seed0" and training_card["command"] == "jaxstruc train -o here"
    assert training_card["fit"] == {"epochs": 7, "best_epoch": 5, "validation_loss": 0.4}
    assert training_card["sizes"] == {"latent": 4, "atoms": 100, "satellites": 11, "points": 301, "stochastic": False}
    assert training_card["config"]["seeds"] == [3, 0] and training_card["config"]["batch"] == 16


def test_a_card_is_json_as_it_is(training_card):
    assert json.loads(json.dumps(training_card)) == training_card


def test_the_limits_are_those_of_the_data(training_card, small_dataset, split):
    """The diameter of the largest shape of the family is 4 √2 bond lengths."""
    limits = training_card["limits"]
    assert limits["relative_diameter"] == pytest.approx(5.657, abs=1e-3)
    assert limits["bond"] == pytest.approx([small_dataset.bond.min(), small_dataset.bond.max()], abs=1e-3)
    max_diameter = max(
        pdist(small_dataset.shapes[shape_index].positions).max() * bond
        for shape_index, bond in zip(small_dataset.shape_index, small_dataset.bond, strict=True)
    )
    assert limits["diameter"] == [0.0, round(max_diameter, 2)]
    assert limits["qmax"] == list(dataset.CONDITION_RANGES["qmax"])
    assert training_card["data"]["pdfs"] == {name: len(rows) for name, rows in split._asdict().items()}
    assert len(training_card["data"]["shapes"]) == 8 and training_card["data"]["shapes"][0].startswith(
        "fcc 19 atoms: layers"
    )
