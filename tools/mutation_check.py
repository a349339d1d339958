"""Change single tokens of the package and report which changes its tests do not notice.

    python tools/mutation_check.py --count 60 --seed 0 -o mutations.jsonl       (about an hour on two cores)
    python tools/mutation_check.py --seed 0 --list                              (the changes, without running tests)
    python tools/mutation_check.py --modules 'jaxstruc/pdf/*' --seed 1 --own    (one folder, its modules' tests alone)

Each change is made in a copy of the repository: an operator, a comparison, a Boolean or a small number is replaced. The
changes are spread evenly over the modules. The tests with the name of the changed module run first, then the tests that
import it, and all others after them, until one fails. A change that no test notices is printed with its line. It is
either a gap in the tests or a change that leaves the behaviour as it is, which only a reader can decide.
"""

import argparse
import ast
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
OPERATORS: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
"""Tokens of operators, and the tokens that replace them."""
SKIPPED_MODULES = {"__init__", "__main__"}
TIMEOUT = 900
"""Longest time of one run of tests, in s. A change that makes the tests hang counts as noticed."""


class Mutation(NamedTuple):
    """One change of one token."""

    module: str
    """Path of the module, relative to the repository."""
    line: int
    column: int
    """Column of the token, in characters from 0."""
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the text of the module with the change."""
        lines = text.splitlines(keepends=True)
        line = lines[self.line - 1]
        assert line[self.column :].startswith(self.old)
        lines[self.line - 1] = line[: self.column] + self.new + line[self.column + len(self.old) :]
        return "".join(lines)


def mutations(path: Path) -> Iterator[Mutation]:
    """Yield all possible changes of a module."""
    text = path.read_text("utf-8")
    lines, module = text.splitlines(), str(path.relative_to(ROOT))
    tree = ast.parse(text)
    annotation_nodes = {node for annotation in _annotations(tree) for node in ast.walk(annotation)}
    for node in ast.walk(tree):
        if node in annotation_nodes:
            continue
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from _between(module, lines, node.left, node.right, OPERATORS[type(node.op)])
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            yield from _between(module, lines, node.left, node.comparators[0], OPERATORS[type(node.ops[0])])
        elif isinstance(node, ast.BoolOp):
            yield from _between(module, lines, node.values[0], node.values[1], OPERATORS[type(node.op)])
        elif isinstance(node, ast.Constant) and node.value is True:
            yield _checked(Mutation(module, node.lineno, _column(lines, node), "True", "False"), lines)
        elif isinstance(node, ast.Constant) and node.value is False:
            yield _checked(Mutation(module, node.lineno, _column(lines, node), "False", "True"), lines)
        elif isinstance(node, ast.Constant) and type(node.value) is int and node.value in (0, 1, 2):
            yield _checked(
                Mutation(module, node.lineno, _column(lines, node), str(node.value), str(node.value + 1)), lines
            )


def draw_mutations(count: int, seed: int, pattern: str = "*") -> list[Mutation]:
    """Return changes in as many different modules as possible, among the modules whose paths match a pattern."""
    generator = random.Random(seed)
    by_module = {
        path: list(mutations(path))
        for path in sorted((ROOT / "jaxstruc").rglob("*.py"))
        if path.stem not in SKIPPED_MODULES and fnmatch.fnmatch(str(path.relative_to(ROOT)), pattern)
    }
    pool = [path for path, changes in by_module.items() if changes]
    generator.shuffle(pool)
    return [generator.choice(by_module[pool[i % len(pool)]]) for i in range(count)]


def run_tests(copy: Path, mutation: Mutation, *, only_own: bool = False) -> str:
    """Return the first test that notices a change, or "" if none does.

    Args:
        copy: Copy of the repository with the change.
        mutation: The change.
        only_own: Whether only the tests that belong to the changed module are run.
    """
    module_tests, remaining_tests = _sorted_tests(copy, mutation.module)
    for paths in (module_tests, () if only_own else remaining_tests):
        if not paths:
            continue
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not long", *paths]
        if len(paths) > 4:
            command += ["-n", "2", "--dist", "loadfile"]
        try:
            run = subprocess.run(
                command, cwd=copy, capture_output=True, text=True, timeout=TIMEOUT, env=_environment(copy), check=False
            )
        except subprocess.TimeoutExpired:
            return "timeout"
        if run.returncode:
            failures = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            return failures[0].split(" - ")[0] if failures else f"exit status {run.returncode}"
    return ""


def check(mutation: Mutation, *, only_own: bool = False) -> dict:
    """Return a row that states whether the tests notice a change."""
    start_time = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(
            ROOT,
            copy,
            symlinks=True,
            ignore=shutil.ignore_patterns(".git", ".venv", ".jax_cache", "build", "dist", "runs"),
        )
        path = copy / mutation.module
        path.write_text(mutation.apply(path.read_text("utf-8")), "utf-8")
        noticed_by = run_tests(copy, mutation, only_own=only_own)
    line = (ROOT / mutation.module).read_text("utf-8").splitlines()[mutation.line - 1].strip()
    seconds = round(time.perf_counter() - start_time)
    return mutation._asdict() | {"text": line, "noticed_by": noticed_by, "seconds": seconds}


def main() -> None:
    """Draw changes, run the tests with each, and print those that are not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="Number of changes.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--list", action="store_true", help="Print the changes without running tests.")
    parser.add_argument("--part", default="1/1", help="Part of the changes, e.g. 1/2 for one of two processes.")
    parser.add_argument("--modules", default="*", help="Pattern of the paths of the modules, e.g. 'jaxstruc/pdf/*'.")
    parser.add_argument("--own", action="store_true", help="Run only the tests that belong to the changed module.")
    parser.add_argument("-o", "--out", type=Path, default=Path("mutations.jsonl"), help="Rows, one line a change.")
    options = parser.parse_args()
    part, n_parts = (int(word) for word in options.part.split("/"))
    selected_mutations = draw_mutations(options.count, options.seed, options.modules)[part - 1 :: n_parts]
    done = set()
    if options.out.exists() and not options.list:
        rows = [json.loads(line) for line in options.out.read_text("utf-8").splitlines()]
        done = {Mutation(*(row[name] for name in Mutation._fields)) for row in rows}
    for mutation in selected_mutations:
        if options.list:
            print(f"{mutation.module}:{mutation.line}: {mutation.old} -> {mutation.new}")
        elif mutation not in done:
            row = check(mutation, only_own=options.own)
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{row['noticed_by'] or 'NOT NOTICED'}: {mutation.module}:{mutation.line}: {row['text']}", flush=True)


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield all annotations of a module."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            annotation = getattr(node, name, None)
            if isinstance(annotation, ast.expr):
                yield annotation


def _column(lines: list[str], node: ast.expr, *, end: bool = False) -> int:
    """Return the column of a node in characters; `ast` counts bytes."""
    line = lines[(node.end_lineno or node.lineno) - 1 if end else node.lineno - 1]
    offset = (node.end_col_offset or 0) if end else node.col_offset
    return len(line.encode()[:offset].decode())


def _between(
    module: str, lines: list[str], left: ast.expr, right: ast.expr, tokens: tuple[str, str]
) -> Iterator[Mutation]:
    """Yield the change of the operator between two operands of one line."""
    old, new = tokens
    if left.end_lineno != right.lineno:
        return
    start, end = _column(lines, left, end=True), _column(lines, right)
    gap = lines[right.lineno - 1][start:end]
    if gap.count(old) == 1 and (old != "*" or "**" not in gap):
        yield Mutation(module, right.lineno, start + gap.index(old), old, new)


def _checked(mutation: Mutation, lines: list[str]) -> Mutation:
    """Return the change after a check that its token stands in the line."""
    assert lines[mutation.line - 1][mutation.column :].startswith(mutation.old), mutation
    return mutation


def _sorted_tests(copy: Path, module: str) -> tuple[list[str], list[str]]:
    """Return the test files that belong to a module, those with its name first, and all remaining ones."""
    path = Path(module)
    folder, dotted_folder = Path("tests", *path.parent.parts[1:]), ".".join(path.parent.parts)
    dotted = f"{dotted_folder}.{path.stem}"
    module_tests: list[tuple[bool, str]] = []
    remaining_tests: list[str] = []
    for test in sorted((copy / "tests").rglob("test_*.py")):
        text, name = test.read_text("utf-8"), test.relative_to(copy)
        imports_module = f"import {dotted}\n" in text or f"from {dotted} import" in text
        imports_name = any(
            line.startswith(f"from {dotted_folder} import") and path.stem in line.replace(",", " ").split()
            for line in text.splitlines()
        )
        is_namesake = name == folder / f"test_{path.stem}.py"
        if imports_module or imports_name or is_namesake:
            module_tests.append((not is_namesake, str(name)))
        else:
            remaining_tests.append(str(name))
    return [name for _, name in sorted(module_tests)], remaining_tests


def _environment(copy: Path) -> dict[str, str]:
    """Return the environment of the tests, with one cache of compiled programs for all copies."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **os.environ,
        "PYTHONPATH": str(copy),
    }


if __name__ == "__main__":
    main()
