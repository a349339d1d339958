"""The command line, a thin door with heavy imports inside."""

import sys
import traceback

from jaxstruc import __version__
from jaxstruc.commands import arguments as arguments_


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status 0: done; 2: the user's mistake; 3: some files of several failed; 1: a defect."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jaxstruc {__version__}")
        return
    trace = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    command = arguments_.parse(words)
    try:
        status = _run(command)
    except (ValueError, FloatingPointError, OSError) as error:
        if trace:
            traceback.print_exc()
        else:
            print(f"jaxstruc: {' '.join(str(error).split())}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("jaxstruc: interrupted; what was finished is kept, run again to continue.", file=sys.stderr)
        status = 130
    sys.exit(status)


def _run(command: arguments_.Command) -> int:
    command.options.check()
    if isinstance(command, arguments_.Simulate):
        return simulate(command)
    if isinstance(command, arguments_.Generate):
        return generate(command)
    if isinstance(command, arguments_.Train):
        return train(command)
    if isinstance(command, arguments_.Saxs):
        return saxs(command)
    if isinstance(command, arguments_.TrainClassifier):
        return train_classifier(command)
    if isinstance(command, arguments_.Classify):
        return classify(command)
    return answer(command)


def simulate(config: arguments_.Simulate) -> int:
    """Simulate clusters or bodies and print or write their curves."""
    from jaxstruc.commands.simulate import simulate_files

    for path, text, target in simulate_files(config):
        signal = "iq" if config.bodies.body else config.options.signal
        print(f"{path}: {signal} in {target}." if target else text, end="\n" if target else "")
    return 0


def generate(config: arguments_.Generate) -> int:
    """Simulate a data set and write it."""
    from jaxstruc.commands import progress
    from jaxstruc.commands.generate import generate

    with progress.progress_bar("Simulating PDFs") as advance:
        said = generate(config, progress=advance)
    print(said)
    return 0


def train(config: arguments_.Train) -> int:
    """Train the network, all seeds together, and write weights and cards."""
    from jaxstruc.commands.train import train

    for line in train(config):
        print(line)
    return 0


def train_classifier(config: arguments_.TrainClassifier) -> int:
    """Train the classifier, and write weights and card."""
    from jaxstruc.commands import compiled, progress
    from jaxstruc.commands.train_classifier import train_classifier_network

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Training") as advance:
        said = train_classifier_network(config, progress=advance)
    print(said)
    return 0


def classify(config: arguments_.Classify) -> int:
    """Name types and sizes of measured PDFs, and write the table and its picture."""
    from jaxstruc.commands import classify, compiled, progress

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Classifying") as advance:
        outcome = classify.classify(config, progress=advance)
    for line in classify.ending(outcome, config.out):
        print(line)
    return outcome.status


def answer(config: arguments_.Solve | arguments_.Mine | arguments_.Refine) -> int:
    """Find structures for measured PDFs by one of the three commands, and write the results."""
    from jaxstruc.commands import compiled, progress, refine, run, solve

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar(f"{type(config).__name__[:-1]}ing") as advance:
        if isinstance(config, arguments_.Refine):
            outcome = refine.refine(config, progress=advance)
        else:
            outcome = solve.solve(config, progress=advance)
    for line in run.closing_lines(outcome, config.out):
        print(line)
    return outcome.status


def saxs(config: arguments_.Saxs) -> int:
    """Find sizes and shapes for measured small angles, and write the results."""
    from jaxstruc.commands import compiled, progress, run
    from jaxstruc.commands import saxs as saxs_

    compiled.set_compilation_cache(config.cache)
    with progress.progress_bar("Sizing") as advance:
        outcome = saxs_.saxs(config, progress=advance)
    for line in run.closing_lines(outcome, config.out, workflow=saxs_.WAY):
        print(line)
    return outcome.status
