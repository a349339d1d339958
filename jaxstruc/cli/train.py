"""What `jaxstruc generate` does.

What `jaxstruc train-classifier` does.

What `jaxstruc train` does.
"""

from collections.abc import Iterator

from jaxstruc.batch import ProgressCallback
from jaxstruc.cli import progress
from jaxstruc.clusters import library
from jaxstruc.network import weights
from jaxstruc.network.classifier import particles as stock
from jaxstruc.network.classifier import predict as naming
from jaxstruc.network.classifier import simulated_pdfs as endless
from jaxstruc.network.classifier import training as lessons
from jaxstruc.network.classifier.model import Classifier
from jaxstruc.network.cvae import dataset, training
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.simulation import GenerateCommand
from jaxstruc.options.training import TrainClassifierCommand, TrainCommand
from jaxstruc.options.validation import command_arguments


def generate(config: GenerateCommand, *, progress: ProgressCallback) -> str:
    """Simulate a data set, write it, and return what to say of it."""
    options = config.options
    if options.preset == "endless":
        return _endless(config, progress)
    data = dataset.generate(
        options.preset,
        seed=options.seed,
        draws=options.draws,
        report_progress=lambda done, count: progress(done, count, ""),
    )
    dataset.write(data, config.out)
    structures = len(set(zip(data.shape_index.tolist(), data.bond.tolist(), strict=True)))
    return (
        f"{config.out}: {len(data.pdf)} PDFs of {structures} distinct structures "
        f"({len(data.shapes)} shapes x {structures // len(data.shapes)} bond lengths)."
    )


def _endless(config: GenerateCommand, progress: ProgressCallback) -> str:
    """Write the first steps of a seed's stream."""
    options, own = config.options, library.load_or_build(progress=progress)
    made = stock.particle_store(own, stock.cluster_types(own, report_progress=progress))
    endless.write(made, config.out, seed=options.seed, steps=options.steps, report_progress=progress)
    return f"{config.out}: {options.steps * stock.PARTICLES_PER_BATCH} PDFs, {stock.PARTICLES_PER_BATCH} a step, of seed {options.seed}."


def train_classifier_network(config: TrainClassifierCommand, *, progress: ProgressCallback) -> str:
    """Train the classifier, write weights and card, and return what to say of them.

    Raises:
        ValueError: where the folder holds a run with other settings.
    """
    own = library.load_or_build(progress=progress)
    shown = stock.cluster_types(own, report_progress=progress)

    def report(step: int, metrics: dict[str, float]) -> None:
        progress(step, config.options.steps, f"loss {metrics['loss']:.3f}, types right {metrics['right']:.1%}")

    made, seed, module = stock.particle_store(own, shown), config.options.seed, Classifier()
    params, metrics = lessons.train_classifier(made, config.options, folder=config.out, report_progress=report)
    outside, ends = naming.novelty_limits(params, made, seed=seed, module=module)
    held = naming.evaluate_classifier(params, stock.particle_store(own, shown, holdout=True), seed=seed, module=module)
    path = config.out / "weights.safetensors"
    card = lessons.classifier_card(config.options, metrics | held, command=_command(config))
    weights.save_classifier(path, TrainedClassifier(params, module, outside, card | ends))
    return f"{path}: types right {held['held_right']:.1%} of clusters of sizes held out."


def _command(config: TrainClassifierCommand) -> str:
    """Return the command that trains these settings: the options that differ from their defaults."""
    words = command_arguments(config.options, defaults=False)
    return " ".join(["jaxstruc train-classifier", *words, f"-o {config.out}"])


def train(config: TrainCommand) -> Iterator[str]:
    """Train the network, all seeds together, write weights and cards, and yield what to say of each."""
    chosen = config.options
    if config.data is None:
        with progress.progress_bar("Simulating PDFs") as advance:
            data = dataset.generate(chosen.preset, seed=chosen.seed, draws=chosen.draws, report_progress=advance)
    else:
        data = dataset.read(config.data)
    splits = [dataset.split(data, strategy=chosen.split, seed=seed) for seed in chosen.all_seeds]
    with progress.progress_bar("Training") as advance:

        def report(epoch, metrics):
            shown = [name for name in ("loss", "pair", "kl", "pdf") if f"validation_{name}" in metrics]
            advance(epoch, chosen.epochs, "  ".join(f"{name} {metrics[f'validation_{name}']:.4f}" for name in shown))

        params, end = training.fit(data, splits, chosen, folder=config.out, report_progress=report)
    for at, seed in enumerate(chosen.all_seeds):
        folder = config.out / f"seed-{seed}" if chosen.seeds else config.out
        about = weights.autoencoder_card(data, splits[at], chosen, end, command=command(config), seed_index=at)
        weights.save_weights(folder / "weights.safetensors", params[at], about)
        yield (
            f"{folder / 'weights.safetensors'}: validation loss {end.best_loss[at]:.4f} "
            f"after {end.best_epoch[at]} of {end.epoch} epochs."
        )


def command(config: TrainCommand) -> str:
    """Return the command that trains these settings: the options that differ from their defaults."""
    words = ["jaxstruc train", *command_arguments(config.options, defaults=False)]
    if config.data is not None:
        words.append(f"--data {config.data}")
    return " ".join([*words, f"-o {config.out}"])
