"""Options are refused in Python and on the command line in the same sentence."""

import ast
import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import ase.io
import pytest
from ase.cluster import Icosahedron
from command_line import run_command

import jaxstruc
from jaxstruc import (
    ClassifyOptions,
    DataOptions,
    FitOptions,
    LibraryOptions,
    MineOptions,
    NetworkOptions,
    QOptions,
    RefineOptions,
    RelaxOptions,
    SaxsOptions,
    SimulateOptions,
    SizeOptions,
    SolveOptions,
    TrainOptions,
)
from jaxstruc.clusters import families, polydisperse
from jaxstruc.options.pdf import FamilyName, Parameter
from jaxstruc.options.simulation import GenerateOptions, PackingName, PopulationOptions
from jaxstruc.options.small_angle import SimulateSaxsOptions
from jaxstruc.options.training import TrainClassifierOptions
from jaxstruc.options.validation import POSITIONAL, Bounds, Options, command_arguments, flag
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS, FIT_PARAMETERS

MISSING = Path("none.safetensors")
COMMANDS = {
    "solve": (SolveOptions(), ("x.gr", "--element", "Pt", "-o", "out")),
    "mine": (MineOptions(), ("x.gr", "--element", "Pt", "-o", "out")),
    "refine": (RefineOptions(), ("x.xyz", "x.gr", "-o", "out")),
    "classify": (ClassifyOptions(), ("x.gr", "--element", "Pt", "-o", "out")),
    "saxs": (SaxsOptions(), ("x.dat", "-o", "out")),
    "simulate": (SimulateOptions(), ("x.xyz",)),
    "train": (TrainOptions(), ("-o", "out")),
    "train-classifier": (TrainClassifierOptions(), ("-o", "out")),
    "generate": (GenerateOptions("real"), ("-o", "out")),
}
"""Options of each command, and its other arguments."""


def mistakes(options):
    """Yield name, wrong value and options with it for each field of few values or with bounds, groups included."""
    for name, annotation in get_type_hints(type(options), include_extras=True).items():
        value, (kind, *metadata) = vars(options)[name], _parts(annotation)
        if isinstance(value, Options):
            for inner, wrong, changed in mistakes(value):
                yield inner, wrong, dataclasses.replace(options, **{name: changed})
            continue
        several = get_origin(kind) is tuple
        kind = get_args(kind)[0] if several else kind
        wrong = ["wrong "] if get_origin(kind) is Literal else []
        for bounds in (item for item in metadata if isinstance(item, Bounds)):
            wrong = [] if bounds.low == -float("inf") else [kind(bounds.low if bounds.exclusive else bounds.low - 1)]
            wrong += [] if bounds.high == float("inf") else [kind(bounds.high + 1)]
        for item in wrong:
            yield name, item, dataclasses.replace(options, **{name: (item,) if several else item})


def _parts(annotation):
    """Return type and metadata of an annotation, without its None."""
    parts = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if type(None) in get_args(parts[0]):
        return next(part for part in get_args(parts[0]) if part is not type(None)), *parts[1:]
    return parts


MISTAKES = [
    pytest.param(command, name, wrong, options, id=f"{command} {name} {wrong}")
    for command, (defaults, _) in COMMANDS.items()
    for name, wrong, options in mistakes(defaults)
]


@pytest.mark.parametrize(("command", "name", "wrong", "options"), MISTAKES)
def test_each_wrong_value_is_refused_in_the_same_words(command, name, wrong, options, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^Expected ") as error:
        options.check()
    command_arguments = COMMANDS[command][1]
    option_arguments = [wrong] if (command, name) == ("generate", "preset") else [*_needed(command), flag(name), wrong]
    assert run_command(command, *command_arguments, *option_arguments) == 2
    assert capsys.readouterr().err == f"jaxstruc: {' '.join(str(error.value).split())}\n"
    assert not list(tmp_path.iterdir())


def _needed(command):
    return ["real"] if command == "generate" else []


def test_the_mistakes_are_of_all_fields_with_few_values_or_bounds():
    assert len(MISTAKES) > 100
    assert {"probe", "window", "uiso", "qdamp", "families", "free", "max_atoms", "preset"} <= {
        mistake.values[1] for mistake in MISTAKES
    }


@pytest.mark.parametrize(
    ("command", "options", "option_arguments"),
    [
        ("simulate", SimulateOptions(probe="neutrons"), ("--probe", "neutrons")),
        ("simulate", SimulateOptions(window="lorch "), ("--window", "lorch ")),
        ("simulate", SimulateOptions(qmin=5.0, qmax=4.0), ("--qmin", 5, "--qmax", 4)),
        ("simulate", SimulateOptions(rmin=5.0, rmax=4.0), ("--rmin", 5, "--rmax", 4)),
        ("simulate", SimulateOptions(uiso=-0.01), ("--uiso", -0.01)),
        ("simulate", SimulateOptions(uiso=0.01, biso=0.5), ("--uiso", 0.01, "--biso", 0.5)),
        ("simulate", SimulateOptions(qdamp=float("nan")), ("--qdamp", "nan")),
        ("simulate", SimulateOptions(rstep=0.0), ("--rstep", 0)),
        ("simulate", SimulateOptions(rstep=1e-6), ("--rstep", 1e-6)),
        ("simulate", SimulateOptions(ions=("Au1+",), probe="neutron"), ("--ions", "Au1+", "--probe", "neutron")),
        ("simulate", SimulateOptions(ions=("Pt2+",)), ("--ions", "Pt2+")),
        ("mine", MineOptions(data=DataOptions(qmin=3.0, qmax=2.0)), ("--qmin", 3, "--qmax", 2)),
        ("mine", MineOptions(data=DataOptions(rmin=9.0, rmax=8.0)), ("--rmin", 9, "--rmax", 8)),
        ("mine", MineOptions(candidates=LibraryOptions(("cubes", "fcc"))), ("--families", "cubes", "fcc")),
        ("mine", MineOptions(sources=()), ("--sources",)),
        ("mine", MineOptions(fit=FitOptions(("uiso",))), ("--free", "uiso")),
        ("mine", MineOptions(fit=FitOptions(("scale", "delta1", "delta2"))), ("--free", "scale", "delta1", "delta2")),
        ("solve", SolveOptions(network=NetworkOptions(draws=0)), ("--draws", 0)),
        ("solve", SolveOptions(network=NetworkOptions(draws=9)), ("--draws", 9)),
        (
            "solve",
            SolveOptions(sources=("network",), network=NetworkOptions(weights=MISSING)),
            ("--sources", "network", "--weights", MISSING),
        ),
        ("refine", RefineOptions(relax=RelaxOptions(restraint=0.0)), ("--restraint", 0)),
        ("classify", ClassifyOptions(data=DataOptions(qdamp=-0.1)), ("--qdamp", -0.1)),
        ("classify", ClassifyOptions(weights=MISSING), ("--weights", MISSING)),
    ],
)
def test_python_and_the_command_line_say_the_same(command, options, option_arguments, capsys, tmp_path, repository):
    path, data = tmp_path / "x.xyz", repository / "examples" / "Ag68_simulated.gr"
    ase.io.write(path, Icosahedron("Ag", 2))
    calls = {
        "simulate": lambda: jaxstruc.simulate(Icosahedron("Ag", 2), options=options),
        "mine": lambda: jaxstruc.mine(jaxstruc.read(data), element="Ag", options=options),
        "solve": lambda: jaxstruc.solve(jaxstruc.read(data), element="Ag", options=options),
        "refine": lambda: jaxstruc.refine(jaxstruc.read(data), path, options=options),
        "classify": lambda: jaxstruc.classify(jaxstruc.read(data), element="Ag", options=options),
    }
    with pytest.raises(ValueError, match="Expected ") as error:
        calls[command]()
    command_arguments = {"simulate": (path,), "refine": (path, data)}.get(command, (data, "--element", "Ag"))
    assert run_command(command, *command_arguments, *option_arguments, "-o", tmp_path / "out") == 2
    error_output = capsys.readouterr().err
    assert (
        error_output == f"jaxstruc: {error.value}\n"
        and error_output.count("\n") == 1
        and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ({"probe": "neutrons"}, "Expected --probe xray or neutron, got 'neutrons'."),
        ({"signal": "GR"}, "Expected --signal gr, iq, sq or fq, got 'GR'."),
        ({"qmin": 5.0, "qmax": 4.0}, "Expected qmin < qmax, got 5 and 4; correct --qmin or --qmax."),
        ({"uiso": -1.0}, "Expected --uiso of at least 0, got -1."),
        ({"uiso": "thin"}, "Expected a number for --uiso, got 'thin'."),
        ({"uiso": True}, "Expected a number for --uiso, got True."),
    ],
)
def test_keywords_are_checked_as_options_are(keyword, message):
    with pytest.raises(ValueError) as error:
        jaxstruc.simulate(Icosahedron("Au", 2), **keyword)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FitOptions(free=["scale"]), "Expected a tuple for --free, got ['scale']."),
        (FitOptions(background=1.5), "Expected a whole number for --background, got 1.5."),
        (FitOptions(absolute=1), "Expected True or False for --absolute, got 1."),
        (LibraryOptions(library=("a.xyz",)), "Expected a Path for --library, got 'a.xyz'."),
        (SizeOptions(sld=float("inf")), "Expected a finite --sld, got inf."),
        (SizeOptions(solvent=9.4), "Expected a text for --solvent, got 9.4."),
        (PopulationOptions(mean=20.0), "Expected --family with --mean, got none; add a packing, e.g. --family fcc."),
        (PopulationOptions("fcc", mean=20.0), "Expected --element, --width with --family, got none."),
    ],
)
def test_values_of_another_type_and_contradictions_are_refused(options, message):
    with pytest.raises(ValueError) as error:
        options.check()
    assert str(error.value) == message


def test_names_are_those_of_the_modules_that_use_them():
    assert get_args(FamilyName) == tuple(families.FAMILIES) and get_args(PackingName) == polydisperse.PACKINGS
    assert get_args(Parameter) == FIT_PARAMETERS and FitOptions().free == DEFAULT_FREE_PARAMETERS


def test_what_is_recorded_is_every_option_and_json(tmp_path):
    """A file is recorded by its content, so that a changed background or other weights are noticed."""
    path = tmp_path / "background.dat"
    path.write_text("one")
    options = SaxsOptions(QOptions(background=path), SizeOptions(body=("sphere",)))
    first = options.recorded_values
    assert json.loads(json.dumps(first)) == first and first["body"] == ["sphere"] and first["power_law"] is None
    path.write_text("two")
    assert options.recorded_values != first
    names = {field.name for group in (QOptions, SizeOptions) for field in dataclasses.fields(group)}
    assert set(first) == names


def test_docstrings_that_are_shown_as_help_have_one_line():
    """The command line would break the help of an option where its docstring has a new line."""
    for path in sorted(Path(jaxstruc.__file__).parent.joinpath("options").glob("*.py")):
        for options_class in (
            node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)
        ):
            for field, text in itertools.pairwise(options_class.body):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    assert text.lineno == text.end_lineno, (path.name, options_class.name, ast.unparse(field.target))


def test_names_of_options_are_unique_in_a_command():
    for defaults, _ in COMMANDS.values():
        names = list(_names(defaults))
        assert len(names) == len(set(names)) == len(defaults.recorded_values)


def _names(options):
    for name, value in vars(options).items():
        yield from _names(value) if isinstance(value, Options) else [name]


def test_mining_is_solving_with_another_default():
    solve, mine = SolveOptions().recorded_values, MineOptions().recorded_values
    assert isinstance(MineOptions(), SolveOptions) and list(solve) == list(mine)
    assert {name for name in solve if solve[name] != mine[name]} == {"search"}


def test_options_are_recorded_in_the_words_of_the_command_line():
    options = SimulateOptions(ions=("Cu2+", "O2-"), signal="sq")
    assert command_arguments(options, include_defaults=False) == ["--signal", "sq", "--ions", "Cu2+", "O2-"]
    assert "--rmax 30.0" in " ".join(command_arguments(options, include_defaults=True))
    assert command_arguments(SizeOptions(flat=False, absolute=True), include_defaults=False) == [
        "--no-flat",
        "--absolute",
    ]
    assert "--background 0.0" in " ".join(command_arguments(SimulateSaxsOptions(), include_defaults=True))
    assert command_arguments(TrainOptions(pdf_warmup=2.0), include_defaults=False) == ["--pdf-warmup", "2.0"]
    assert flag("max_atoms") == "--max-atoms" and POSITIONAL is not None


def test_options_load_neither_jax_nor_numpy():
    code = "import sys; from jaxstruc import SolveOptions; SolveOptions().check(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
