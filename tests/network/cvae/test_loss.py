from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstruc.network.cvae import dataset, loss, model
from jaxstruc.network.cvae.loss import TrainingBatch
from jaxstruc.network.cvae.model import CVAE, DecodedStructure, ModelSizes
from jaxstruc.options.training import TrainOptions

SIZES = ModelSizes(atoms=20, satellites=4)
CONFIG = TrainOptions()


@pytest.fixture(scope="module")
def smallest_batch(small_dataset):
    """Return three PDFs of the smallest shape, which has 19 atoms."""
    rows = np.flatnonzero(small_dataset.shape_index == 0)[:3]
    single_features = dataset.shape_features(small_dataset.shapes[:1], atoms=20, satellites=4)
    features = jax.tree.map(lambda column: jnp.repeat(column, 3, axis=0), single_features)
    features = features._replace(radius=features.radius * small_dataset.bond[rows].astype(np.float32))
    return TrainingBatch(
        features,
        jnp.asarray(small_dataset.pdf[rows]),
        jax.tree.map(lambda column: column[rows], small_dataset.conditions),
    )


@pytest.fixture(scope="module")
def network(random_params):
    module = CVAE(SIZES)
    return module, random_params(module)


@partial(jax.jit, static_argnames=("network", "config"))
def jitted_loss(params, batch, key, *, network, config=CONFIG, beta=0.01, pdf=0.0):
    return loss.loss(params, batch, key, network=network, config=config, beta=beta, pdf=pdf)


def test_loss_terms_are_their_formulas_written_out(network, smallest_batch):
    """The formulas are equation 5 of KDD 2020 over the present atoms, a KL divergence in nats, and a cross entropy."""
    module, params = network
    key = jax.random.key(3)
    total, loss_terms = jitted_loss(params, smallest_batch, key, network=module, beta=0.3)
    pdf = dataset.normalise(smallest_batch.pdf)
    decoded, posterior, prior = jax.jit(module.apply)(params, smallest_batch.features, pdf, jax.random.split(key)[0])
    pair, satellite, radius, presence_term = 0.0, 0.0, 0.0, 0.0
    for row in range(3):
        for i in range(19):
            error = np.asarray(decoded.satellite[row, i] - smallest_batch.features.satellite[row, i], float)
            satellite += np.mean(error**2) / (3 * 19)
            for j in range(19):
                error = float(decoded.pair[row, i, j] - smallest_batch.features.pair[row, i, j])
                pair += (i != j) * error**2 / (3 * 19 * 18)
        radius += float(decoded.log_radius[row] - np.log(smallest_batch.features.radius[row])) ** 2 / 3
        logit = np.asarray(decoded.presence[row], float)
        presence_term += np.mean(np.log1p(np.exp(np.where(np.arange(20) < 19, -logit, logit)))) / 3
    expected_terms = {"pair": pair, "satellite": satellite, "radius": radius, "presence": presence_term}
    expected_terms["kl"] = float(np.mean(model.kl_divergence(posterior, prior)))
    for name, value in expected_terms.items():
        assert value > 1e-3 and float(loss_terms[name]) == pytest.approx(value, rel=1e-4), name
    weights = {"pair": 100, "satellite": 100, "radius": 10, "presence": 1, "kl": 0.3}
    assert float(total) == pytest.approx(sum(weights[name] * expected_terms[name] for name in weights), rel=1e-4)
    assert float(total) == float(loss_terms["loss"])


def test_the_penalty_of_the_deterministic_network_is_a_squared_distance(network, smallest_batch):
    _, params = network
    deterministic_network = CVAE(ModelSizes(atoms=20, satellites=4, stochastic=False))
    loss_terms, repeated_terms = (
        jitted_loss(params, smallest_batch, jax.random.key(seed), network=deterministic_network)[1] for seed in (3, 4)
    )
    pdf = dataset.normalise(smallest_batch.pdf)
    _, posterior, prior = jax.jit(deterministic_network.apply)(params, smallest_batch.features, pdf, jax.random.key(3))
    squared_distance = np.mean(np.sum((np.asarray(posterior.mean) - np.asarray(prior.mean)) ** 2, axis=-1))
    assert float(loss_terms["kl"]) == pytest.approx(float(squared_distance), rel=1e-4) and squared_distance > 1e-3
    assert float(loss_terms["loss"]) == float(repeated_terms["loss"])  # no draws


def test_padding_does_not_count(network, smallest_batch):
    """The features of an absent atom change no term of the loss except its presence."""
    module, params = network
    is_absent = ~smallest_batch.features.presence
    changed_features = smallest_batch.features._replace(
        satellite=smallest_batch.features.satellite + 9.0 * is_absent[..., None]
    )
    loss_terms, changed_terms = (
        jitted_loss(params, smallest_batch._replace(features=features), jax.random.key(3), network=module)[1]
        for features in (smallest_batch.features, changed_features)
    )
    for name in loss_terms:
        assert float(loss_terms[name]) == pytest.approx(float(changed_terms[name]), rel=1e-5), name


@pytest.mark.slow
def test_the_pdf_term_enters_the_loss(network, smallest_batch):
    module, params = network
    key = jax.random.key(0)
    full_loss = partial(loss.loss, network=module, beta=0.01, pdf=0.5)
    loss_and_gradient = jax.jit(jax.value_and_grad(partial(full_loss, config=TrainOptions(pdf=0.5)), has_aux=True))
    (total, loss_terms), gradient = loss_and_gradient(params, smallest_batch, key)
    loss_without_pdf, _ = jitted_loss(params, smallest_batch, key, network=module)
    assert float(total) == pytest.approx(float(loss_without_pdf + 0.5 * loss_terms["pdf"]), rel=1e-4)
    assert float(loss_terms["pdf"]) > 1e-3
    assert np.isfinite(optax.tree.norm(gradient))


@pytest.mark.parametrize("term_name", ["distances", "coordinates"])
@pytest.mark.slow
def test_the_pdf_term_is_zero_for_the_true_structure_and_has_a_right_gradient(small_dataset, term_name, x64):
    exact_trilateration = {"iterations": 500, "tolerance": 1e-11} if term_name == "coordinates" else {}
    term = partial(loss.PDF_TERMS[term_name], **exact_trilateration)
    features = dataset.shape_features(small_dataset.shapes[:1], atoms=20, satellites=4)
    row = int(np.flatnonzero(small_dataset.shape_index == 0)[0])
    to_float64 = lambda array: jnp.asarray(array, jnp.float64)  # noqa: E731
    conditions = jax.tree.map(lambda column: to_float64(column[row]), small_dataset.conditions)._replace(
        noise=to_float64(0.0)
    )
    table = jax.tree.map(lambda column: to_float64(column[:1]), dataset.distance_table(small_dataset.shapes))
    pdf = dataset.simulate_pdfs(
        table,
        to_float64(small_dataset.bond[row])[None],
        jax.tree.map(lambda array: array[None], conditions),
        jax.random.split(jax.random.key(0), 1),
    )[0]
    true_structure = DecodedStructure(
        pair=to_float64(features.pair[0]),
        satellite=to_float64(features.satellite[0]),
        presence=jnp.where(features.presence[0], 30.0, -30.0),
        log_radius=jnp.log(to_float64(features.radius[0] * small_dataset.bond[row])),
    )
    term_and_gradient = jax.jit(jax.value_and_grad(lambda decoded: term(decoded, pdf, conditions)))
    assert float(term_and_gradient(true_structure)[0]) < 1e-6
    wrong_structure = true_structure._replace(
        pair=true_structure.pair * (1 + 0.05 * jnp.cos(jnp.arange(400.0)).reshape(20, 20)),
        presence=true_structure.presence / 10,
    )
    gradient = term_and_gradient(wrong_structure)[1]
    field_names = {
        "distances": ("pair", "presence", "log_radius"),
        "coordinates": ("pair", "satellite", "presence", "log_radius"),
    }[term_name]
    for name in field_names:
        slope = jnp.where(
            getattr(wrong_structure, name) != 0, getattr(gradient, name), 0.0
        )  # Padding is left out, because |d| has a kink at 0.
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-6, name
        step = 1e-6 * jnp.sign(slope)
        shifted_terms = [
            term_and_gradient(wrong_structure._replace(**{name: getattr(wrong_structure, name) + sign * step}))[0]
            for sign in (1, -1)
        ]
        assert float(jnp.sum(jnp.abs(slope))) == pytest.approx(
            float(shifted_terms[0] - shifted_terms[1]) / 2e-6, rel=1e-4
        )
