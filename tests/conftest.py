"""Fixtures for all tests."""

import gc
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# All test processes and later runs share compiled programs. jax reads these variables when it is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Each process has one BLAS thread, because more threads than cores wait for each other. numpy reads this when imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The level of the log that jaxstruc sets, because jax is imported first here and sets another one.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))  # for the support modules in this folder

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runtime_types
from shared_folder import shared_dataset

# Each call of the package checks the shapes and types of its arguments, its results and the fields of its dataclasses.
runtime_types.install()

GOLDEN = Path(__file__).parent / "golden"
MAX_MEMORY_MAPS = 20000
"""Number of memory maps of a test process beyond which its compiled programs are freed."""
SLOW_FOLDERS = ("network", "pdf", "cli", "experiments", "small_angle")


def pytest_collection_modifyitems(items):
    """Put the folders that compile much first, so that test processes end with small files and at about one time."""
    items.sort(key=lambda item: item.path.relative_to(GOLDEN.parent).parts[0] not in SLOW_FOLDERS)


@pytest.fixture(autouse=True, scope="module")
def free_compiled_programs():
    """Free the compiled programs after a test file if the process comes near Linux's limit of 65530 memory maps.

    Each program has some maps. A process beyond the limit crashes when it compiles the next program.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MAX_MEMORY_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Enable double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=sorted(path.stem for path in GOLDEN.glob("*.npz")))
def golden(request):
    """Return curves of diffpy.srreal 1.4.0, see tools/make_golden.py."""
    return load_golden(request.param)


def load_golden(name: str) -> dict:
    """Return the arrays and the meta data of one structure."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files} | {"meta": json.loads(str(archive["meta"]))}


@pytest.fixture
def golden_loader():
    """Return the function that loads the curves of one structure."""
    return load_golden


@pytest.fixture
def fcc19():
    """Return the positions of the fcc cluster of 19 atoms with bonds of 2.78 Å."""
    from jaxstruc.clusters import fcc_shapes

    return fcc_shapes.fcc_cluster((2, 2, 2)).positions * 2.78


@pytest.fixture(scope="session", autouse=True)
def _small_batches():
    """Fit candidates in batches of one size in all tests, so that tests with the same ranges share a compilation."""
    from jaxstruc.pdf import candidates

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH_SIZE", candidates.TABLE_BATCH_SIZE)
        yield


@pytest.fixture(scope="session")
def repository():
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def kdd_dataset(tmp_path_factory):
    """Return the data set of the KDD 2020 paper."""
    return shared_dataset(tmp_path_factory, "kdd", seed=0)


@pytest.fixture(scope="session")
def random_params():
    """Return a function that draws network parameters with NumPy, because the initialiser takes long to compile."""
    from jaxstruc.network.cvae.representation import Features

    def draw_params(network, *, seed=0):
        atoms, satellites = network.sizes.atoms, network.sizes.satellites
        zero_features = Features(
            jnp.zeros((1, atoms, atoms)), jnp.zeros((1, atoms, satellites)), jnp.ones((1, atoms), bool), jnp.ones(1)
        )
        key = jax.random.key(0)
        leaf_structs = jax.eval_shape(network.init, key, zero_features, jnp.zeros((1, network.sizes.points)), key)
        rng = np.random.default_rng(seed)

        def random_leaf(struct):
            is_matrix = struct.ndim > 1
            return jnp.asarray(
                is_matrix * rng.normal(size=struct.shape) / np.sqrt(np.prod(struct.shape[:-1])), jnp.float32
            )

        return jax.tree.map(random_leaf, leaf_structs)

    return draw_params
