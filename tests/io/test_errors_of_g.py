"""Columns with the standard errors of G(r)."""

import numpy as np
import pytest
from measurement_files import R, assert_one_sentence, example_pdf

from jaxstruc.io import gr
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions

ERRORS = 0.01 + 0.002 * R
BOND = 2.77


def table(*columns, label=""):
    """Return the text of a file with r, G(r) and further columns."""
    text = "\n".join(" ".join(f"{value:.8g}" for value in row) for row in zip(R, example_pdf(), *columns, strict=True))
    return f"{label}\n{text}" if label else text


@pytest.mark.parametrize(
    ("label", "n_columns", "origin"),
    [
        ("#L r G(r) d_r d_Gr", 2, "column d_Gr"),
        ("#L r G(r) dr dG", 2, "column dG"),
        ("# r G sigma", 1, "column sigma"),
        ("# r G(r) dG(r)", 1, "column dG(r)"),
        ("", 2, "column 4"),
    ],
)
def test_errors_come_with_their_column(write, label, n_columns, origin):
    measurement = gr.read(write(table(*[0 * R] * (n_columns - 1), ERRORS, label=label)))
    np.testing.assert_allclose(measurement.sigma, ERRORS, rtol=1e-7)
    (setting,) = measurement.settings
    assert setting.name == "sigma_g" and setting.origin == origin and not measurement.warnings
    assert setting.value == pytest.approx(np.sqrt(np.mean(ERRORS**2)))


@pytest.mark.parametrize("errors", [0 * R, 0 * R + 0.02])
def test_constant_errors_are_none(write, errors):
    measurement = gr.read(write(table(errors, label="#L r G(r) dG")))
    assert measurement.sigma is None and measurement.settings == ()


def test_a_third_column_without_a_label_is_not_taken_for_errors(write):
    assert gr.read(write(table(ERRORS))).sigma is None


def test_errors_of_a_converted_function_are_multiplied_by_r(write):
    measurement = gr.read(write(table(ERRORS, label="# r G_k(r) dG_k(r)")))
    np.testing.assert_allclose(measurement.sigma[1:], (ERRORS * R)[1:], rtol=1e-7)
    assert measurement.sigma[0] == (measurement.sigma[1] if R[0] == 0 else pytest.approx(ERRORS[0] * R[0]))


@pytest.mark.parametrize("value", [-0.01, np.nan, np.inf])
def test_impossible_errors_are_refused_with_their_line(write, value):
    errors = ERRORS.copy()
    errors[7] = value
    with pytest.raises(ReadError) as caught:
        gr.read(write(table(errors, label="#L r G(r) dG")))
    assert_one_sentence(caught)
    assert "standard errors" in str(caught.value) and "line 9" in str(caught.value) and "column 3" in str(caught.value)


def test_a_zero_error_is_refused_only_if_a_fit_may_use_it(write):
    errors = np.where(R < 1.2, 0, ERRORS)
    measurement = gr.read(write(table(errors, label="#L r G(r) dG")))
    options = DataOptions(qmin=0.8, qmax=22.0)
    complete = resolve_settings(measurement, options, bond=BOND)
    assert len(complete.errors) == len(complete.curve[0]) and (complete.errors > 0).all()
    with pytest.raises(ReadError, match="above 0, got 0 at") as caught:
        resolve_settings(measurement, DataOptions(qmin=0.8, qmax=22.0, rmin=1.0), bond=BOND)
    assert_one_sentence(caught)
