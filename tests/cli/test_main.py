import functools
import json
import os
import re
import subprocess
import sys
from typing import get_args

import ase.io
import pytest
from ase.cluster import Icosahedron
from small_datasets import thin_dataset

from jaxstruc.cli import main
from jaxstruc.network.cvae import dataset

EXAMPLE = "examples/Ag68_simulated.gr"
JAXSTRUC = [sys.executable, "-m", "jaxstruc"]
COMMANDS = ("solve", "saxs", "classify", "refine", "mine", "simulate", "generate", "train", "train-classifier")
COMMANDS += ("watch", "series", "merge", "page", "describe")


def run_command(arguments, capsys):
    """Return the exit status and the text on standard error."""
    with pytest.raises(SystemExit) as exit_info:
        main.main([str(argument) for argument in arguments])
    return exit_info.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "does not exist"),
        ("", [], "is empty"),
        ("\0\1\2", [], "is binary"),
        ("1 2\n" * 5, [], "at least 10 rows"),
        ("".join(f"{index / 10} nan\n" for index in range(300)), [], "NaN"),
        ("".join(f"{30 - index / 10} {(-1) ** index}\n" for index in range(300)), [], "increasing r"),
        ("#L Q(A^-1) S\n" + "".join(f"{index / 10} {(-1) ** index}\n" for index in range(300)), [], "axis is Q"),
        ("#L r(nm) G\n" + "".join(f"{index / 100} {(-1) ** index}\n" for index in range(300)), [], "nm"),
        (
            "".join(f"{index / 100} {(-1) ** index}\n" for index in range(300)),
            ["--qmin", 1, "--qmax", 20],
            "the nearest-neighbour distance",
        ),
        ("".join(f"{index / 100} {(-1) ** index}\n" for index in range(3000)), [], "pass --qmin and --qmax"),
        ("good", ["--rmin", 9, "--rmax", 8], "rmin < rmax"),
        ("good", ["--qmax", 500], "step in r"),
        ("good", ["--element", "Xx"], "Expected the symbol of an element"),
        ("good", ["--draws", 0], "Expected --draws of at least 1, got 0."),
        ("good", ["--weights", "none.safetensors", "--sources", "network"], "Expected weights"),
        ("good", ["--weights", "none.safetensors"], "add --sources network"),
        ("good", ["-o", EXAMPLE], "Expected a folder for the results"),
        ("good", ["--max-atoms", 3], "Expected --max-atoms of at least 5, got 3."),
        ("good", ["--families", "cubes"], "got cubes"),
        ("good", ["--free", "stretch"], "Expected scale among --free"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_writes_nothing(
    text, options, message, capsys, tmp_path, repository, monkeypatch
):
    monkeypatch.chdir(repository)
    path = tmp_path / "x.gr"
    if text == "good":
        path = repository / EXAMPLE
    elif text is not None:
        path.write_text(text)
    arguments = ["solve", path, *options]
    arguments += [] if "-o" in options else ["-o", tmp_path / "out"]
    arguments += [] if "--element" in options else ["--element", "Ag"]
    status, error = run_command(arguments, capsys)
    lines = error.strip().splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("jaxstruc: ") and message in lines[0]
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_is_status_2(capsys):
    status, error = run_command(["solve", EXAMPLE, "--elemnt", "Ag", "-o", "x"], capsys)
    assert status == 2 and "--elemnt" in error


def test_without_arguments_the_overview_is_an_error_and_with_help_an_answer(capsys):
    status, error = run_command([], capsys)
    assert status == 2 and error.startswith("usage: jaxstruc") and "solve" in error
    with pytest.raises(SystemExit) as exit_info:
        main.main(["--help"])
    assert exit_info.value.code == 0 and capsys.readouterr().out == error


def test_the_traceback_of_an_error_is_shown_on_request(capsys, tmp_path):
    status, error = run_command(
        ["--traceback", "solve", tmp_path / "none.gr", "--element", "Ag", "-o", tmp_path / "o"], capsys
    )
    assert status == 2 and "Traceback" in error


@pytest.mark.parametrize(("command", "remark"), [("solve", "run the command again to continue"), ("classify", "anew")])
def test_an_interruption_states_whether_the_command_continues(capsys, tmp_path, monkeypatch, command, remark):
    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_run", interrupt)
    status, error = run_command([command, EXAMPLE, "--element", "Ag", "-o", tmp_path / "out"], capsys)
    assert status == 130 and error.startswith("jaxstruc: interrupted. ") and remark in error and error.count("\n") == 1


@functools.cache
def help_text(*command):
    """Return the help of the program or of a command, from a process that imports neither JAX nor NumPy."""
    code = (
        "import sys; from jaxstruc.cli import main\n"
        f"try: main.main({[*command, '--help']!r})\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules, 'slow'"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_has_an_example_and_imports_no_jax(command):
    assert "Example: jaxstruc" in help_text(*command)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_description_of_a_command_has_the_options_of_its_help(command, capsys):
    assert run_command(["describe", "--json"], capsys)[0] == 0
    with pytest.raises(SystemExit):
        main.main(["describe", "--json"])
    descriptions = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["commands"]}
    options = descriptions[command]["options"]
    flags = {name for option in options for name in option["flags"] if name.startswith("--")}
    option_lines = re.findall(r"^│ (?:-\w[^│]*?, )?(--[a-z][\w-]*)", help_text(command), re.MULTILINE)
    assert flags == set(option_lines) - {"--help"}
    assert all(option["help"].endswith(".") for option in options)
    assert all(("default" in option) or option["required"] for option in options)


def test_the_description_states_types_bounds_and_choices(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main.main(["describe", "--json"])
    assert exit_info.value.code == 0
    (solve,) = [entry for entry in json.loads(capsys.readouterr().out)["commands"] if entry["name"] == "solve"]
    options = {option["name"]: option for option in solve["options"]}
    assert options["files"]["flags"] == [] and options["files"]["required"] and options["files"]["several"]
    assert options["out"]["flags"] == ["--out", "-o"] and options["element"]["type"] == "text"
    assert options["qmax"]["bounds"] == {"low": 0, "low_is_outside": True} and options["qmax"]["type"] == "number"
    assert options["search"]["choices"] == ["none", "quick", "full"] and options["search"]["default"] == "quick"
    assert options["max_atoms"]["help"].startswith("Largest number of atoms")
    with pytest.raises(SystemExit):
        main.main(["describe"])
    assert capsys.readouterr().out.startswith("usage: jaxstruc")


@pytest.mark.slow
def test_generate_and_train_make_weights(capsys, tmp_path):
    """The training is one epoch on a twentieth of the data, with the compiled steps of `network/cvae/test_training`."""
    with pytest.raises(SystemExit) as exit_info:
        main.main(["generate", "real", "--draws", "1", "-o", str(tmp_path / "real.h5")])
    assert exit_info.value.code == 0
    assert "1520 PDFs of 1520 distinct structures (8 shapes x 190 bond lengths)" in capsys.readouterr().out
    dataset.write(thin_dataset(dataset.read(tmp_path / "real.h5"), 20), tmp_path / "few.h5")
    arguments = ["train", "--data", tmp_path / "few.h5", "--epochs", 1, "--batch", 16, "--rate", 3e-4]
    arguments += ["-o", tmp_path / "run"]
    with pytest.raises(SystemExit) as exit_info:
        main.main([str(argument) for argument in arguments])
    assert exit_info.value.code == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert '"preset": "real"' in (tmp_path / "run" / "weights.json").read_text()


def test_the_help_of_the_program_names_all_commands_and_general_options():
    program_help = help_text()
    for word in (*COMMANDS, "--version", "--traceback", "--help"):
        assert f"  {word}  " in program_help or f" {word} " in program_help, word


def test_the_help_of_the_program_describes_commands_as_their_own_help_does():
    lines = dict(line.split(maxsplit=1) for line in main.OVERVIEW.splitlines() if line.startswith("  "))
    commands = {type_.__name__.removesuffix("Command"): type_ for type_ in get_args(main.Command)}
    for name in COMMANDS:
        class_name = "".join(word.capitalize() for word in name.split("-"))
        assert commands[class_name].__doc__.startswith(lines[name].rstrip(".")), name


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_no_empty_defaults(command):
    assert "None" not in help_text(command) and "(default: )" not in help_text(command)


@pytest.mark.parametrize("command", [["--help"], ["solve", "--help"], ["simulate"]])
def test_a_reader_that_ends_first_ends_the_program_silently(command, tmp_path, repository):
    """The pipe is closed before the program writes, as by `head` after its last line."""
    ase.io.write(tmp_path / "Au13.xyz", Icosahedron("Au", 2))
    arguments = [*command, tmp_path / "Au13.xyz"] if command == ["simulate"] else command
    read_end, write_end = os.pipe()
    os.close(read_end)
    completed = subprocess.run(
        [*JAXSTRUC, *arguments], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, cwd=repository
    )
    os.close(write_end)
    assert completed.returncode == main.BROKEN_PIPE_STATUS and completed.stderr == ""


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main.main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("jaxstruc 0.")
