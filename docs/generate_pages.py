"""Write the pages of the site that are made from the code: commands, columns, modules and scripts of experiments.

`make docs` calls `write_pages`. The pages lie in docs/generated, which is not committed.
"""

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxstruc import files
from jaxstruc.cli import main
from jaxstruc.options.pdf import DescribeCommand

REPOSITORY = Path(__file__).parents[1]
PYTHON_NAMES = ("read", "read_all", "solve", "mine", "refine", "classify", "saxs", "simulate", "simulate_saxs", "load")
"""Public functions, in the order of the page."""
RESULTS = ("Measurement", "Result", "PdfResult", "SaxsResult")
"""Public classes of data and results."""


class Column(NamedTuple):
    """A row of the tables in docs/outputs.md."""

    names: str
    unit: str
    meaning: str
    section: str


def write_pages(folder: Path) -> None:
    """Write all generated pages to a folder. A page whose text has not changed is left alone."""
    pages = {"columns": columns_page(), "experiments": experiments_page(), "python": python_page(), **module_pages()}
    descriptions = describe_commands()
    pages["commands"] = commands_page(descriptions)
    pages |= {f"command-{command['name']}": command_page(command) for command in descriptions}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            files.write_text(path, text)


def describe_commands() -> list[dict[str, Any]]:
    """Return what `jaxstruc describe --json` prints on each command."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main.describe(DescribeCommand(json=True))
    return json.loads(output.getvalue())["commands"]


def commands_page(descriptions: list[dict[str, Any]]) -> str:
    """Return the page that lists all commands, and which command has which option."""
    commands = [[f"[`{entry['name']}`](command-{entry['name']}.md)", entry["help"]] for entry in descriptions]
    commands_by_option: dict[str, list[str]] = {}
    for entry in descriptions:
        for option in entry["options"]:
            if option["flags"]:
                commands_by_option.setdefault(option["flags"][0], []).append(entry["name"])
    options = [
        [f"`{option}`", ", ".join(f"[{name}](command-{name}.md)" for name in names)]
        for option, names in sorted(commands_by_option.items())
    ]
    return "\n".join(
        [
            "# Commands and options\n",
            "These pages are made from the options in the code, like the output of `jaxstruc COMMAND --help`.\n",
            table(["command", "what it does"], commands),
            "## All options\n",
            table(["option", "commands"], options),
            toctree([f"command-{entry['name']}" for entry in descriptions]),
        ]
    )


def command_page(command: dict[str, Any]) -> str:
    """Return the page of one command with all its options."""
    positional = [[f"`{option['name']}`", option["help"]] for option in command["options"] if not option["flags"]]
    options = [
        [", ".join(f"`{name}`" for name in option_flags(option)), *option_values(option), option["help"]]
        for option in command["options"]
        if option["flags"]
    ]
    parts = [f"# jaxstruc {command['name']}\n", f"{escape(command['help'])}\n"]
    if command["example"]:
        parts.append(f"    {command['example']}\n")
    if positional:
        parts.append(table(["argument", "meaning"], positional))
    parts.append(table(["option", "values", "default", "meaning"], options))
    return "\n".join(parts)


def option_flags(option: dict[str, Any]) -> list[str]:
    """Return the flags of an option, with the one that turns a switch off."""
    flags = option["flags"]
    return [*flags, f"--no-{flags[0][2:]}"] if option.get("default") is True else flags


def option_values(option: dict[str, Any]) -> tuple[str, str]:
    """Return the values that an option accepts, and its default."""
    choices, bounds = option.get("choices"), option.get("bounds", {})
    values = " ".join(f"`{choice}`" for choice in choices) if choices else option["type"]
    if option.get("several"):
        values += ", one or more"
    if "low" in bounds:
        values += f", {'above' if bounds.get('low_is_outside') else 'at least'} {bounds['low']}"
    if "high" in bounds:
        values += f", at most {bounds['high']}"
    default = option.get("default_text", option.get("default"))
    if isinstance(default, list):
        default = " ".join(map(str, default))
    if isinstance(default, bool):
        default = "on" if default else "off"
    return values, "required" if option["required"] else "" if default is None else str(default)


def columns_page() -> str:
    """Return the alphabetical list of the columns that docs/outputs.md explains."""
    columns = read_columns((REPOSITORY / "docs" / "outputs.md").read_text("utf-8"))
    rows = [
        [
            f"`{name}`",
            column.unit,
            column.section,
            column.meaning.replace("](", "](../").replace("../#", "../outputs.md#"),
        ]
        for column in columns
        for name in re.findall(r"`(\w+)`", column.names)
    ]
    rows.sort(key=lambda row: row[0].lower())
    return "\n".join(
        [
            "# All columns\n",
            "This list is made from [Outputs and columns](../outputs.md), which has the columns by subject.\n",
            table(["column", "unit", "where", "meaning"], rows),
        ]
    )


def read_columns(text: str) -> list[Column]:
    """Return the rows of the tables with a unit in a page, with the headings above them."""
    columns, chapter, section = [], "", ""
    for line in text.splitlines():
        if match := re.match(r"(##+) (.*)", line):
            section = match[2].replace("`", "")
            chapter = section if match[1] == "##" else chapter
        elif match := re.match(r"\| (`[^|]+) \|([^|]*)\| ([^|]+) \|$", line):
            place = chapter if section == chapter else f"{chapter}: {section}"
            columns.append(Column(match[1], match[2].strip(), match[3], place))
    return columns


def python_page() -> str:
    """Return the page of the public functions and classes."""
    functions = [f".. autofunction:: jaxstruc.{name}\n" for name in PYTHON_NAMES]
    results = [f".. autoclass:: jaxstruc.{name}\n   :members:\n   :inherited-members:\n" for name in RESULTS]
    return "\n".join(
        [
            "# Python: functions and results\n",
            "All names of this page are in `import jaxstruc`. The classes of options are fields of the functions' "
            "argument `options`; [Commands and options](commands.md) explains their values, and "
            "[Modules: options](modules-options.md) lists them.\n",
            "## Functions\n",
            rst(functions),
            "## Data and results\n",
            rst(results),
        ]
    )


def module_pages() -> dict[str, str]:
    """Return the page of each folder of the package, with the docstrings of its modules, and their list."""
    package = REPOSITORY / "jaxstruc"
    modules_by_folder: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        folder = ".".join(path.relative_to(package).parent.parts)
        if not path.stem.startswith("__") and folder != "network.shipped":
            modules_by_folder.setdefault(folder, []).append(f"jaxstruc.{folder}.{path.stem}".replace("..", "."))
    pages = {}
    for folder, modules in modules_by_folder.items():
        title = f"jaxstruc.{folder}" if folder else "jaxstruc"
        parts = [f"# Modules: {folder or 'top'}\n", f"The modules of `{title}`, each with its public names.\n"]
        for module in modules:
            options = (
                ":members:\n   :undoc-members:\n   :no-index:" if folder == "options" else ":members:\n   :no-index:"
            )
            parts += [f"## {module}\n", rst([f".. automodule:: {module}\n   {options}\n"])]
        pages[f"modules-{folder.replace('.', '-') or 'top'}"] = "\n".join(parts)
    listing = [f"- [{name.removeprefix('modules-').replace('-', '.')}]({name}.md)" for name in sorted(pages)]
    overview = [
        "# Modules\n",
        "[Design](../design.md) has the map of the modules and the order of their imports.\n",
        *listing,
        "",
        toctree(sorted(pages)),
    ]
    return {"modules": "\n".join(overview), **pages}


def experiments_page() -> str:
    """Return the page that says which script makes which table, from the docstrings of the scripts."""
    folder = REPOSITORY / "experiments"
    parts = [
        "# How each table is made\n",
        "Each script of `experiments/` states its claim, its commands and their times. It writes rows to "
        "`experiments/results/`, and `python experiments/results_tables.py` writes the tables from the rows. "
        "[Results and benchmarks](../../experiments/README.md) has the answers.\n",
    ]
    tables = {path.stem for path in (folder / "results").glob("*.md")}
    for path in sorted(folder.glob("*.py")):
        own_tables = sorted(name for name in tables if name == path.stem or name.startswith(f"{path.stem}_"))
        own_tables = [name for name in own_tables if name == path.stem or not (folder / f"{name}.py").exists()]
        if own_tables:
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            links = ", ".join(f"[{name}](../../experiments/results/{name}.md)" for name in own_tables)
            parts += [f"## {path.name}\n", f"Full tables: {links}.\n", f"{docstring}\n"]
    parts.append(toctree([f"../../experiments/results/{name}" for name in sorted(tables)]))
    return "\n".join(parts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def escape(text: str) -> str:
    """Return a text in which vertical bars and stars are no syntax of Markdown."""
    return re.sub(r"(?<!\\)([|*<])", r"\\\1", text)


def toctree(names: list[str]) -> str:
    """Return an invisible list of the pages below a page, from which the sidebar is made."""
    return "\n".join(["```{toctree}", ":hidden:", *names, "```", ""])


def rst(directives: list[str]) -> str:
    """Return directives of autodoc in a block of reStructuredText."""
    return "\n".join(["```{eval-rst}", *directives, "```", ""])
