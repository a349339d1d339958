import os
import subprocess
import sys

import ase.io
import pytest
from ase.cluster import Icosahedron

from jaxstruc import cache

CODE = """
import sys
from jaxstruc import cache
cache.set_compilation_cache(sys.argv[1] == "yes")
import jax
jax.jit(lambda x: x @ x @ x + 1)(jax.numpy.ones((300, 300))).block_until_ready()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x @ x @ x + 2)(jax.numpy.ones((300, 300))).block_until_ready()
"""


CACHE_VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "TF_CPP_MIN_LOG_LEVEL")


def run_python(code, *arguments, **variables):
    """Return the completed process of Python code, with these environment variables and no others of a cache."""
    environment = {name: value for name, value in os.environ.items() if name not in CACHE_VARIABLES}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, env=environment | variables, capture_output=True, text=True)


def compile_in_process(folder, enabled):
    run_python(CODE, enabled, JAXSTRUC_CACHE=str(folder))
    return [path for path in folder.rglob("*") if path.is_file()]


def test_compiled_programs_are_kept_in_the_cache_folder_unless_switched_off(tmp_path):
    assert not compile_in_process(tmp_path / "without", "no")
    cached_files = compile_in_process(tmp_path / "with", "yes")
    assert cached_files and all((tmp_path / "with" / "compiled") in path.parents for path in cached_files)


def test_the_folder_is_the_processors_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSTRUC_CACHE", str(tmp_path))
    assert (
        cache.compilation_folder() == cache.compilation_folder()
        and cache.compilation_folder().parent == tmp_path / "compiled"
    )


def test_the_cache_of_programs_is_bounded_and_its_folder_can_be_named(tmp_path):
    code = (
        "from jaxstruc import cache; cache.set_compilation_cache(True); import jax; "
        "print(jax.config.jax_compilation_cache_max_size, jax.config.jax_compilation_cache_dir)"
    )
    size, folder = run_python(code, JAXSTRUC_CACHE=str(tmp_path)).stdout.split()
    assert int(size) == 1024**3 and folder.startswith(f"{tmp_path}/compiled/")
    named_folder = str(tmp_path / "named")
    assert run_python(code, JAX_COMPILATION_CACHE_DIR=named_folder).stdout.split()[1] == named_folder


def test_functions_of_the_package_use_the_cache_unless_the_user_has_configured_one(tmp_path):
    code = (
        "import jax, sys; from jaxstruc import cache; "
        "sys.argv[1] and jax.config.update('jax_compilation_cache_dir', sys.argv[1]); "
        "cache.use_compilation_cache(); print(jax.config.jax_compilation_cache_dir)"
    )
    folder = run_python(code, "", JAXSTRUC_CACHE=str(tmp_path)).stdout.strip()
    assert folder.startswith(f"{tmp_path}/compiled/") and os.stat(folder).st_mode & 0o077 == 0
    own_folder = str(tmp_path / "own")
    assert run_python(code, own_folder, JAXSTRUC_CACHE=str(tmp_path)).stdout.strip() == own_folder


def test_a_second_run_writes_nothing_on_standard_error(tmp_path):
    """On processors of AMD the compiler logs errors of several kB for each program that is loaded from the cache."""
    for _ in range(2):
        assert run_python(CODE, "yes", JAXSTRUC_CACHE=str(tmp_path)).stderr == ""


def test_a_second_run_of_a_command_writes_nothing_on_standard_error(tmp_path):
    ase.io.write(tmp_path / "Au13.xyz", Icosahedron("Au", 2))
    code = "import sys; from jaxstruc.cli import main; main.main(sys.argv[1:])"
    variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for _ in range(2):
        assert run_python(code, "simulate", str(tmp_path / "Au13.xyz"), **variables).stderr == ""
    assert len(list(tmp_path.iterdir())) > 1


@pytest.mark.parametrize(
    ("code", "variables", "level"),
    [
        ("import jaxstruc", {}, "3"),
        ("import jaxstruc.parameters, jax", {}, "3"),
        ("import jaxstruc.api", {}, "3"),
        ("import jaxstruc, jax", {"TF_CPP_MIN_LOG_LEVEL": "0"}, "0"),
        ("import jaxstruc, jax", {"TF_CPP_MIN_LOG_LEVEL": "1"}, "1"),
    ],
)
def test_the_level_of_the_log_is_set_at_the_import_unless_the_user_has_set_it(code, variables, level):
    print_level = f"{code}; import os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert run_python(print_level, **variables).stdout.strip() == level
