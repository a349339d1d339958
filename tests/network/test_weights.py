import json

import chex
import jax
import numpy as np
import pytest

from jaxstruc import files
from jaxstruc.network import weights
from jaxstruc.network.cvae.model import CVAE, ModelSizes
from jaxstruc.options.pdf import CLASSIFIER, SHIPPED


def test_weights_come_back_with_their_card_in_half_precision(random_params, tmp_path):
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    params = random_params(network)
    path = tmp_path / "own" / "w.safetensors"
    weights.save_weights(path, params, {"name": "own", "sizes": vars(network.sizes)})
    loaded_weights = weights.load_autoencoder(path)
    assert loaded_weights.card == {"name": "own", "sizes": vars(network.sizes), "sha256": files.sha256(path)}
    assert loaded_weights.module == network
    chex.assert_trees_all_equal_dtypes(loaded_weights.params, params)
    chex.assert_trees_all_close(loaded_weights.params, params, rtol=1e-3, atol=1e-6)
    assert path.stat().st_size < 2.1 * sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("content", "card"),
    [(b"no", None), (b"no", {}), (None, {"sizes": {"latent": 2}})],
)
def test_what_is_no_network_is_refused(content, card, tmp_path):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"Expected weights and their \.json card at .*; train them with"):
        weights.load_autoencoder(path)


def test_weights_that_are_not_those_of_their_card_are_refused(random_params, tmp_path):
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    for seed, name in enumerate(("one", "other")):
        params = random_params(network, seed=seed)
        weights.save_weights(tmp_path / f"{name}.safetensors", params, {"sizes": vars(network.sizes)})
    (tmp_path / "other.safetensors").replace(tmp_path / "one.safetensors")
    with pytest.raises(
        ValueError, match=r"^Expected weights of sha256 [0-9a-f]{64} at .*, got [0-9a-f]{64}; copy[^\n]*$"
    ):
        weights.load_autoencoder(tmp_path / "one.safetensors")


def test_a_card_without_checksum_is_refused(random_params, tmp_path):
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, random_params(network), {"sizes": vars(network.sizes)})
    path.with_suffix(".json").write_text(json.dumps({"sizes": vars(network.sizes)}))
    with pytest.raises(ValueError, match="got: 'sha256'; train them with"):
        weights.load_autoencoder(path)


def test_the_shipped_network_has_the_sizes_of_its_card():
    network = weights.load_autoencoder(SHIPPED)
    assert network.module.sizes == ModelSizes(**network.card["sizes"])
    decoder = network.params["params"]["decoder"]
    assert decoder["Dense_0"]["kernel"].shape[0] == network.card["sizes"]["latent"]
    assert decoder["Dense_0"]["kernel"].dtype == np.float32


def test_a_card_is_readable_text_with_one_entry_a_line(random_params, tmp_path):
    network = CVAE(ModelSizes(atoms=20, satellites=4))
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, random_params(network), {"name": "Å", "sizes": vars(network.sizes)})
    text = path.with_suffix(".json").read_text("utf-8")
    assert text.startswith('{\n "name": "Å",\n "sizes": {\n  "latent"') and text.endswith('"\n}\n')


def test_a_classifier_of_another_version_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    path.write_bytes(CLASSIFIER.read_bytes())
    card = json.loads(CLASSIFIER.with_suffix(".json").read_text("utf-8"))
    path.with_suffix(".json").write_text(json.dumps(card))
    assert weights.load_classifier(path).card == card
    path.with_suffix(".json").write_text(json.dumps(card | {"version": card["version"] + 1}))
    with pytest.raises(
        ValueError, match=rf"Expected a classifier of version 2 at .*, got version {card['version'] + 1}"
    ):
        weights.load_classifier(path)
