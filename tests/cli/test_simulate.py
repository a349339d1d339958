import shlex
from pathlib import Path

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Icosahedron, Octahedron

import jaxstruc
from jaxstruc.cli import main
from jaxstruc.clusters import polydisperse
from jaxstruc.options.simulation import SimulateOptions
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid


@pytest.fixture
def gold_file(tmp_path):
    path = tmp_path / "Au55.xyz"
    ase.io.write(path, Icosahedron("Au", 3))
    return path


def run_simulate(arguments):
    with pytest.raises(SystemExit) as exit_info:
        main.main(["simulate", *map(str, arguments)])
    return exit_info.value.code


def test_the_curve_is_the_exact_sum_and_its_header_makes_it_again(gold_file, tmp_path):
    output_file = tmp_path / "Au55.gr"
    assert (
        run_simulate(
            [
                gold_file,
                "--qmin",
                1,
                "--qmax",
                22,
                "--qstep",
                0.02,
                "--rmin",
                1,
                "--rstep",
                0.1,
                "--biso",
                0.5,
                "-o",
                output_file,
            ]
        )
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Au55.gr", "Au55.xyz"]  # no picture without --plot
    r, g = np.loadtxt(output_file, unpack=True)
    with jax.enable_x64(True):
        grid = Grid(qmin=1, qmax=22, qstep=0.02, rmin=1, rmax=30, rstep=0.1)
        pairs = debye.pairs_from_positions(jnp.asarray(ase.io.read(gold_file).positions), np.ones(55))
        exact_pdf = np.asarray(
            pair_distribution.pdf(
                pairs, form_factors.UNIT_COEFFICIENTS, np.array([55.0]), Instrument(uiso=0.5 / (8 * np.pi**2)), grid
            )
        )
    np.testing.assert_allclose(r, grid.r, atol=1e-12)
    np.testing.assert_allclose(g, exact_pdf, atol=1e-10 * np.abs(exact_pdf).max())
    header_arguments = shlex.split(output_file.read_text().splitlines()[0].removeprefix("# "))
    assert header_arguments[:2] == ["jaxstruc", "simulate"]
    second_file = tmp_path / "again.gr"
    assert run_simulate([*header_arguments[2:], "-o", second_file]) == 0
    assert second_file.read_bytes() == output_file.read_bytes()


@pytest.mark.parametrize("signal", ["iq", "sq", "fq"])
def test_signals_in_q_agree_with_each_other_and_are_printed(gold_file, signal, capsys):
    assert run_simulate([gold_file, "--signal", signal, "--qmin", 0.5, "--qmax", 20, "--qstep", 0.5]) == 0
    q, y = np.loadtxt(capsys.readouterr().out.splitlines(), unpack=True)
    assert q[0] == 0.5 and q[-1] == 20.0 and len(q) == 40
    with jax.enable_x64(True):
        f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au"]), jnp.asarray(q))
        pairs = debye.pairs_from_positions(jnp.asarray(ase.io.read(gold_file).positions), np.ones(55))
        total = np.asarray(debye.intensity(pairs, Instrument(uiso=0.005), f, np.array([55.0]), q))
        s = total / (55 * np.asarray(f[0]) ** 2)
    expected = {"iq": total, "sq": s, "fq": q * (s - 1)}[signal]
    np.testing.assert_allclose(y, expected, atol=1e-9 * np.abs(expected).max())


def test_several_clusters_get_a_folder_and_pictures(gold_file, tmp_path):
    other_file = tmp_path / "Cu13.xyz"
    ase.io.write(other_file, Icosahedron("Cu", 2))
    assert (
        run_simulate(
            [gold_file, other_file, "--signal", "sq", "--qmax", 10, "--qstep", 0.1, "-o", tmp_path / "out", "--plot"]
        )
        == 0
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Au55.sq", "Au55.sq.png", "Cu13.sq", "Cu13.sq.png",
    ]  # fmt: skip


def test_a_periodic_file_is_a_cluster_only_if_asked_for(tmp_path, capsys):
    path = tmp_path / "salt.cif"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6, cubic=True))
    assert run_simulate([path]) == 2 and "--cluster" in capsys.readouterr().err
    assert run_simulate([path, "--cluster", "--ions", "Na1+", "Cl1-", "--qmax", 5, "--signal", "iq"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--uiso", -1], "--uiso of at least 0, got -1"),
        (["--qmin", 5, "--qmax", 4], "qmin < qmax, got 5 and 4"),
        (["--rstep", 40], "rmax - rmin = 30, got 40"),
        (["--rstep", 0], "--rstep above 0"),
        (["--rstep", 1e-6], "at most 1000000 points"),
        (["--ions", "Pt2+"], "ions of the elements of the cluster (Au), got 'Pt2+'"),
        (["--ions", "Au9+"], "got 'Au9+'"),
        (["--ions", "Au1+", "Au3+"], "one ion of each element, got Au1+, Au3+"),
        (["--ions", "Au1+", "--probe", "neutron"], "got neutron"),
        (["--uiso", 0.1, "--biso", 3], "--uiso or --biso, got both"),
        (["none.xyz", "-o", "x"], "none.xyz, which does not exist"),
        (["other.xyz"], "pass -o FOLDER"),
    ],
)
def test_bad_input_is_one_line_and_status_2(gold_file, arguments, message, capsys):
    assert run_simulate([gold_file, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "Expected a structure"), ("3\n\nAu 0 0 0\n", "ASE reads"), ("1\n\nQq 0 0 0\n", "bad.xyz")],
)
def test_an_unreadable_structure_is_one_line_and_status_2(tmp_path, text, message, capsys):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    assert run_simulate([path]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


def test_an_element_in_no_table_is_refused(tmp_path, capsys):
    path = tmp_path / "x.xyz"
    ase.io.write(path, ase.Atoms("Og"))
    assert run_simulate([path]) == 2 and "got 'Og'" in capsys.readouterr().err


def test_a_cluster_about_the_origin_of_its_cell_is_simulated_as_a_whole(repository, tmp_path, capsys):
    torn_file, whole_file = repository / "tests" / "cases" / "Pt201_about_origin.cif", tmp_path / "whole.xyz"
    ase.io.write(whole_file, Octahedron("Pt", 7, 2, latticeconstant=3.92))
    options = ["--qmin", 0.8, "--qmax", 20, "--rmax", 20]
    simulated_g = []
    for path in (torn_file, whole_file):
        assert run_simulate([path, *options, "-o", tmp_path / "curve.gr"]) == 0
        simulated_g.append(np.loadtxt(tmp_path / "curve.gr")[:, 1])
    np.testing.assert_allclose(*simulated_g, atol=1e-3 * abs(simulated_g[1]).max())
    error = capsys.readouterr().err
    assert "Pt201_about_origin.cif: the faces of the unit cell cut through the cluster" in error
    assert error.count("\n") == 1


def test_sites_that_two_elements_share_have_mean_form_factors(repository, capsys):
    """Half Au and half Cu at the four sites of a cell: I(Q) between that of gold and that of copper."""
    path = repository / "tests" / "cases" / "AuCu_half.cif"
    assert run_simulate([path]) == 2 and "pass --cluster" in capsys.readouterr().err
    assert run_simulate([path, "--cluster", "--signal", "iq", "--qmin", 0.5, "--qstep", 0.5]) == 0
    text = capsys.readouterr().out
    assert "# sites with partial occupancy have mean form factors\n" in text
    q, intensity = np.loadtxt(text.splitlines(), unpack=True)
    atoms = bulk("Au", a=3.85, cubic=True)
    atoms.pbc = False
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.asarray(q))
    mean_f, mean_f_squared = np.asarray(f.mean(axis=0)), np.asarray((f**2).mean(axis=0))
    x = q[:, None, None] * atoms.get_all_distances()
    uiso = SimulateOptions().uiso
    pair_sum = np.where(x > 0, np.exp(-uiso * q[:, None, None] ** 2) * np.sinc(x / np.pi), 0.0).sum(axis=(1, 2))
    np.testing.assert_allclose(intensity, 4 * mean_f_squared + mean_f**2 * pair_sum, rtol=1e-4)


MIXTURE_OPTIONS = ("--family", "fcc", "--element", "Pt", "--mean", 14, "--width", 0.2, "--members", 3)


def test_a_distribution_of_particles_is_the_mean_of_its_members(tmp_path):
    """Shares of atoms are equal, so that G(r) and S(Q) are plain means and I(Q) is that of a mean particle."""
    particle_population = polydisperse.particle_population(
        "fcc", mean=14 / form_factors.bond_length("Pt"), width=0.2, n_particles=3
    )
    atoms = [particle.to_ase("Pt", form_factors.bond_length("Pt")) for particle in particle_population.clusters]
    for signal in ("gr", "sq", "iq"):
        output_file = tmp_path / f"mix.{signal}"
        assert (
            run_simulate(
                [
                    *MIXTURE_OPTIONS,
                    "--signal",
                    signal,
                    "--qmin",
                    1,
                    "--qmax",
                    15,
                    "--qstep",
                    0.1,
                    "--rmax",
                    20,
                    "-o",
                    output_file,
                ]
            )
            == 0
        )
        y = np.loadtxt(output_file, unpack=True)[1]
        options = jaxstruc.SimulateOptions(signal=signal, qmin=1.0, qmax=15.0, qstep=0.1, rmax=20.0)
        particle_curves = [jaxstruc.simulate(particle, options=options).y for particle in atoms]
        atom_counts = np.array([len(particle) for particle in atoms])
        weight = 1 / atom_counts / np.sum(1 / atom_counts) if signal == "iq" else np.full(3, 1 / 3)
        np.testing.assert_allclose(y, weight @ np.array(particle_curves), atol=2e-9 * np.abs(particle_curves).max())
    header_lines = output_file.read_text().splitlines()[:3]
    assert (
        "--family fcc --element Pt --distribution lognormal --mean 14.0 --width 0.2 --members 3 --seed 0"
        in header_lines[0]
    )
    assert f"mean {particle_population.mean * form_factors.bond_length('Pt'):.6g} Å" in header_lines[2]


@pytest.mark.parametrize(("arguments", "message"), [
    (("--mean", 20), "--family with --mean"),
    (("--family", "fcc", "--mean", 20), "Expected --element, --width with --family"),
    (("some.xyz", *MIXTURE_OPTIONS), "files or --family, got both"),
    ((*MIXTURE_OPTIONS, "--width", 3), "width above 0 and at most 1"),
    ((*MIXTURE_OPTIONS, "--mean", 900), "at most 20000 atoms"),
    ((), "Expected a structure file, --family or --body"),
])  # fmt: skip
def test_an_invalid_distribution_is_refused(arguments, message, capsys):
    assert run_simulate(arguments) == 2
    assert message in capsys.readouterr().err


def test_one_of_several_structures_in_a_file_is_asked_for_and_simulated(tmp_path, capsys):
    path = Path(__file__).parents[1] / "cases" / "library_in_one.xyz"
    assert run_simulate([path, "-o", tmp_path / "x.gr"]) == 2
    error = capsys.readouterr().err
    assert f"Expected one structure, got 3 in {path}; choose one from {path}@0 to {path}@2." in error
    assert run_simulate([f"{path}@2", f"{path}@1", "-o", tmp_path, "--rstep", 0.05]) == 0
    ase.io.write(tmp_path / "third.xyz", ase.io.read(path, index=2))
    assert run_simulate([tmp_path / "third.xyz", "-o", tmp_path / "third.gr", "--rstep", 0.05]) == 0
    names = ("third", "library_in_one-2", "library_in_one-1")
    pdf_by_name = {name: np.loadtxt(tmp_path / f"{name}.gr") for name in names}
    np.testing.assert_allclose(pdf_by_name["library_in_one-2"], pdf_by_name["third"], atol=1e-6)
    assert np.abs(pdf_by_name["library_in_one-1"] - pdf_by_name["third"]).max() > 0.1


BODY_OPTIONS = ("--body", "sphere", "--radius", 35, "--pd", 0.06, "--qmin", 0.01, "--qmax", 0.4, "--qstep", 0.0065)
"""Options of a simulated sphere. Its 61 points share the compiled fits of `small_angle_data.measurement`."""


@pytest.mark.parametrize(
    ("distribution", "options"), [("gaussian", ()), ("lognormal", ("--dq", 0.003, "--background", 2.0))]
)
def test_a_simulated_body_is_fitted_back(distribution, options, tmp_path):
    """Without noise, radius and pd come back within a few thousandths of the truth; with noise within their errors."""
    output_file = tmp_path / "sphere.dat"
    assert (
        run_simulate([*BODY_OPTIONS, "--distribution", distribution, "--scale", 50, *options, "-o", output_file]) == 0
    )
    measurement = jaxstruc.read(output_file)
    assert measurement.intensity_unit == "1/cm" and (measurement.dq is not None) == bool(options)
    fit_options = {"body": ["sphere"], "distribution": [distribution]}
    best_fit = jaxstruc.saxs(measurement, **fit_options).best
    assert best_fit.values["radius"].value == pytest.approx(35.0, rel=0.002)
    assert best_fit.values["pd"].value == pytest.approx(0.06, rel=0.005)
    assert best_fit.values["scale"].value == pytest.approx(50.0, rel=0.005)
    sigma = 0.03 * measurement.intensity
    noise = sigma * np.random.default_rng(0).standard_normal(len(sigma))
    noisy_measurement = measurement._replace(intensity=measurement.intensity + noise, sigma=sigma)
    best_fit = jaxstruc.saxs(noisy_measurement, **fit_options).best
    for name, truth in (("radius", 35.0), ("pd", 0.06)):
        value = best_fit.values[name]
        assert abs(value.value - truth) < 4 * value.error and value.error < 0.1 * truth


def test_the_curve_of_a_body_is_that_of_python_and_its_header_makes_it_again(tmp_path, capsys):
    arguments = ["--body", "core-shell", "--radius", 40, "--shell", 6, "--shell-contrast", 2, "--qstep", 0.01]
    assert run_simulate([*arguments, "--volume-fraction", 0.1, "-o", tmp_path, "--plot"]) == 0
    output_file = tmp_path / "core-shell.dat"
    assert "iq written to" in capsys.readouterr().out and (tmp_path / "core-shell.dat.png").exists()
    options = jaxstruc.SimulateSaxsOptions(shell=6.0, shell_contrast=2.0, volume_fraction=0.1)
    x, y, _ = jaxstruc.simulate_saxs("core-shell", radius=40.0, qstep=0.01, options=options)
    np.testing.assert_allclose(np.loadtxt(output_file, unpack=True), [x, y], rtol=1e-13)
    header_arguments = shlex.split(output_file.read_text().splitlines()[0].removeprefix("# "))
    assert run_simulate([*header_arguments[2:], "-o", tmp_path / "again.dat"]) == 0
    assert (tmp_path / "again.dat").read_bytes() == output_file.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--body", "sphere"), "Expected --radius with --body"),
        ((*BODY_OPTIONS, "--uiso", 0.01), "Expected --body without --uiso"),
        ((*BODY_OPTIONS, "some.xyz"), "Expected --body without structure files"),
        ((*BODY_OPTIONS, "--family", "fcc"), "Expected --body without --family"),
        ((*BODY_OPTIONS, "--signal", "gr"), "Expected --signal iq with --body, got gr"),
        ((*BODY_OPTIONS, "--pd", -1), "Expected --pd of at least 0"),
        ((*BODY_OPTIONS, "--qmin", 1), "Expected qmin < qmax"),
        (("--radius", 35), "Expected --body with --radius"),
        (("some.xyz", "--dq", 0.1), "Expected --body with options of small-angle scattering"),
        (
            (*MIXTURE_OPTIONS, "--distribution", "gaussian"),
            "Expected --distribution lognormal or schulz with --family, got gaussian",
        ),
    ],
)
def test_an_invalid_body_is_refused(arguments, message, capsys):
    assert run_simulate(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


COARSE_GRID = ("--qmax", 10, "--qstep", 0.1, "--rstep", 0.5)


def test_a_curve_is_written_into_a_folder_that_exists_and_to_the_named_file_otherwise(
    gold_file, tmp_path, capsys, monkeypatch
):
    folder, work_folder = tmp_path / "folder", tmp_path / "work"
    folder.mkdir()
    work_folder.mkdir()
    monkeypatch.chdir(work_folder)
    for arguments, name in (
        ([gold_file], "Au55.gr"),
        ([gold_file, "--signal", "fq"], "Au55.fq"),
        ([*MIXTURE_OPTIONS], "Pt_fcc_lognormal.gr"),
        ([*MIXTURE_OPTIONS, "--signal", "sq", "--distribution", "schulz"], "Pt_fcc_schulz.sq"),
    ):
        assert run_simulate([*arguments, *COARSE_GRID, "-o", folder, "--plot"]) == 0
        assert f"written to {folder / name}" in capsys.readouterr().out
        assert sorted(path.name for path in folder.iterdir()) == [name, f"{name}.png"]
        assert run_simulate([*arguments, *COARSE_GRID, "-o", tmp_path / "new" / "curve.txt"]) == 0
        capsys.readouterr()
        curve_text = (folder / name).read_text()
        assert (tmp_path / "new" / "curve.txt").read_text() == curve_text
        assert run_simulate([*arguments, *COARSE_GRID, "--plot"]) == 0
        assert curve_text in capsys.readouterr().out
        assert sorted(path.name for path in work_folder.iterdir()) == [f"{name}.png"]
        for path in (*folder.iterdir(), *work_folder.iterdir()):
            path.unlink()


def test_several_curves_need_a_folder_and_different_names(gold_file, tmp_path, capsys):
    other_file = tmp_path / "other" / gold_file.name
    other_file.parent.mkdir()
    other_file.write_bytes(gold_file.read_bytes())
    assert run_simulate([gold_file, tmp_path / "x.xyz", "-o", gold_file]) == 2
    assert f"Expected a folder for the curves of several clusters, got the file {gold_file}" in capsys.readouterr().err
    assert run_simulate([gold_file, other_file, "-o", tmp_path / "out"]) == 2
    assert f"a different name for each structure file, got {gold_file.stem} twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
