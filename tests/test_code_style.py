"""Countable rules of style: names, docstrings, lengths of functions, numbers of modules."""

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

import pytest

BANNED_NAMES = set(
    """
    told found seen kept said one own some few every each both nothing given taken drawn shown wanted searched judged
    weighed tried begun ended taught looked counted gathered named moved held chosen known listed picked here there now
    where which off near far least most begin others glance glances look looks lessons lesson stock doors judge verdict
    habit hosts narrowing naming answers unseen profile endless kinds words cuts sites spreading curves waves apart
    shares kernels averaging weighing freeform goal samples edge outcome way
    """.split()
)
"""Names that say nothing by themselves, pictures, and names of the old layout. Longer names may hold such a word."""
FOLDERS = ("jaxstruc", "experiments", "tests", "tools", "examples", "docs")
FRAGMENT = re.compile(r"(Of|As|By|In|From|With|Where|So|Such|That|It|Its|Theirs)\b")
"""First words of a text that has no subject, or whose subject stands elsewhere."""
MAX_LINES = 60
MAX_PARAMETERS = 9
MAX_MODULES = 146
"""Number of modules of the layout, `clusters.structure_files`, which was too long for `clusters.cluster`, the three
modules of the relaxation, the two of imperfect data, the table of known phases, the four into which `pdf.solve` and
`pdf.site_search` were divided, the four of the page of results, the description of the commands, the two of watched
folders, the four of series, the two of averages and neighbours, the two of shells of light atoms, the two of shape
parameters, the seven of DeepStruc's shapes and network, and the one for several files at once."""


@functools.cache
def python_files(root: Path) -> dict[Path, ast.Module]:
    """Return the syntax trees of all files of the project."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return {path: ast.parse(path.read_text("utf-8")) for path in paths}


def bound_names(tree: ast.Module):
    """Yield the name and the line of each class, function, parameter, field, variable and import alias."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias | ast.ExceptHandler):
            yield (node.asname if isinstance(node, ast.alias) else node.name) or "", node.lineno


def docstrings(tree: ast.Module):
    """Yield all docstrings with their lines, those of attributes and constants too."""
    for node in ast.walk(tree):
        for statement in body if isinstance(body := getattr(node, "body", None), list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                if isinstance(text := statement.value.value, str):
                    yield text, statement.lineno


def argument_texts(docstring: str):
    """Yield the descriptions of the arguments in a docstring."""
    _, _, section = docstring.partition("Args:\n")
    section = re.split(r"\n\s*\n", section)[0]
    yield from re.findall(r"^\s+\w+: (.+)$", section, re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_have_a_subject(repository, folder):
    trees = {path: tree for path, tree in python_files(repository).items() if (repository / folder) in path.parents}
    fragments = [
        f"{path.relative_to(repository)}:{line}: {text.strip()[:60]}"
        for path, tree in trees.items()
        for docstring, line in docstrings(tree)
        for text in [docstring, *argument_texts(docstring)]
        if FRAGMENT.match(text.strip()[:1].upper() + text.strip()[1:])
    ]
    assert not fragments, "\n".join(fragments)


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_terms_of_the_field(repository, folder):
    trees = {path: tree for path, tree in python_files(repository).items() if (repository / folder) in path.parents}
    wrong = [
        f"{path.relative_to(repository)}:{line}: {name}"
        for path, tree in trees.items()
        for name, line in [(path.stem, 1), *bound_names(tree)]
        if name.strip("_").lower() in BANNED_NAMES
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_are_short_and_take_few_parameters(repository):
    long, wide = [], []
    for path, tree in python_files(repository).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
                long += [f"{path}: {node.name}"] * (node.end_lineno - node.lineno >= MAX_LINES)
                wide += [f"{path}: {node.name}"] * (count > MAX_PARAMETERS)
    assert not long and not wide, (long, wide)


def test_no_two_modules_define_classes_of_one_name(repository):
    homes = defaultdict(set)
    for path, tree in python_files(repository).items():
        if repository / "jaxstruc" in path.parents:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    homes[node.name].add(str(path.relative_to(repository)))
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_the_package_has_no_more_modules_than_a_reader_can_learn(repository):
    modules = [path for path in (repository / "jaxstruc").rglob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MAX_MODULES
