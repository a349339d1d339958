import numpy as np
import pytest
from measurement_files import HEADERS, R, assert_one_sentence, example_pdf, rows

from jaxstruc.io import gr, measurement
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import composition_remark, resolve_settings
from jaxstruc.options.pdf import DataOptions


def debye_pdf(r, *, qmax, uiso, noise, seed=0):
    """Return G(r) of 55 fcc atoms by the sine transform of F(Q) cut sharply at qmax, with noise that grows with Q."""
    lattice_points = np.array(np.meshgrid(*[np.arange(-2, 3)] * 3)).reshape(3, -1).T
    positions = (
        lattice_points[(lattice_points.sum(axis=1) % 2 == 0) & ((lattice_points**2).sum(axis=1) <= 8)]
        * 2.78
        / np.sqrt(2)
    )
    pair_distances = np.linalg.norm(positions[:, None] - positions, axis=-1)[np.triu_indices(len(positions), 1)]
    distance, count = np.unique(pair_distances.round(6), return_counts=True)
    q = np.arange(1.0, qmax, 0.02)
    f = 2 / len(positions) * np.sin(np.outer(q, distance)) @ (count / distance) * np.exp(-uiso * q**2)
    f += noise * np.abs(f).max() * q / qmax * np.random.default_rng(seed).normal(size=q.size)
    return 2 / np.pi * 0.02 * f @ np.sin(np.outer(q, r))


def resolved_values(write, header="", text=None, bond=2.78, **options):
    measurement = resolve_settings(
        gr.read(write(header + (rows() if text is None else text))), DataOptions(**options), bond=bond
    )
    return {setting.name: (setting.value, setting.origin) for setting in measurement.settings}


def test_the_command_line_overrides_the_header_and_both_the_defaults(write):
    settings = resolved_values(write, HEADERS["PDFgetX3"], qmax=21.0, rmax=None)
    assert settings["qmin"] == (0.8, "header") and settings["qmax"] == (21.0, "command line")
    assert settings["qdamp"] == (0.03, "default") and settings["qbroad"] == (0.0, "default")
    assert settings["rmin"] == (1.5, "default") and settings["rmax"] == (20.0, "default")
    assert settings["rstep"] == (pytest.approx(0.01), "data")
    assert list(settings) == ["qmin", "qmax", "qdamp", "qbroad", "rmin", "rmax", "rstep"]
    settings = resolved_values(write, "qdamp = 0.05\nqbroad = 0.01\n" + HEADERS["PDFgetX3"], qbroad=0.0, rmin=2.0)
    assert settings["qdamp"] == (0.05, "header") and settings["qbroad"] == (0.0, "command line")
    assert settings["rmin"] == (2.0, "command line")


def test_a_range_may_pass_the_data_by_less_than_half_a_step(write):
    assert resolved_values(write, qmin=1, qmax=20, rmax=30.004)["rmax"] == (30.004, "command line")
    assert resolved_values(write, qmin=1, qmax=20, rmin=5.004, rmax=5.086)["rmin"] == (5.004, "command line")
    with pytest.raises(ReadError, match="within the data"):
        resolved_values(write, qmin=1, qmax=20, rmax=30.006)


def test_the_default_range_is_cut_to_the_data(write):
    short_r = R[(R > 2) & (R < 15.005)]
    settings = resolved_values(write, text=rows(short_r), qmin=1, qmax=20)
    assert settings["rmax"] == (15.0, "default, cut to the data")
    assert settings["rmin"] == (pytest.approx(2.01), "default, cut to the data")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass --qmin and --qmax"),
        ({"qmin": 1.0}, "Expected qmax in the header"),
        ({"qmin": 5.0, "qmax": 4.0}, "0 <= qmin < qmax, got 5 and 4"),
        ({"qmin": -1.0, "qmax": 20.0}, "0 <= qmin < qmax"),
        ({"qmin": 1.0, "qmax": 20.0, "qdamp": -0.1}, "qdamp and qbroad of at least 0"),
        ({"qmin": 1.0, "qmax": 20.0, "qbroad": -0.1}, "qdamp and qbroad of at least 0"),
        ({"qmin": 1.0, "qmax": 20.0, "qdamp": 1.1}, "qdamp and qbroad of at most 1 1/Å, got 1.1 and 0 1/Å for .*x.gr;"),
        ({"qmin": 0.0, "qmax": 0.0}, "0 <= qmin < qmax, got 0 and 0"),
        ({"qmin": 1.0, "qmax": np.nan}, "a finite qmax, got nan; correct --qmax"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": np.nan}, "a finite rmin, got nan; correct --rmin"),
        ({"qmin": 1.0, "qmax": 20.0, "rmax": np.inf}, "a finite rmax, got inf; correct --rmax"),
        ({"qmin": 1.0, "qmax": 400.0}, "step in r of at most pi/qmax"),
        ({"qmin": 1.0, "qmax": 101.0}, "qmax of at most 100 1/Å, got 101 for .*x.gr"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": 9.0, "rmax": 8.0}, "rmin < rmax, got 9 and 8"),
        ({"qmin": 1.0, "qmax": 20.0, "rmax": 31.0}, "within the data, 0 to 30"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": -0.1}, "within the data, 0 to 30"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": 5.0, "rmax": 5.05}, "at least 10 points"),
        ({"qmin": 1.0, "qmax": 20.0, "bond": 40.0}, "beyond the nearest-neighbour distance of 40.00 Å"),
        ({"qmin": 0.1, "qmax": 1.4}, "as if r were in nm; multiply r by 10, or correct --qmax"),
    ],
)
def test_contradictions_are_refused_in_one_line(write, options, message):
    with pytest.raises(ReadError, match=message) as error:
        resolved_values(write, **options)
    assert_one_sentence(error)


def test_r_in_nanometres_is_recognised_without_a_label(write, repository):
    """A PDF has no frequency above qmax. If r is in nm but is read as Å, it has frequencies up to 10 qmax."""
    example = gr.read(repository / "examples" / "Ag68_simulated.gr")
    noisy_g = example.g + 0.02 * np.abs(example.g).max() * np.random.default_rng(0).normal(size=example.g.size)
    assert resolved_values(write, text=rows(example.r, noisy_g), qmin=1.0, qmax=22.0, bond=2.88)
    with pytest.raises(ReadError, match="as if r were in nm"):
        resolved_values(write, text=rows(example.r / 10, noisy_g), qmin=1.0, qmax=22.0, bond=1.0)
    with pytest.raises(ReadError, match="if r is in nm, multiply it"):
        resolved_values(write, text=rows(example.r / 10, noisy_g), qmin=1.0, qmax=22.0, bond=2.88)


def test_r_in_picometres_is_recognised_by_its_length(write):
    with pytest.raises(ReadError, match=r"at most 500, got 3000 in .*x\.gr; check the unit") as error:
        resolved_values(write, text=rows(100 * R), qmin=1.0, qmax=2.0)
    assert_one_sentence(error)


@pytest.mark.parametrize("uiso", [0.003, 0.01])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_sharp_cut_and_noise_below_qmax_are_no_sign_of_nanometres(write, uiso, noise):
    g = debye_pdf(R, qmax=25.0, uiso=uiso, noise=noise)
    assert measurement.fast_power_share(R, g, 1.5 * 25) < measurement.MAX_FAST_POWER_SHARE / 100
    assert resolved_values(write, text=rows(g=g), qmin=1.0, qmax=25.0)["qmax"] == (25.0, "command line")
    assert measurement.fast_power_share(R / 10, g, 1.5 * 25) > 2 * measurement.MAX_FAST_POWER_SHARE
    with pytest.raises(ReadError, match="as if r were in nm") as error:
        resolved_values(write, text=rows(R / 10, g), qmin=1.0, qmax=25.0, bond=1.0)
    assert_one_sentence(error)


@pytest.mark.parametrize("start_r", [0.0, 15.0])
def test_the_fast_share_is_the_power_above_a_frequency_wherever_the_data_start(start_r):
    r = start_r + np.arange(0, 15.005, 0.02)
    g = np.sin(10 * r) + 2 * np.sin(30 * r)
    power_shares = [measurement.fast_power_share(r, g, q) for q in (5.0, 20.0, 40.0)]
    np.testing.assert_allclose(power_shares, [1.0, 0.8, 0.0], atol=0.02)


def test_a_long_noisy_tail_is_no_sign_of_nanometres(write):
    """A PDF beyond the particle is only noise, and most of a file may lie there."""
    r = np.arange(0, 100.005, 0.01)
    g = debye_pdf(r, qmax=25.0, uiso=0.01, noise=0.0)
    noisy_g = g + 0.05 * np.abs(g).max() * np.random.default_rng(0).normal(size=g.size)
    assert resolved_values(write, text=rows(r, noisy_g), qmin=1.0, qmax=25.0)["rmax"] == (20.0, "default")


def test_an_uneven_grid_is_refused(write):
    with pytest.raises(ReadError, match="evenly spaced"):
        resolved_values(write, text=rows(np.sort(R**1.05)), qmin=0.8, qmax=20.0)


def test_the_curve_of_a_fit_has_both_ends_of_its_range(write):
    measurement = resolve_settings(gr.read(write(rows())), DataOptions(qmin=1, qmax=20, rmin=2.0, rmax=7.5), bond=2.78)
    r, g = measurement.curve
    assert r[0] == 2.0 and r[-1] == 7.5 and len(r) == 551
    np.testing.assert_array_equal(g, example_pdf()[200:751])
    assert measurement.settings_by_name["qmax"] == 20 and measurement.settings_by_name["rstep"] == pytest.approx(0.01)


def test_a_point_just_outside_the_range_is_no_part_of_it(write):
    """A point outside by 0.01 of a step is cut. A point outside by 1e-9 of a step is kept, because of rounding."""
    text = rows(R, example_pdf())
    for offset, first_r, last_r in ((1e-4, 2.01, 7.49), (1e-11, 2.0, 7.5)):
        options = DataOptions(qmin=1, qmax=20, rmin=2.0 + offset, rmax=7.5 - offset)
        r, _ = resolve_settings(gr.read(write(text)), options, bond=2.78).curve
        assert (r[0], r[-1]) == (pytest.approx(first_r), pytest.approx(last_r))


def composition_text(write, composition, element):
    remark = composition_remark(gr.read(write(f"composition = {composition}\n" + rows())), element)
    return "" if remark is None else remark.text, remark is not None and remark.is_compound


def test_a_header_of_another_element_is_reported(write):
    assert composition_text(write, "Pt", "Au") == (
        "the header states the composition Pt, but the model has Au: check the element (--element, or that of the "
        "structure files)",
        False,
    )
    for composition in ("Au", "Au55", "1.0 Au", "sample 3", "Sample", "Potato", "Gold", "", "Xx2Au"):
        assert composition_text(write, composition, "Au") == ("", False), composition
    assert composition_remark(gr.read(write(rows(), "y.gr")), "Au") is None


@pytest.mark.parametrize(
    ("composition", "element", "ligands"),
    [
        ("Au92S44", "Au", "S"), ("Au25 S18 C144 H180", "Au", "S, C, H"), ("Pt C", "Pt", "C"), ("PdH0.6", "Pd", "H"),
        ("Au0.95S0.05", "Au", "S"), ("Cu25H22P12", "Cu", "H, P"), ("Ni1 C18 H35", "Ni", "C, H"),
        ("Au144(SC2H4Ph)60", "Au", "S, C, H"), ("Au92(SR)44", "Au", "S, C, H"), ("Au92S44, Xx", "Au", "S"),
    ],
)  # fmt: skip
def test_ligands_on_a_metal_core_are_named_with_what_they_mean(write, composition, element, ligands):
    text, is_compound = composition_text(write, composition, element)
    assert not is_compound and text.startswith(f"the header states the composition {composition}, but the model has")
    assert f"n_atoms is the number of {element} atoms, and distances to {ligands} are not described" in text


@pytest.mark.parametrize(
    ("composition", "element"),
    [
        ("Cd Se", "Cd"), ("Cd Se", "Se"), ("CdSe", "Pt"), ("Pt3Ni", "Pt"), ("TiO2", "Ti"), ("TiO2", "O"), ("ZnS", "Zn"),
        ("Cu2O", "Cu"), ("Fe3O4", "Fe"), ("Ag2S", "Ag"), ("Ni2P", "Ni"), ("WC", "W"), ("SrFe2As2", "Fe"),
        ("W18O49", "W"),        ("Pt0.1Si0.9O1.8", "Pt"), ("NaCl", "Na"), ("TiOx", "Ti"), ("Au1-xAgx", "Au"),
        ("ZnSe(SR)2", "Zn"), ("Ce3+ O2-", "Ce"),
    ],
)  # fmt: skip
def test_a_compound_or_an_alloy_is_not_described_by_one_element(write, composition, element):
    text, is_compound = composition_text(write, composition, element)
    assert is_compound and text.startswith(f"the header states the composition {composition}, but the model has only")
    assert "jaxstruc simulate" in text


def test_the_given_pdf_on_a_rounded_nyquist_grid_is_read(case):
    measurement = gr.read(case("Pt_nyquist_r4.gr"))
    resolved = resolve_settings(measurement, DataOptions(), bond=2.775)
    assert resolved.settings_by_name["qmax"] == 20.0
    np.testing.assert_array_equal(resolved.r, measurement.r)


@pytest.mark.parametrize("n_digits", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("qmax", [20.0, 24.53, 13.7])
def test_r_may_be_rounded_on_a_grid_of_pi_over_qmax(write, n_digits, qmax):
    """R that was rounded by more than 1 % of its step is spaced evenly again, to the true positions."""
    true_r = np.arange(int(30 * qmax / np.pi)) * np.pi / qmax
    measurement = gr.read(write(rows(np.round(true_r, n_digits), np.sin(2.5 * true_r))))
    resolved = resolve_settings(measurement, DataOptions(qmin=0.8, qmax=qmax), bond=2.775)
    np.testing.assert_allclose(
        resolved.r, true_r, atol=min(max(0.01 * np.pi / qmax, 0.03 * 10.0**-n_digits), 10.0**-n_digits)
    )


@pytest.mark.parametrize("factor", [1.005, 1.05, 2.0])
def test_a_step_beyond_pi_over_qmax_is_refused_although_r_is_rounded(write, factor):
    r = np.round(np.arange(150) * factor * np.pi / 20, 2)
    with pytest.raises(ReadError, match=r"a step in r of at most pi/qmax = 0\.1571 Å, got 0") as error:
        resolve_settings(gr.read(write(rows(r, np.sin(2.5 * r)))), DataOptions(qmin=0.8, qmax=20), bond=2.775)
    assert_one_sentence(error)


def test_uneven_r_is_refused_although_it_is_rounded(write):
    r = np.round(np.cumsum(np.random.default_rng(0).uniform(0.05, 0.15, 300)), 2)
    with pytest.raises(ReadError, match="evenly spaced r"):
        resolve_settings(gr.read(write(rows(r, np.sin(2.5 * r)))), DataOptions(qmin=0.8, qmax=20), bond=2.775)
