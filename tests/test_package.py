"""The package as a whole: its map, its README, its weights."""

import ast
import json
import re

import jaxstruc
from jaxstruc import files, settings

ORDER = (
    "settings files progress structure form_factors spreading scattering templates simulation clusters families "
    "library representation dataset model stress trilateration metrics training trained evaluation measured "
    "observed refinement coordinates mining solve report simulated jobs pipeline mined refined cli __main__"
).split()
"""Modules in reading order; each imports only those before it."""


def modules_imported(path):
    """Return the jaxstruc modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxstruc":
            found |= {alias.name for alias in node.names} & set(ORDER)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxstruc."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_flow_one_way(repository):
    paths = {path.stem: path for path in (repository / "jaxstruc").glob("*.py") if path.stem != "__init__"}
    assert sorted(paths) == sorted(ORDER)
    for index, name in enumerate(ORDER):
        assert modules_imported(paths[name]) <= set(ORDER[:index]), name


def test_each_module_is_in_the_map(repository):
    text = (repository / "docs" / "design.md").read_text()
    for name in ORDER[:-1]:
        assert f"| `{name}` |" in text, name


def test_the_readmes_code_runs(repository, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for block in blocks:
        exec(block, space)
    assert 2.7 < float(space["r"][space["g"].argmax()]) < 3.0


def test_the_shipped_weights_are_those_of_their_card():
    card = json.loads(settings.SHIPPED.with_suffix(".json").read_text())
    assert settings.SHIPPED.stat().st_size < 20 * 2**20
    assert card["command"].startswith("jaxstruc train ") and card["config"]["seed"] == 0
    assert card["data"]["preset"] == "real"
    assert card["sha256"] == files.sha256(settings.SHIPPED)


def test_the_version_is_one(repository):
    assert f'version = "{jaxstruc.__version__}"' in (repository / "pyproject.toml").read_text()
    assert jaxstruc.__version__ in (repository / "CHANGELOG.md").read_text()
