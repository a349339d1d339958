from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstruc.network import dataset, loss, model
from jaxstruc.network.config import Sizes
from jaxstruc.network.loss import Batch
from jaxstruc.network.model import CVAE, Decoded
from jaxstruc.options.training import TrainOptions

SIZES = Sizes(atoms=20, satellites=4)
CONFIG = TrainOptions()


@pytest.fixture(scope="module")
def smallest(few):
    """Three PDFs of the smallest shape, 19 atoms."""
    rows = np.flatnonzero(few.shape == 0)[:3]
    one = dataset.shape_features(few.shapes[:1], atoms=20, satellites=4)
    features = jax.tree.map(lambda column: jnp.repeat(column, 3, axis=0), one)
    features = features._replace(radius=features.radius * few.bond[rows].astype(np.float32))
    return Batch(features, jnp.asarray(few.pdf[rows]), jax.tree.map(lambda column: column[rows], few.conditions))


@pytest.fixture(scope="module")
def network(drawn_params):
    module = CVAE(SIZES)
    return module, drawn_params(module)


@partial(jax.jit, static_argnames=("network", "config"))
def loss_of(params, batch, key, *, network, config=CONFIG, beta=0.01, pdf=0.0):
    return loss.loss(params, batch, key, network=network, config=config, beta=beta, pdf=pdf)


def test_the_parts_are_their_formulas_written_out(network, smallest):
    """KDD 2020 equation 5 over the atoms that are there, in radii; nats; a cross entropy."""
    module, params = network
    key = jax.random.key(3)
    total, parts = loss_of(params, smallest, key, network=module, beta=0.3)
    pdf = dataset.normalised(smallest.pdf)
    decoded, posterior, prior = jax.jit(module.apply)(params, smallest.features, pdf, jax.random.split(key)[0])
    pair, satellite, radius, chance = 0.0, 0.0, 0.0, 0.0
    for row in range(3):
        for i in range(19):
            error = np.asarray(decoded.satellite[row, i] - smallest.features.satellite[row, i], float)
            satellite += np.mean(error**2) / (3 * 19)
            for j in range(19):
                error = float(decoded.pair[row, i, j] - smallest.features.pair[row, i, j])
                pair += (i != j) * error**2 / (3 * 19 * 18)
        radius += float(decoded.log_radius[row] - np.log(smallest.features.radius[row])) ** 2 / 3
        logit = np.asarray(decoded.presence[row], float)
        chance += np.mean(np.log1p(np.exp(np.where(np.arange(20) < 19, -logit, logit)))) / 3
    expected = {"pair": pair, "satellite": satellite, "radius": radius, "presence": chance}
    expected["kl"] = float(np.mean(model.divergence(posterior, prior)))
    for name, value in expected.items():
        assert value > 1e-3 and float(parts[name]) == pytest.approx(value, rel=1e-4), name
    weights = {"pair": 100, "satellite": 100, "radius": 10, "presence": 1, "kl": 0.3}
    assert float(total) == pytest.approx(sum(weights[name] * expected[name] for name in weights), rel=1e-4)
    assert float(total) == float(parts["loss"])


def test_the_penalty_of_the_deterministic_network_is_a_squared_distance(network, smallest):
    _, params = network
    plain = CVAE(Sizes(atoms=20, satellites=4, stochastic=False))
    one, two = (loss_of(params, smallest, jax.random.key(seed), network=plain)[1] for seed in (3, 4))
    pdf = dataset.normalised(smallest.pdf)
    _, posterior, prior = jax.jit(plain.apply)(params, smallest.features, pdf, jax.random.key(3))
    squared = np.mean(np.sum((np.asarray(posterior.mean) - np.asarray(prior.mean)) ** 2, axis=-1))
    assert float(one["kl"]) == pytest.approx(float(squared), rel=1e-4) and squared > 1e-3
    assert float(one["loss"]) == float(two["loss"])  # no draws


def test_padding_does_not_count(network, smallest):
    """Whatever the features say of an atom that is not there, the parts but its presence are the same."""
    module, params = network
    absent = ~smallest.features.presence
    changed = smallest.features._replace(satellite=smallest.features.satellite + 9.0 * absent[..., None])
    one, two = (
        loss_of(params, smallest._replace(features=features), jax.random.key(3), network=module)[1]
        for features in (smallest.features, changed)
    )
    for name in one:
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-5), name


@pytest.mark.slow
def test_the_pdf_term_enters_the_loss(network, smallest):
    module, params = network
    key = jax.random.key(0)
    whole = partial(loss.loss, network=module, beta=0.01, pdf=0.5)
    both = jax.jit(jax.value_and_grad(partial(whole, config=TrainOptions(pdf=0.5)), has_aux=True))
    (total, pieces), gradient = both(params, smallest, key)
    without, _ = loss_of(params, smallest, key, network=module)
    assert float(total) == pytest.approx(float(without + 0.5 * pieces["pdf"]), rel=1e-4)
    assert float(pieces["pdf"]) > 1e-3
    assert np.isfinite(optax.tree.norm(gradient))


@pytest.mark.parametrize("through", ["distances", "coordinates"])
@pytest.mark.slow
def test_the_pdf_term_is_zero_for_the_true_structure_and_has_a_right_gradient(few, through, x64, monkeypatch):
    term = loss.PDF_TERMS[through]
    monkeypatch.setattr(loss, "TOLERANCE", 1e-11)
    monkeypatch.setattr(loss, "STEPS", 500)
    features = dataset.shape_features(few.shapes[:1], atoms=20, satellites=4)
    row = int(np.flatnonzero(few.shape == 0)[0])
    double = lambda x: jnp.asarray(x, jnp.float64)  # noqa: E731
    conditions = jax.tree.map(lambda column: double(column[row]), few.conditions)._replace(noise=double(0.0))
    table = jax.tree.map(lambda column: double(column[:1]), dataset.distance_table(few.shapes))
    pdf = dataset.simulate(
        table,
        double(few.bond[row])[None],
        jax.tree.map(lambda x: x[None], conditions),
        jax.random.split(jax.random.key(0), 1),
    )[0]
    true = Decoded(
        pair=double(features.pair[0]),
        satellite=double(features.satellite[0]),
        presence=jnp.where(features.presence[0], 30.0, -30.0),
        log_radius=jnp.log(double(features.radius[0] * few.bond[row])),
    )
    both = jax.jit(jax.value_and_grad(lambda decoded: term(decoded, pdf, conditions)))
    assert float(both(true)[0]) < 1e-6
    wrong = true._replace(
        pair=true.pair * (1 + 0.05 * jnp.cos(jnp.arange(400.0)).reshape(20, 20)), presence=true.presence / 10
    )
    gradient = both(wrong)[1]
    names = {
        "distances": ("pair", "presence", "log_radius"),
        "coordinates": ("pair", "satellite", "presence", "log_radius"),
    }[through]
    for name in names:
        slope = jnp.where(getattr(wrong, name) != 0, getattr(gradient, name), 0.0)  # padding: |d| has a kink at 0
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-6, name
        step = 1e-6 * jnp.sign(slope)
        ends = [both(wrong._replace(**{name: getattr(wrong, name) + s * step}))[0] for s in (1, -1)]
        assert float(jnp.sum(jnp.abs(slope))) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4)
