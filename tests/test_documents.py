"""README and the pages in docs/: their code runs, their commands exist, and their tables can be read.

The tutorials run when `make docs` builds the site.
"""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from jaxstruc.cli import main
from jaxstruc.options.pdf import LibraryOptions, SolveOptions
from jaxstruc.report import summary, tables

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TUTORIALS = sorted(f"docs/tutorials/{path.name}" for path in (ROOT / "docs" / "tutorials").glob("*.md"))
GENERATED = re.compile(r"(\.\./)*generated/")
"""Links to pages that only the site has."""
MAX_COLUMNS = 8
QUICK_OPTIONS = SolveOptions(candidates=LibraryOptions(families=("fcc",), max_atoms=100), search="none")
"""A small library and no search, so that the examples of the documents take seconds."""


def fenced_blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page. The page on old and new names has no code of its own."""
    if page == "docs/migration.md":
        return []
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def shell_lines(page: str) -> list[str]:
    """Return the commands of a page that call jaxstruc, without comments."""
    text = (ROOT / page).read_text("utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:    |\$ |    \w+=\S+ |)(jaxstruc .*)$", text, re.MULTILINE)
    return [re.split("  #| &$| 2>", line)[0].strip() for line in lines]


@pytest.fixture
def sample_folder(repository, tmp_path, monkeypatch):
    """Enter a folder with the example as sample.gr, and simulated small angles as sample.dat."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample.gr").write_bytes((repository / "examples" / "Ag68_simulated.gr").read_bytes())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page == "README.md" else pytest.mark.long)
        for page in PAGES
        if fenced_blocks(page, "python")
    ],
)
def test_the_code_of_a_page_runs(page, sample_folder):
    """The blocks of a page run one after the other. The example is silver."""
    namespace: dict = {"QUICK_OPTIONS": QUICK_OPTIONS}
    for block in fenced_blocks(page, "python"):
        silver = block.replace('element="Pt")', 'element="Ag")')
        exec(
            re.sub(r'solve\(data, element="Ag"\)', 'solve(data, element="Ag", options=QUICK_OPTIONS)', silver),
            namespace,
        )
    if page == "README.md":
        assert namespace["result"].best.rw < 0.05 and namespace["result"].sample
        assert (sample_folder / "best.xyz").exists() and (sample_folder / "out" / "summary.csv").exists()
    if page == "docs/differentiable-core.md":
        assert 2.6 < float(namespace["r"][namespace["g"].argmax()]) < 3.0  # the bond of gold is 2.88 Å
        assert namespace["solution"].converged and float(namespace["gradient"].std()) > 0


@pytest.mark.parametrize("page", [page for page in [*PAGES, *TUTORIALS] if shell_lines(page)])
def test_the_commands_of_a_page_exist(page):
    for line in shell_lines(page):
        arguments = shlex.split(line)[1:]
        if "--help" not in arguments:
            main.parse(arguments)


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS])
def test_the_scripts_and_targets_that_a_page_names_exist(page):
    text = (ROOT / page).read_text("utf-8")
    for script in re.findall(r"python ((?:docs|examples|experiments|tools)/\w+\.py)", text):
        assert (ROOT / script).is_file(), script
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^    )make ([\w-]+)", text, re.MULTILINE)) <= set(targets)


def test_the_site_lists_each_option_and_each_column():
    spec = importlib.util.spec_from_file_location("generate_pages", ROOT / "docs" / "generate_pages.py")
    generate_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_pages)
    descriptions = generate_pages.describe_commands()
    for command in descriptions:
        page = generate_pages.command_page(command)
        for option in command["options"]:
            assert f"| `{(option['flags'] or [option['name']])[0]}`" in page, option["name"]
    column_rows = re.findall(r"^\| `(\w+)` \| ?([^|]*?) ?\|", generate_pages.columns_page(), re.MULTILINE)
    columns = {*summary.SUMMARY_COLUMNS, *summary.SAXS_SUMMARY_COLUMNS} - {"file"}
    assert ("mean_diameter", "Å") in column_rows and ("qdamp", "1/Å") in column_rows
    names = {name for name, _ in column_rows}
    unlisted = {column for column in columns if column.removesuffix("_error") not in names}
    assert all(column.startswith("share_") for column in unlisted), unlisted


def test_every_column_is_explained():
    text = (ROOT / "docs" / "outputs.md").read_text("utf-8")
    explained = set(re.findall(r"`(\w+)`", text))
    families = {"share": r"share_\w+", "p": r"p_(?!body)\w+"}
    columns = {
        *summary.SUMMARY_COLUMNS, *summary.REFINE_SUMMARY_COLUMNS, *summary.CLASSIFY_SUMMARY_COLUMNS,
        *summary.SAXS_SUMMARY_COLUMNS, *tables.CANDIDATE_COLUMNS, *tables.SAXS_CANDIDATE_COLUMNS,
    }  # fmt: skip
    unexplained = {
        column
        for column in columns - explained
        if not any(re.fullmatch(pattern, column) for pattern in families.values())
        and column.removesuffix("_error") not in explained
    }
    assert not unexplained
    assert {"share_TYPE", "p_TYPE"} <= explained


def test_the_units_of_columns_are_those_of_the_documents():
    text = (ROOT / "docs" / "outputs.md").read_text("utf-8")
    for names, unit in re.findall(r"^\| (`[^|]+`) \| ([^|]*) \| [^|]+ \|$", text, re.MULTILINE):
        for column in re.findall(r"`(\w+)`", names):
            if column in {*summary.SUMMARY_COLUMNS, *summary.CLASSIFY_SUMMARY_COLUMNS, *summary.SAXS_SUMMARY_COLUMNS}:
                assert summary.unit(column) == unit.strip().replace("as I(Q)", "") or column.endswith("_origin"), column


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS])
def test_links_and_pictures_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not GENERATED.match(target):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_fits_a_screen_and_the_design_two_pages():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 80
    assert len((ROOT / "docs" / "design.md").read_text("utf-8").split()) < 1200


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS, "experiments/README.md"])
def test_tables_have_few_columns(page):
    rows = [line for line in (ROOT / page).read_text("utf-8").splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) - 1 <= MAX_COLUMNS for row in rows)
