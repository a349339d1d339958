"""Fixtures for tests of the commands: a few small files, small batches and a separate cache."""

import shutil
from pathlib import Path

import ase.io
import pytest

from jaxstruc.clusters import fcc_shapes
from jaxstruc.pdf import candidates, result
from jaxstruc.scattering import form_factors

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"


@pytest.fixture(scope="session", autouse=True)
def _small_batches(tmp_path_factory):
    """Use a separate library cache, and batches and tables as small as the few candidates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSTRUC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(candidates, "BATCH_SIZE", 64)
        patch.setattr(candidates, "MIN_BATCH_SIZE", 64)
        patch.setattr(result, "MAX_LISTED_CANDIDATES", 10)
        yield


@pytest.fixture(scope="session")
def input_files(tmp_path_factory):
    """Return the example, a bad file, and the example under the same name in another folder."""
    folder = tmp_path_factory.mktemp("in")
    (folder / "again").mkdir()
    first_copy = shutil.copy(EXAMPLE, folder / "good.gr")
    second_copy = shutil.copy(EXAMPLE, folder / "again" / "good.gr")
    (folder / "bad.gr").write_text("no numbers here\n")
    return Path(first_copy), folder / "bad.gr", Path(second_copy)


@pytest.fixture(scope="session")
def cluster_files(tmp_path_factory):
    """Return two files of silver clusters."""
    folder = tmp_path_factory.mktemp("clusters")
    paths = []
    for name, layers in (("small", (2, 4, 2)), ("large", (3, 4, 2))):
        paths.append(folder / f"{name}.xyz")
        ase.io.write(paths[-1], fcc_shapes.fcc_cluster(layers).to_ase("Ag", form_factors.bond_length("Ag")))
    return tuple(paths)


@pytest.fixture(scope="session")
def command_arguments(cluster_files):
    """Return the arguments of each command before and after the files."""
    library_options = ("--families", "octahedron", "icosahedron", "--max-atoms", 150)
    return {
        "solve": (
            ("solve",),
            ("--element", "Ag", "--draws", 8, "--search", "none", "--ensemble", "none", *library_options),
        ),
        "mine": (("mine",), ("--element", "Ag", "--ensemble", "none", *library_options)),
        "refine": (("refine", *cluster_files), ()),
    }
