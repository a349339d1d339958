import os
import subprocess
import sys

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


def compile_in_process(folder, enabled):
    names = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["JAXSTRUC_CACHE"] = str(folder)
    subprocess.run([sys.executable, "-c", CODE, enabled], check=True, env=environment)
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
