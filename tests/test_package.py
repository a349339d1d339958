"""The package as a whole: imports between modules, shipped weights and wheel."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

import jaxstruc
from jaxstruc import files
from jaxstruc.options.pdf import SHIPPED

MODULE_ORDER = """
files parameters statistics change_points cache blas
options: validation pdf small_angle series simulation training
clusters: cluster structure_files distances lattices families fcc_shapes deepstruc_shapes particle_codes library
clusters: structure_type description size_classes potential displacement_fields lattice_sites polydisperse
clusters: random_particles known_phases imperfect_particles ligand_shells
scattering: fast_debye debye cluster_tables form_factors pair_distribution simulate imperfect_pdf sincos
io: columns isolated_process measurement q_axis points labels gr cansas iq nxcansas qmax_check read reduction
io: repeated_curves
result devices
network.classifier: relaxed_clusters particles simulated_pdfs model training shell_detector
network.cvae: representation dataset model stress trilateration propose loss training
network.deepstruc: scaled_pdf model loss training propose
network: weights
network.classifier: predict
pdf: fit_quality posterior stacking intensity target intensity_target fit candidates ensemble_model ensemble
pdf: instrument relax screening relaxed_screening classifier_prior cross_validation distribution site_moves
pdf: search_starts search_minima site_search sources plan result candidate_fits solve neighbour classify
small_angle: contrast data polyhedra form_factors named_polyhedra size_distributions smearing free_distribution
small_angle: structure_factor shape_parameters design_matrix fit evidence shape_fits simulate fitted_curves
small_angle: model_averaging result solve
report: summary tables figures folder methods_text page_data page_entries page
report: series_positions series series_page
shards
batch watch
api
cli: progress simulate train solve describe main
__main__
"""
"""Folders and modules from the bottom up; each imports only those before it."""
UPWARD_IMPORTS = {"result": {"report.figures", "report.folder", "report.tables"}}
"""Modules that the methods of a result import when they plot, save or print it: the only upward imports."""


def ordered_modules():
    """Return the modules' dotted names in reading order."""
    modules = []
    for line in MODULE_ORDER.split("\n"):
        folder, _, names = line.rpartition(":")
        modules += [f"{folder}.{name}".lstrip(".") for name in names.split()]
    return modules


def imported_modules(path, modules):
    """Return the modules of the package that a file imports, anywhere in it."""
    imports = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxstruc":
            module = (node.module or "").removeprefix("jaxstruc").lstrip(".")
            imports |= {f"{module}.{alias.name}".lstrip(".") for alias in node.names} & modules
            imports |= {module} & modules
    return imports


def test_imports_flow_one_way(repository):
    package, order = repository / "jaxstruc", ordered_modules()
    module_files = [path for path in package.rglob("*.py") if path.stem != "__init__"]
    paths = {".".join(path.relative_to(package).with_suffix("").parts): path for path in module_files}
    assert sorted(paths) == sorted(order)
    for index, name in enumerate(order):
        upward_imports = imported_modules(paths[name], set(order)) - set(order[:index])
        assert upward_imports == UPWARD_IMPORTS.get(name, set()), name


def test_network_and_scattering_know_no_command_line(repository):
    for folder in ("network", "scattering", "clusters", "io"):
        for path in (repository / "jaxstruc" / folder).rglob("*.py"):
            assert "tyro" not in path.read_text("utf-8"), path


def test_each_module_is_in_the_map(repository):
    text = (repository / "docs" / "design.md").read_text("utf-8")
    for name in ordered_modules()[:-1]:
        assert f"`{name.split('.')[-1]}`" in text, name


def test_pdfs_and_small_angles_do_not_import_each_other(repository):
    modules = set(ordered_modules())
    for folder, other_folder in (("pdf", "small_angle"), ("small_angle", "pdf")):
        for path in (repository / "jaxstruc" / folder).glob("*.py"):
            assert not {name for name in imported_modules(path, modules) if name.startswith(f"{other_folder}.")}, path


def test_the_card_describes_the_shipped_weights():
    card = json.loads(SHIPPED.with_suffix(".json").read_text("utf-8"))
    assert SHIPPED.stat().st_size < 20 * 2**20
    assert card["command"].startswith("jaxstruc train ") and card["config"]["seed"] == 0
    assert card["data"]["preset"] == "real"
    assert card["sha256"] == files.sha256(SHIPPED)


def test_package_project_and_changelog_have_one_version(repository):
    assert 'version = { attr = "jaxstruc.__version__" }' in (repository / "pyproject.toml").read_text("utf-8")
    assert f"\nversion: {jaxstruc.__version__}\n" in (repository / "CITATION.cff").read_text("utf-8")
    assert jaxstruc.__version__ in (repository / "CHANGELOG.md").read_text("utf-8")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, jaxstruc; sys.exit(bool({'jax', 'numpy', 'ase', 'tyro'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(jaxstruc.__all__) <= set(dir(jaxstruc))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jaxstruc.nothing


@pytest.mark.slow
def test_a_wheel_has_all_that_the_package_needs(repository, tmp_path):
    """The wheel is built from a copy, unpacked outside the repository, and simulates and loads the shipped weights."""
    wheel_command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    package_copy = shutil.copytree(
        repository,
        tmp_path / "copy",
        ignore=shutil.ignore_patterns(".*", "build", "dist", "runs", "experiments", "*.egg-info", "tests"),
    )
    subprocess.run([*wheel_command, str(package_copy)], check=True)
    (wheel_file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel_file) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import sys, jaxstruc; from jaxstruc.network import weights; from ase.cluster import Icosahedron\n"
        "from jaxstruc.options import pdf\n"
        "assert jaxstruc.__file__.startswith(sys.argv[1]), jaxstruc.__file__\n"
        "assert (pdf.SHIPPED.parents[2] / 'py.typed').is_file()\n"
        "assert weights.load_autoencoder(pdf.SHIPPED).card['name']\n"
        "from jaxstruc.report import methods_text, page\n"
        "assert all((page.TEMPLATE / name).is_file() for name in ('page.html', 'page.css', *page.SCRIPTS))\n"
        "assert methods_text.REFERENCES.is_file()\n"
        "from jaxstruc.clusters import lattice_sites; assert lattice_sites.occupancy_prior('bcc').cost.shape\n"
        "print(jaxstruc.simulate(Icosahedron('Au', 2), rmax=5.0).y.max())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    command = [sys.executable, "-c", code, str(tmp_path / "installed")]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert float(completed.stdout) > 1
