"""Fixtures for tests of the commands: a few small files, small batches and a separate cache."""

import shutil
from pathlib import Path

import ase.io
import pytest
from command_line import run_command
from shared_folder import build_once, shared_folder

from jaxstruc.clusters import fcc_shapes
from jaxstruc.pdf import result
from jaxstruc.scattering import form_factors

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"


@pytest.fixture(scope="session")
def commands_folder(tmp_path_factory):
    """Return a folder of all test processes, with the example, a bad file, a copy of the example, and two clusters."""
    folder = shared_folder(tmp_path_factory) / "commands"
    folder.mkdir(exist_ok=True)

    def write_files():
        for name, layers in (("small", (2, 4, 2)), ("large", (3, 4, 2))):
            cluster = fcc_shapes.fcc_cluster(layers).to_ase("Ag", form_factors.bond_length("Ag"))
            ase.io.write(folder / f"{name}.xyz", cluster)
        shutil.copy(EXAMPLE, folder / "good.gr")
        shutil.copy(EXAMPLE, folder / "again.gr")
        (folder / "bad.gr").write_text("no numbers here\n")

    build_once(folder / "bad.gr", write_files)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _separate_cache(commands_folder):
    """Use a separate library cache, and tables as small as the few candidates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSTRUC_CACHE", str(commands_folder / "cache"))
        patch.setattr(result, "MAX_LISTED_CANDIDATES", 10)
        yield


@pytest.fixture(scope="session")
def input_files(commands_folder):
    """Return the example, a file that cannot be used, and the example under another name."""
    return commands_folder / "good.gr", commands_folder / "bad.gr", commands_folder / "again.gr"


@pytest.fixture(scope="session")
def cluster_files(commands_folder):
    """Return two files of silver clusters."""
    return commands_folder / "small.xyz", commands_folder / "large.xyz"


@pytest.fixture(scope="session")
def command_arguments(cluster_files):
    """Return the arguments of each command before and after the files."""
    library_options = ("--families", "octahedron", "icosahedron", "--max-atoms", 150)
    return {
        "solve": (
            ("solve",),
            (
                *("--element", "Ag", "--sources", "network", "library", "--draws", 8, "--search", "none"),
                *("--ensemble", "none", *library_options),
            ),
        ),
        "mine": (("mine",), ("--element", "Ag", "--ensemble", "none", *library_options)),
        "refine": (("refine", *cluster_files), ()),
    }


@pytest.fixture(scope="session")
def run_once(commands_folder, input_files, command_arguments):
    """Return a function that gives the folder of results and the exit status of a command for the input files.

    The command runs once for all test processes.
    """

    def run_command_once(command):
        result_folder, status_file = commands_folder / command / "results", commands_folder / f"{command}.status"
        leading_arguments, trailing_arguments = command_arguments[command]
        arguments = (*leading_arguments, *input_files, *trailing_arguments, "-o", result_folder)
        build_once(status_file, lambda: status_file.write_text(str(run_command(*arguments))))
        return result_folder, int(status_file.read_text())

    return run_command_once
