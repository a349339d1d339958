"""Functions of r by D. A. Keen: those that are G(r) on another scale are converted, the others are refused."""

import numpy as np
import pytest
from measurement_files import R, assert_one_sentence, example_pdf, rows

from jaxstruc.io import gr, read
from jaxstruc.io.columns import ReadError
from jaxstruc.io.read import PDF_KINDS

G = example_pdf()
DENSITY = 4 * np.pi * 0.06
PAIR_FUNCTION = 1 + np.append(0.0, G[1:] / (DENSITY * R[1:]))


def best_scale_error(curve, reference):
    """Return the largest deviation from a reference, relative to its maximum, at the best scale."""
    scale = curve @ reference / (curve @ curve)
    return np.abs(scale * curve - reference).max() / np.abs(reference).max()


def test_the_given_g_k_of_r_becomes_the_g_of_r_of_the_same_sample(case):
    keen_pdf, pdf = (gr.read(case(name)) for name in ("Pt_Gk_mantid.gr", "Pt_G_mantid.gr"))
    np.testing.assert_array_equal(keen_pdf.r, pdf.r)
    assert best_scale_error(keen_pdf.g, pdf.g) < 1e-4
    assert len(keen_pdf.warnings) == 1 and "multiplied by r" in keen_pdf.warnings[0] and not pdf.warnings
    assert keen_pdf.header == pdf.header | {"converted_from": "G_k(r)"}


@pytest.mark.parametrize("label", ["G_k(r)", "Gk", "G_Keen(r)", "G_K(r)", "G^K(r)", "h(r)", "g(r)-1", "Keen's G(r)"])
@pytest.mark.parametrize("name", ["x.gr", "x.dat"])
def test_keens_g_of_r_is_multiplied_by_r(write, label, name):
    path = write(f"# r\t{label}\n" + rows(g=PAIR_FUNCTION - 1), name)
    pdf = read.read_curve(path, accepted_kinds=PDF_KINDS)
    assert best_scale_error(pdf.g, G) < 1e-12 and "it was multiplied by r, which gives G(r) times" in pdf.warnings[0]


def test_the_pair_distribution_function_g_of_r_is_converted(write):
    pdf = read.read_curve(write("#L r(A) g(r)\n" + rows(g=PAIR_FUNCTION)))
    assert best_scale_error(pdf.g, G) < 1e-12 and "converted to r (g(r) - 1), which is G(r) times" in pdf.warnings[0]


def test_a_curve_with_the_label_g_of_r_that_does_not_tend_to_one_needs_the_kind(write):
    path = write("#L r(A) g(r)\n" + rows())
    with pytest.raises(
        ReadError, match=r"g\(r\), which tends to 1, got another curve .*; if .* pass --kind gr"
    ) as error:
        read.read_curve(path)
    assert_one_sentence(error)
    np.testing.assert_array_equal(read.read_curve(path, kind="gr").g, G)


@pytest.mark.parametrize("label", ["D(r)", "D"])
def test_the_differential_correlation_function_d_of_r_is_g_on_another_scale(write, label):
    pdf = read.read_curve(write(f"# r, {label}\n" + rows(g=7 * G)))
    np.testing.assert_allclose(pdf.g, 7 * G)
    assert "Keen's D(r), which is G(r) times an unknown factor, so do not use --absolute" in pdf.warnings[0]


@pytest.mark.parametrize(
    ("label", "g", "advice"),
    [
        ("T(r)", G + DENSITY * R, "T(r) - 4 pi rho0 r"), ("RDF(r)", R * G + DENSITY * R**2, "RDF(r)/r"),
        ("RDF", R * G + DENSITY * R**2, "RDF(r)/r"), ("R(r)", R * G + DENSITY * R**2, "RDF(r)/r"),
        ("n(r)", np.cumsum(R * G + DENSITY * R**2), "(dn/dr)/r"), ("N(r)", R**3, "(dn/dr)/r"),
        ("T(r)", G, "T(r) - 4 pi rho0 r"), ("rdf(r)", G, "RDF(r)/r"), ("P(r)", G, "pass --kind gr"),
    ],
)  # fmt: skip
def test_other_functions_of_r_are_refused_with_the_conversion(write, label, g, advice):
    for name in ("x.gr", "x.dat"):
        with pytest.raises(ReadError) as error:
            read.read_curve(write(f"#L r($\\AA$)  {label}\n" + rows(g=g), name))
        assert_one_sentence(error)
        assert f"Expected G(r), got '{label}'" in str(error.value) and advice in str(error.value)


def test_an_unknown_function_is_read_if_the_user_states_the_kind(write):
    np.testing.assert_array_equal(read.read_curve(write("# r P(r)\n" + rows()), kind="gr").g, G)


def test_of_several_functions_of_one_sample_g_of_r_is_read(write):
    columns = [R, 7 * G, PAIR_FUNCTION - 1, G, G + DENSITY * R]
    text = "r,D(r),G_k(r),G(r),T(r)\n" + "".join(
        ",".join(map(repr, row)) + "\n" for row in np.transpose(columns).tolist()
    )
    pdf = read.read_curve(write(text))
    np.testing.assert_array_equal(pdf.g, G)
    assert pdf.warnings == ("columns not read: D(r), G_k(r), T(r)",)


def test_a_curve_that_does_not_begin_at_zero_is_reported(case, write):
    """A G_k(r) without its label is constant at small r, whereas G(r) is 0 at r = 0."""
    text = case("Pt_Gk_mantid.gr").read_text().replace("G_k(r)", "G(r)")
    assert "and not 0 at r = 0" in gr.read(write(text)).warnings[0]
    assert not gr.read(case("Pt_G_mantid.gr")).warnings


@pytest.mark.parametrize("label", ["r (nm)", "r [pm]", "r (bohr)", "r / nm"])
def test_r_in_another_unit_is_refused(write, label):
    with pytest.raises(ReadError, match=r"r in Å, got .*x\.gr, whose label states"):
        gr.read(write(f"{label},G(r)\n" + rows()))
