import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.network import card, dataset
from jaxstruc.network.checkpoints import Progress
from jaxstruc.options.training import TrainOptions

CONFIG = TrainOptions(batch=16, seeds=(3, 0), latent=4, model="dae")


@pytest.fixture(scope="module")
def parts(few):
    return dataset.split(few, by="random", seed=0)


@pytest.fixture(scope="module")
def made(few, parts):
    progress = Progress(7, np.array([0.5, 0.4]), np.array([6, 5]))
    return card.card(few, parts, CONFIG, progress, command="jaxstruc train -o here", at=1)


def test_a_card_names_the_seed_and_how_to_train_it_again(made):
    assert made["name"] == "real-H4-seed0" and made["command"] == "jaxstruc train -o here"
    assert made["fit"] == {"epochs": 7, "best_epoch": 5, "validation_loss": 0.4}
    assert made["sizes"] == {"latent": 4, "atoms": 100, "satellites": 11, "points": 301, "stochastic": False}
    assert made["config"]["seeds"] == [3, 0] and made["config"]["batch"] == 16


def test_a_card_is_json_as_it_is(made):
    assert json.loads(json.dumps(made)) == made


def test_the_limits_are_those_of_the_data(made, few, parts):
    """The largest shape of the family is 4 √2 bonds wide."""
    limits = made["limits"]
    assert limits["relative_diameter"] == pytest.approx(5.657, abs=1e-3)
    assert limits["bond"] == pytest.approx([few.bond.min(), few.bond.max()], abs=1e-3)
    longest = max(
        pdist(few.shapes[shape].positions).max() * bond for shape, bond in zip(few.shape, few.bond, strict=True)
    )
    assert limits["diameter"] == pytest.approx([0.0, longest], abs=0.01)
    assert limits["qmax"] == list(dataset.RANGES["qmax"])
    assert made["data"]["pdfs"] == {name: len(rows) for name, rows in parts._asdict().items()}
    assert len(made["data"]["shapes"]) == 8 and made["data"]["shapes"][0].startswith("fcc 19 atoms: layers")
