import shlex

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Icosahedron

import jaxstruc
from jaxstruc.commands import cli
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import populations


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "Au55.xyz"
    ase.io.write(path, Icosahedron("Au", 3))
    return path


def run(words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["simulate", *map(str, words)])
    return stopped.value.code


def test_the_curve_is_the_exact_sum_and_its_header_makes_it_again(gold, tmp_path):
    out = tmp_path / "Au55.gr"
    assert (
        run([gold, "--qmin", 1, "--qmax", 22, "--qstep", 0.02, "--rmin", 1, "--rstep", 0.1, "--biso", 0.5, "-o", out])
        == 0
    )
    r, g = np.loadtxt(out, unpack=True)
    with jax.enable_x64(True):
        grid = Grid(qmin=1, qmax=22, qstep=0.02, rmin=1, rmax=30, rstep=0.1)
        pairs = debye.pairs_of(jnp.asarray(ase.io.read(gold).positions), np.ones(55))
        exact = np.asarray(
            curves.pdf(pairs, form_factors.UNIT, np.array([55.0]), Instrument(uiso=0.5 / (8 * np.pi**2)), grid)
        )
    np.testing.assert_allclose(r, grid.r, atol=1e-12)
    np.testing.assert_allclose(g, exact, atol=1e-10 * np.abs(exact).max())
    again = shlex.split(out.read_text().splitlines()[0].removeprefix("# "))
    assert again[:2] == ["jaxstruc", "simulate"]
    second = tmp_path / "again.gr"
    assert run([*again[2:], "-o", second]) == 0
    assert second.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("signal", ["iq", "sq", "fq"])
def test_signals_in_q_agree_with_each_other_and_are_printed(gold, signal, capsys):
    assert run([gold, "--signal", signal, "--qmin", 0.5, "--qmax", 20, "--qstep", 0.5]) == 0
    q, y = np.loadtxt(capsys.readouterr().out.splitlines(), unpack=True)
    assert q[0] == 0.5 and q[-1] == 20.0 and len(q) == 40
    with jax.enable_x64(True):
        f = form_factors.xray(form_factors.coefficients(["Au"]), jnp.asarray(q))
        pairs = debye.pairs_of(jnp.asarray(ase.io.read(gold).positions), np.ones(55))
        total = np.asarray(debye.intensity(pairs, Instrument(uiso=0.005), f, np.array([55.0]), q))
        s = total / (55 * np.asarray(f[0]) ** 2)
    expected = {"iq": total, "sq": s, "fq": q * (s - 1)}[signal]
    np.testing.assert_allclose(y, expected, atol=1e-9 * np.abs(expected).max())


def test_several_clusters_get_a_folder_and_pictures(gold, tmp_path):
    other = tmp_path / "Cu13.xyz"
    ase.io.write(other, Icosahedron("Cu", 2))
    assert run([gold, other, "--signal", "sq", "--qmax", 10, "--qstep", 0.1, "-o", tmp_path / "out", "--plot"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Au55.sq", "Au55.sq.png", "Cu13.sq", "Cu13.sq.png",
    ]  # fmt: skip


def test_a_periodic_file_is_a_cluster_only_where_asked(tmp_path, capsys):
    path = tmp_path / "salt.cif"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6, cubic=True))
    assert run([path]) == 2 and "--cluster" in capsys.readouterr().err
    assert run([path, "--cluster", "--ions", "Na1+", "Cl1-", "--qmax", 5, "--signal", "iq"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--uiso", -1], "--uiso of at least 0, got -1"),
        (["--qmin", 5, "--qmax", 4], "qmin < qmax, got 5 and 4"),
        (["--rstep", 40], "rmax - rmin = 30, got 40"),
        (["--rstep", 0], "--rstep above 0"),
        (["--rstep", 1e-6], "at most 1000000 points"),
        (["--ions", "Pt2+"], "ions of the cluster's elements (Au), got 'Pt2+'"),
        (["--ions", "Au9+"], "got 'Au9+'"),
        (["--ions", "Au1+", "Au3+"], "one ion an element, got Au1+, Au3+"),
        (["--ions", "Au1+", "--probe", "neutron"], "got neutron"),
        (["--uiso", 0.1, "--biso", 3], "--uiso or --biso, got both"),
        (["none.xyz", "-o", "x"], "none.xyz, which does not exist"),
        (["other.xyz"], "pass -o FOLDER"),
    ],
)
def test_bad_input_is_one_line_and_status_2(gold, words, message, capsys):
    assert run([gold, *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "Expected a structure"), ("3\n\nAu 0 0 0\n", "ASE reads"), ("1\n\nQq 0 0 0\n", "bad.xyz")],
)
def test_an_unreadable_structure_is_one_line_and_status_2(tmp_path, text, message, capsys):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    assert run([path]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


def test_an_element_in_no_table_is_refused(tmp_path, capsys):
    path = tmp_path / "x.xyz"
    ase.io.write(path, ase.Atoms("Og"))
    assert run([path]) == 2 and "got 'Og'" in capsys.readouterr().err


MIX = ("--family", "fcc", "--element", "Pt", "--mean", 14, "--width", 0.2, "--members", 3)


def test_a_distribution_of_particles_is_the_mean_of_its_members(tmp_path):
    """Shares of atoms are even, so that G(r) and S(Q) are plain means, and I(Q) that of a mean particle."""
    found = populations.population("fcc", mean=14 / form_factors.bond_length("Pt"), width=0.2, members=3)
    atoms = [one.atoms("Pt", form_factors.bond_length("Pt")) for one in found.clusters]
    for signal in ("gr", "sq", "iq"):
        out = tmp_path / f"mix.{signal}"
        assert run([*MIX, "--signal", signal, "--qmin", 1, "--qmax", 15, "--qstep", 0.1, "--rmax", 20, "-o", out]) == 0
        y = np.loadtxt(out, unpack=True)[1]
        options = jaxstruc.SimulateOptions(signal=signal, qmin=1.0, qmax=15.0, qstep=0.1, rmax=20.0)
        each = [jaxstruc.simulate(one, options=options).y for one in atoms]
        count = np.array([len(one) for one in atoms])
        weight = 1 / count / np.sum(1 / count) if signal == "iq" else np.full(3, 1 / 3)
        np.testing.assert_allclose(y, weight @ np.array(each), atol=2e-9 * np.abs(each).max())
    head = out.read_text().splitlines()[:3]
    assert "--family fcc --element Pt --distribution lognormal --mean 14.0 --width 0.2 --members 3 --seed 0" in head[0]
    assert f"mean {found.mean * form_factors.bond_length('Pt'):.6g} Å" in head[2]


@pytest.mark.parametrize(("words", "message"), [
    (("--mean", 20), "--family with --mean"),
    (("--family", "fcc", "--mean", 20), "Expected --element, --width with --family"),
    (("some.xyz", *MIX), "files or --family, got both"),
    ((*MIX, "--width", 3), "width above 0 and at most 1"),
    ((*MIX, "--mean", 900), "at most 20000 atoms"),
    ((), "at least one structure file, or --family"),
])  # fmt: skip
def test_a_distribution_that_cannot_be_is_refused(words, message, capsys):
    assert run(words) == 2
    assert message in capsys.readouterr().err


BODY = ("--body", "sphere", "--radius", 35, "--pd", 0.06, "--qmin", 0.01, "--qmax", 0.4)


@pytest.mark.parametrize(
    ("distribution", "more"), [("gaussian", ()), ("lognormal", ("--dq", 0.003, "--background", 2.0))]
)
def test_a_simulated_body_is_fitted_back(distribution, more, tmp_path):
    """Without noise, radius and pd come back within a few thousandths of the truth; with noise within their errors."""
    out = tmp_path / "sphere.dat"
    assert run([*BODY, "--distribution", distribution, "--scale", 50, *more, "-o", out]) == 0
    measurement = jaxstruc.read(out)
    assert measurement.units == "1/cm" and (measurement.dq is not None) == bool(more)
    asked = {"body": ["sphere"], "distribution": [distribution]}
    best = jaxstruc.saxs(measurement, **asked).best
    assert best.values["radius"].value == pytest.approx(35.0, rel=0.002)
    assert best.values["pd"].value == pytest.approx(0.06, rel=0.005)
    assert best.values["scale"].value == pytest.approx(50.0, rel=0.005)
    sigma = 0.03 * measurement.intensity
    noise = sigma * np.random.default_rng(0).standard_normal(len(sigma))
    noisy = measurement._replace(intensity=measurement.intensity + noise, sigma=sigma)
    best = jaxstruc.saxs(noisy, **asked).best
    for name, truth in (("radius", 35.0), ("pd", 0.06)):
        value = best.values[name]
        assert abs(value.value - truth) < 4 * value.error and value.error < 0.1 * truth


def test_the_curve_of_a_body_is_that_of_python_and_its_header_makes_it_again(tmp_path, capsys):
    words = ["--body", "core-shell", "--radius", 40, "--shell", 6, "--shell-contrast", 2, "--qstep", 0.01]
    assert run([*words, "--volume-fraction", 0.1, "-o", tmp_path, "--plot"]) == 0
    out = tmp_path / "core-shell.dat"
    assert "iq in" in capsys.readouterr().out and (tmp_path / "core-shell.dat.png").exists()
    options = jaxstruc.SimulateSaxsOptions(shell=6.0, shell_contrast=2.0, volume_fraction=0.1)
    x, y, _ = jaxstruc.simulate_saxs("core-shell", radius=40.0, qstep=0.01, options=options)
    np.testing.assert_allclose(np.loadtxt(out, unpack=True), [x, y], rtol=1e-13)
    again = shlex.split(out.read_text().splitlines()[0].removeprefix("# "))
    assert run([*again[2:], "-o", tmp_path / "again.dat"]) == 0
    assert (tmp_path / "again.dat").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--body", "sphere"), "Expected --radius with --body"),
        ((*BODY, "--uiso", 0.01), "Expected --body without --uiso"),
        ((*BODY, "some.xyz"), "Expected --body without structure files"),
        ((*BODY, "--family", "fcc"), "Expected --body without --family"),
        ((*BODY, "--signal", "gr"), "Expected --signal iq with --body, got gr"),
        ((*BODY, "--pd", -1), "Expected --pd of at least 0"),
        ((*BODY, "--qmin", 1), "Expected qmin < qmax"),
        (("--radius", 35), "Expected --body with --radius"),
        (("some.xyz", "--dq", 0.1), "Expected --body with options of small-angle scattering"),
        ((*MIX, "--distribution", "gaussian"), "Expected a distribution lognormal or schulz, got 'gaussian'"),
    ],
)
def test_a_body_that_cannot_be_is_refused(words, message, capsys):
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
