import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters import deepstruc_shapes
from jaxstruc.network.cvae import dataset
from jaxstruc.network.deepstruc import scaled_pdf

SHAPE_ROWS = {"hcp": 40, "sc": 60, "bcc": 80, "octahedron": 50}
"""Row of the first shape in the list of DeepStruc that is tried for each type. The next shape of the type is taken."""


def shape_of_type(structure_type, row):
    """Return the next shape of a type in the list."""
    return next(shape for shape in deepstruc_shapes.deepstruc_family()[row:] if shape.family == structure_type)


def simulated_pdfs(shape, bonds):
    """Return PDFs of a shape for several bond lengths, with the conditions of DeepStruc."""
    conditions = dataset._deepstruc_conditions(None, len(bonds))
    shape_index = np.zeros(len(bonds), int)
    return dataset._simulate_all(
        [shape], shape_index, np.array(bonds), conditions, jax.random.key(0), None, batch_size=len(bonds)
    )


@pytest.mark.parametrize(("structure_type", "row"), SHAPE_ROWS.items())
def test_the_first_peak_is_at_the_nearest_neighbour_distance(structure_type, row):
    """The neighbours in bcc are at √3 / 2 of the lattice constant, which is the bond of DeepStruc's rules."""
    bonds = [2.3, 2.61, 3.24]
    pdfs = simulated_pdfs(shape_of_type(structure_type, row), bonds)
    ratio = np.sqrt(0.75) if structure_type == "bcc" else 1.0
    neighbours = scaled_pdf.neighbour_distance_from_pdf(jnp.asarray(pdfs))
    np.testing.assert_allclose(neighbours, ratio * np.array(bonds), rtol=2e-3)


def test_a_scaled_pdf_is_the_smoothed_curve_and_is_zero_beyond_it():
    """A Gaussian peak of variance v becomes one of variance v + w² for the width w, and the scale is lost."""
    r = dataset.PDF_GRID.r
    width = scaled_pdf.SMOOTHING * 2.5

    def peaks(r, added_variance):
        variances = np.array([0.02, 0.08]) + added_variance
        areas, centres = np.array([0.35, 0.35]), np.array([2.5, 12.0])
        return np.exp(-0.5 * (r[:, None] - centres) ** 2 / variances) @ (areas / np.sqrt(2 * np.pi * variances))

    curve = np.where(r <= 20, peaks(r, 0.0) + 1e-6, 0.0)  # all points up to 20 Å are data, because they are not zero
    scaled, tripled = (scaled_pdf.scale_pdfs(np.float32(factor * curve[None])) for factor in (1, 3))
    assert float(scaled.neighbour[0]) == pytest.approx(2.5, abs=1e-4)
    scaled_r = scaled_pdf.SCALED_R * 2.5
    expected = np.where(scaled_r <= 20, peaks(scaled_r, width**2), 0.0)
    expected /= np.sqrt(np.mean(expected[scaled_r <= 20] ** 2))
    np.testing.assert_allclose(scaled.values[0], expected, atol=2e-3 * expected.max())
    np.testing.assert_allclose(tripled.values, scaled.values, rtol=1e-5, atol=1e-6)


def test_a_pdf_without_points_gives_finite_values():
    scaled = scaled_pdf.scale_pdfs(np.zeros((2, len(dataset.PDF_GRID.r)), np.float32))
    assert not np.asarray(scaled.values).any() and np.isfinite(scaled.neighbour).all()


def test_stretched_particles_have_nearly_the_same_scaled_pdf():
    pdfs = simulated_pdfs(shape_of_type("hcp", 60), [2.5, 2.6])
    scaled = scaled_pdf.scale_pdfs(pdfs)
    assert np.corrcoef(*np.asarray(scaled.values))[0, 1] > 0.99 > np.corrcoef(*pdfs)[0, 1]
