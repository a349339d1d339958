"""The commands `generate`, `train` and `train-classifier`."""

from collections.abc import Iterator

from jaxstruc.batch import ProgressCallback
from jaxstruc.cli import progress
from jaxstruc.clusters import library
from jaxstruc.network import weights
from jaxstruc.network.classifier import predict, simulated_pdfs
from jaxstruc.network.classifier.model import Classifier
from jaxstruc.network.classifier.particles import DEFAULT_COMPOSITION, cluster_types, particle_store
from jaxstruc.network.classifier.training import TrainingTask, classifier_card, train_classifier
from jaxstruc.network.cvae import dataset, training
from jaxstruc.network.deepstruc.training import fit_particles
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.simulation import GenerateCommand
from jaxstruc.options.training import TrainClassifierCommand, TrainCommand
from jaxstruc.options.validation import command_arguments


def generate(config: GenerateCommand, *, progress: ProgressCallback) -> str:
    """Simulate a data set, write it, and return its description."""
    options = config.options
    if options.preset == "endless":
        return _write_training_stream(config, progress)
    data = dataset.generate(
        options.preset,
        seed=options.seed,
        draws=options.draws,
        report_progress=lambda n_done, n_pdfs: progress(n_done, n_pdfs, ""),
    )
    dataset.write(data, config.out)
    n_structures = len(set(zip(data.shape_index.tolist(), data.bond.tolist(), strict=True)))
    return (
        f"{config.out}: {len(data.pdf)} PDFs of {n_structures} distinct structures "
        f"({len(data.shapes)} shapes x {n_structures // len(data.shapes)} bond lengths)."
    )


def train(config: TrainCommand) -> Iterator[str]:
    """Train the network for all seeds at once, write their weights and cards, and yield a line on each network.

    The card of weights is a JSON file that describes how they were trained.
    """
    options = config.options
    if config.data is None:
        with progress.progress_bar("Simulating PDFs") as advance:
            data = dataset.generate(options.preset, seed=options.seed, draws=options.draws, report_progress=advance)
    else:
        data = dataset.read(config.data)
    splits = [dataset.split(data, strategy=options.split, seed=seed) for seed in options.all_seeds]
    with progress.progress_bar("Training") as advance:

        def report(epoch, metrics):
            names = [name for name in ("loss", "pair", "occupancy", "kl", "pdf") if f"validation_{name}" in metrics]
            advance(epoch, options.epochs, "  ".join(f"{name} {metrics[f'validation_{name}']:.4f}" for name in names))

        fit = fit_particles if data.preset in dataset.DEEPSTRUC_PRESETS else training.fit
        params, end = fit(data, splits, options, folder=config.out, report_progress=report)
    for seed_index, seed in enumerate(options.all_seeds):
        folder = config.out / f"seed-{seed}" if options.seeds else config.out
        card = weights.autoencoder_card(
            data, splits[seed_index], options, end, command=training_command(config), seed_index=seed_index
        )
        weights.save_weights(folder / "weights.safetensors", params[seed_index], card)
        yield (
            f"{folder / 'weights.safetensors'}: validation loss {end.best_loss[seed_index]:.4f} "
            f"after {end.best_epoch[seed_index]} of {end.epoch} epochs."
        )


def train_classifier_network(config: TrainClassifierCommand, *, progress: ProgressCallback) -> str:
    """Train the classifier, write its weights and card (description), and return a line on the result.

    Raises:
        ValueError: If the folder contains a training with other settings.
    """
    cluster_library = library.load_or_build(progress=progress)
    structure_types = cluster_types(cluster_library, report_progress=progress)

    def report(step: int, metrics: dict[str, float]) -> None:
        progress(step, config.options.steps, f"loss {metrics['loss']:.3f}, {metrics['right']:.1%} of types correct")

    store = particle_store(cluster_library, structure_types, report_progress=progress)
    holdout_store = particle_store(cluster_library, structure_types, holdout=True, report_progress=progress)
    start = None if config.start is None else weights.load_classifier(config.start)
    seed, module, start_params = config.options.seed, Classifier(), None
    if start is not None:
        module, start_params = start.module, start.params
    params, metrics = train_classifier(
        store,
        config.options,
        folder=config.out,
        task=TrainingTask(module),
        start_params=start_params,
        report_progress=report,
    )
    feature_distribution, limits = predict.novelty_limits(params, store, seed=seed, module=module)
    holdout_metrics = predict.evaluate_classifier(params, holdout_store, seed=seed, module=module)
    path = config.out / "weights.safetensors"
    card = classifier_card(config.options, metrics | holdout_metrics, command=_classifier_training_command(config))
    if start is not None:
        card["start"] = start.card["sha256"]
    weights.save_classifier(path, TrainedClassifier(params, module, feature_distribution, card | limits))
    return f"{path}: the type is correct for {holdout_metrics['held_right']:.1%} of the clusters of held-out sizes."


def training_command(config: TrainCommand) -> str:
    """Return the command that repeats the training, with all options that differ from their defaults."""
    arguments = ["jaxstruc train", *command_arguments(config.options, include_defaults=False)]
    if config.data is not None:
        arguments.append(f"--data {config.data}")
    return " ".join([*arguments, f"-o {config.out}"])


def _classifier_training_command(config: TrainClassifierCommand) -> str:
    """Return the command that repeats the training, with all options that differ from their defaults."""
    arguments = command_arguments(config.options, include_defaults=False)
    if config.start is not None:
        arguments.append(f"--start {config.start}")
    return " ".join(["jaxstruc train-classifier", *arguments, f"-o {config.out}"])


def _write_training_stream(config: GenerateCommand, progress: ProgressCallback) -> str:
    """Write the PDFs of the first training steps of the classifier for a seed, and return a description."""
    options, cluster_library = config.options, library.load_or_build(progress=progress)
    store = particle_store(
        cluster_library, cluster_types(cluster_library, report_progress=progress), report_progress=progress
    )
    simulated_pdfs.write(store, config.out, seed=options.seed, steps=options.steps, report_progress=progress)
    n_pdfs = options.steps * DEFAULT_COMPOSITION.n_samples
    return f"{config.out}: {n_pdfs} PDFs of {options.steps} steps with seed {options.seed}."
