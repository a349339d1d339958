import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron

from jaxstruc.clusters.cluster import from_ase
from jaxstruc.clusters.lattices import unit_bond_cluster
from jaxstruc.network.classifier import particles, simulated_pdfs
from jaxstruc.scattering import pair_distribution
from jaxstruc.scattering.debye import Instrument

simulate_particle_pdfs = jax.jit(simulated_pdfs.simulate_particle_pdfs, static_argnames="anomaly_fraction")
N_SAMPLES = particles.DEFAULT_COMPOSITION.n_samples
SHARED_CONDITIONS = simulated_pdfs.SharedConditions(
    **{name: jnp.float32(value) for name, value in {
        "bond": 2.88, "stretch": 1.02, "uiso": 0.006, "delta2": 0.3, "qmin": 0.8, "qmax": 22.0, "qdamp": 0.03,
        "qbroad": 0.0,
    }.items()}
)  # fmt: skip


@jax.jit
def ideal_pdf(histograms, conditions):
    """Return G(r) of histograms without noise and errors."""
    return simulated_pdfs.pdf_from_f(simulated_pdfs.reduced_structure_function(histograms, conditions), conditions)


@pytest.fixture(scope="module")
def gold_icosahedron():
    """Return an icosahedron of 309 atoms with bond length 1, and its exact G(r) at the points of the stream."""
    atoms = Icosahedron("Au", 5)
    positions = unit_bond_cluster("", "", atoms.positions).positions
    bond_length = float(SHARED_CONDITIONS.bond * SHARED_CONDITIONS.stretch)
    atoms.positions = positions * bond_length
    cluster, scatterers = from_ase(atoms), pair_distribution.scatterers(atoms.symbols)
    grid = pair_distribution.Grid(qmin=0.8, qmax=22.0, qstep=0.02, rmin=0.0, rmax=38.0, rstep=0.01, max_distance=30.0)
    instrument = Instrument(uiso=0.006, delta2=0.3 * bond_length**2, qdamp=0.03)
    pairs = pair_distribution.pair_distances_from_positions(cluster.positions, cluster.mask, grid)
    curve = pair_distribution.pdf(pairs, scatterers.coefficients, scatterers.composition, instrument, grid)
    return positions, np.interp(simulated_pdfs.R_BONDS * 2.88, grid.r, curve)


@pytest.fixture(scope="module")
def identical_particles(gold_icosahedron):
    """Return the samples of a step, all of which are this icosahedron."""
    histograms = jnp.tile(jnp.asarray(particles.bin_positions(gold_icosahedron[0])), (N_SAMPLES, 1))
    zeros = jnp.zeros(N_SAMPLES, int)
    return particles.ParticleBatch(
        histograms,
        zeros + 5,
        jnp.full((N_SAMPLES, len(particles.PARTICLE_VALUE_NAMES)), 309.0),
        zeros,
    )


def test_the_curve_is_that_of_the_simulator(gold_icosahedron):
    """The errors due to bins and few values of Q are below half a percent of the curve."""
    positions, curve = gold_icosahedron
    simulated_curve = ideal_pdf(jnp.asarray(particles.bin_positions(positions))[None], SHARED_CONDITIONS)[0]
    assert np.sqrt(((simulated_curve - curve) ** 2).sum() / (curve**2).sum()) < 0.005


def test_a_stretch_is_a_shift(gold_icosahedron):
    """A stretch by some steps of ln r moves the curve by these steps, without vibrations and other lengths."""
    steps = 4
    log_stretch = float(np.log(simulated_pdfs.R_BONDS[1] / simulated_pdfs.R_BONDS[0])) * steps
    histograms = jnp.asarray(particles.bin_positions(gold_icosahedron[0]))[None]
    undamped_conditions = SHARED_CONDITIONS._replace(qdamp=jnp.float32(0.0), delta2=jnp.float32(0.0))
    stretched_conditions = undamped_conditions._replace(
        **{
            "stretch": undamped_conditions.stretch * np.exp(log_stretch),
            "uiso": undamped_conditions.uiso * np.exp(2 * log_stretch),
            "qmin": undamped_conditions.qmin * np.exp(-log_stretch),
            "qmax": undamped_conditions.qmax * np.exp(-log_stretch),
        }
    )
    curve, stretched_curve = (
        ideal_pdf(histograms, conditions)[0] for conditions in (undamped_conditions, stretched_conditions)
    )
    curve, stretched_curve = curve / jnp.abs(curve).max(), stretched_curve / jnp.abs(stretched_curve).max()
    np.testing.assert_allclose(stretched_curve[steps:], curve[:-steps], atol=5e-3)


def test_pdfs_are_masked_to_their_range_and_normalised(identical_particles):
    batch = simulate_particle_pdfs(jax.random.key(0), identical_particles, anomaly_fraction=0.0)
    assert not bool(batch.is_anomalous.any())
    assert bool(jnp.isfinite(batch.pdf).all()) and batch.pdf.shape == (
        N_SAMPLES,
        simulated_pdfs.N_POINTS,
    )
    assert (np.asarray(batch.pdf)[~np.asarray(batch.mask)] == 0).all()
    root_mean_square = np.sqrt((batch.pdf**2).sum(axis=1) / batch.mask.sum(axis=1))
    np.testing.assert_allclose(root_mean_square, 1, rtol=1e-3)
    assert set(np.asarray(batch.labels.type_index)) == {5}
    stretch = np.asarray(batch.labels.values[:, -1]).reshape(-1, simulated_pdfs.PDFS_PER_INSTRUMENT)
    assert (np.ptp(stretch, axis=1) == 0).all() and np.ptp(stretch) > 0.03
    assert 0.1 < float((batch.noise == 0).mean()) < 0.2 and float(batch.noise.max()) <= 0.15


def test_the_same_key_gives_the_same_pdfs_and_another_key_gives_others(identical_particles):
    pdfs, repeated_pdfs, other_pdfs = (
        simulate_particle_pdfs(jax.random.key(key), identical_particles, anomaly_fraction=0.0).pdf for key in (1, 1, 2)
    )
    n_compiled = simulate_particle_pdfs._cache_size()
    simulate_particle_pdfs(jax.random.key(3), identical_particles, anomaly_fraction=0.0)
    assert simulate_particle_pdfs._cache_size() == n_compiled
    np.testing.assert_array_equal(pdfs, repeated_pdfs)
    assert float(jnp.abs(pdfs - other_pdfs).max(axis=1).min()) > 0.01


def test_anomalous_pdfs_are_sums_of_two_types_or_have_a_wrong_qmax(identical_particles):
    """Their labels are unknown. A wrong qmax is off by 10 to 28 % and lies within the usual range."""
    type_index = jnp.arange(N_SAMPLES) % 2 * 5
    two_type_particles = identical_particles._replace(
        type_index=type_index, histogram=identical_particles.histogram * jnp.where(type_index == 5, 1.0, 0.5)[:, None]
    )
    normal_batch, anomalous_batch = (
        simulate_particle_pdfs(jax.random.key(0), two_type_particles, anomaly_fraction=anomaly_fraction)
        for anomaly_fraction in (0.0, 0.4)
    )
    is_anomalous = np.asarray(anomalous_batch.is_anomalous)
    assert 0.3 < is_anomalous.mean() < 0.5 and (np.asarray(anomalous_batch.labels.type_index) == -1)[is_anomalous].all()
    assert np.isnan(np.asarray(anomalous_batch.labels.values)[is_anomalous]).all()
    np.testing.assert_array_equal(
        anomalous_batch.labels.type_index[~is_anomalous], normal_batch.labels.type_index[~is_anomalous]
    )
    log_qmax_error = abs(np.log(np.asarray(anomalous_batch.settings[:, 1] / normal_batch.settings[:, 1])))
    has_wrong_qmax = log_qmax_error > 1e-5
    assert (
        0.15 < has_wrong_qmax.mean() < 0.25
        and is_anomalous[has_wrong_qmax].all()
        and 0.099 < log_qmax_error[has_wrong_qmax].min()
        and log_qmax_error.max() < 0.26
    )
    is_blended = is_anomalous & ~has_wrong_qmax
    assert 0.1 < is_blended.mean() < 0.3
    assert (
        np.abs(np.asarray(anomalous_batch.pdf - normal_batch.pdf))[is_blended].max(axis=1).min() > 0
    )  # only noise remains
    np.testing.assert_allclose(anomalous_batch.pdf[~is_anomalous], normal_batch.pdf[~is_anomalous], atol=1e-5)


def test_the_share_of_two_types_is_the_share_of_their_atoms(identical_particles):
    """The histogram of a mixture is the sum of two histograms with the shares that are drawn."""
    blend_fractions, qmax = simulated_pdfs._draw_anomalies(
        jax.random.key(1), jnp.arange(32) % 2, jnp.float32(20.0), 1.0
    )
    is_blended = np.asarray(blend_fractions) < 1
    assert (
        is_blended.any()
        and (np.asarray(blend_fractions)[is_blended] >= 0.3).all()
        and (np.asarray(blend_fractions)[is_blended] <= 0.7).all()
    )
    assert (np.asarray(qmax)[is_blended] == 20.0).all() and (np.asarray(qmax)[~is_blended] != 20.0).all()
    same_type_fractions, _ = simulated_pdfs._draw_anomalies(
        jax.random.key(1), jnp.zeros(32, int), jnp.float32(20.0), 1.0
    )
    assert (np.asarray(same_type_fractions) == 1).all()
