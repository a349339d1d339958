"""Labels of columns: the role and the unit of each column."""

from pathlib import Path

import pytest

from jaxstruc.io import labels, q_axis


def describe(line, n_columns, name="x.dat"):
    return labels.describe_columns([line], Path(name), n_columns=n_columns)


@pytest.mark.parametrize(
    ("line", "roles"),
    [
        ("# Q (1/A)  I (1/cm)  sigma  dQ", "q iq sigma dq"),
        ("Q[A^-1],I[cm^-1],dI[cm^-1],dQ[A^-1]", "q iq sigma dq"),
        ("The 4 columns are | Q (1/A) | I(Q) (1/cm) | std. dev. I(Q) (1/cm) | sigmaQ |", "q iq sigma dq"),
        ("Scattering vector q [1/nm]; Intensity I(q) [1/cm]; Standard deviation [1/cm]", "q iq sigma"),
        ('"momentum transfer" "absolute intensity" "intensity error"', "q iq sigma"),
        ("# index q(1/A) I sigma", "other q iq sigma"),
        ("#L r G_k(r) dr dG_k(r)", "r G_k(r) dr sigma"),
        ("#r_A\tG_t=0s\tG_t=60s", "r gr gr"),
        ("#L r(A) G(r) d_r d_Gr", "r gr dr sigma"),
        ("# r g(r) D(r) T(r) RDF(r) n(r) P(r)", "r g(r) D(r) T(r) RDF(r) n(r) another_function_of_r"),
        ("# 2th_rad I sigma", "2theta iq sigma"),
        ("Q I1 I2 s1 s2", "q iq iq sigma sigma"),
        ("# q(1/A) S(Q) S(Q)-1 Q[S(Q)-1] F(Q)", "q sq sq fq fq"),
        ("# q [1/nm]\tdSigma/dOmega [1/cm]\tdσ/dΩ [1/cm]", "q iq iq"),
        ("# r G1(r) G_300K(r) Gobs(r)", "r gr gr gr"),
        ("# q(1/A) S1(Q) S_b(Q) F1(Q) I_2(Q)", "q sq sq fq iq"),
        ("# q(1/A) sample1(Q) M(Q)", "q  "),
        ("q;I_bg;I_calc;residual;weight", "q other other other other"),
        ("# Q(1/A) I dQw dQl", "q iq slit slit"),
        ("# Q(1/A)  I(Q)  sigma(Q)", "q iq "),
    ],
)
def test_each_column_has_a_role(line, roles):
    expected = [role.replace("_", " ") if role.startswith("another") else role for role in roles.split(" ")]
    assert [label.role for label in describe(line, len(expected)).columns] == expected


@pytest.mark.parametrize(
    ("line", "unit", "axis_unit"),
    [
        ("# q(1/A) I(1/(m sr))", "1/(m sr)", "1/Å"), ("q / nm^-1\tI / m^-1 sr^-1", "m^-1 sr^-1", "1/nm"),
        ("#q(1/nm) I(q) in cm^-1", "cm^-1", "1/nm"), ("# Q_nm^-1 I_cm^-1", "cm^-1", "1/nm"),
        ("# q(1/A) I(300K)", "", "1/Å"), ("# q [1/A], I(q) [1/furlong]", "1/furlong", "1/Å"),
        ("# 2theta [mrad], I", "", "2theta in mrad"), ("# 2theta [°], I", "", "2theta"), ("q, I", "", ""),
        ("# q [1/A], I (run-1)", "", "1/Å"), ("# q [1/A], I (5 mg/ml)", "", "1/Å"),
        ("# q [1/A], I (w/o water)", "", "1/Å"),
        ("# q [1/A], I (counts/s)", "counts/s", "1/Å"), ("# q [1/A], I (km-1)", "km-1", "1/Å"),
        ("# q [1/A], I (t=1/2 h)", "", "1/Å"), ("# q [1/A], I (cm^2/mol)", "cm^2/mol", "1/Å"),
    ],
)  # fmt: skip
def test_labels_state_units(line, unit, axis_unit):
    description = describe(line, 2)
    assert description.columns[1].unit == unit and description.axis_unit == axis_unit


@pytest.mark.parametrize(
    "lines",
    [
        ("# Q I sigma", "# 1/nm 1/m 1/m"), ("## Q,  I,  Idev", "## [1/nm], [1/m], [1/m]"),
        ("# intensity unit: 1/m", "# Q unit = 1/nm", "# Q I sigma"), ("# I_units=m^-1 sr^-1", "# Q(1/nm) I sigma"),
        ("# columns: Q (1/nm), I (1/m), sigma",), ("# Q I sigma", "# nm^-1 m^-1 -"),
    ],
)  # fmt: skip
def test_a_row_or_a_line_of_units_states_them_too(lines):
    description = labels.describe_columns(list(lines), Path("x.dat"), n_columns=3)
    assert description.axis_unit == "1/nm"
    assert q_axis.intensity_unit(description.columns[1].unit) == "1/m"


@pytest.mark.parametrize(
    "line", ["# measured on Monday, in air", "# G of Pt", "", "# Q was 0.8 to 20", "a b", "# r", "1 2"]
)
def test_other_lines_are_no_labels(line):
    assert describe(line, 2).columns == () or describe(line, 2).columns[0].role == ""


@pytest.mark.parametrize(
    ("line", "assigned", "unread_names"),
    [
        ("q A B err_A err_B", [(0, 1, 3, None), (0, 2, 4, None)], []),
        ("q I_1 err_1 I_2 err_2 dq", [(0, 1, 2, 5), (0, 3, 4, 5)], []),
        ("q I err q I err", [(0, 1, 2, None), (3, 4, 5, None)], []),
        ("q I_1 I_2 sigma", [(0, 1, None, None), (0, 2, None, None)], ["sigma"]),
        ("q I fit", [(0, 1, None, None)], ["fit"]),
    ],
)
def test_errors_belong_to_curves(line, assigned, unread_names):
    columns, unread = labels.assign_columns(describe(line, len(line.split())).columns, ["iq"])
    assert [tuple(curve) for curve in columns] == assigned and unread == unread_names
