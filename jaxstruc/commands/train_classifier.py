"""What `jaxstruc train-classifier` does."""

from jaxstruc.commands import arguments
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.network import lessons, naming, stock, weights
from jaxstruc.network.classifier import Classifier
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.validation import command_words
from jaxstruc.structures import library


def train_classifier_network(config: arguments.TrainClassifier, *, progress: ProgressCallback) -> str:
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


def _command(config: arguments.TrainClassifier) -> str:
    """Return the command that trains these settings: the options that differ from their defaults."""
    words = command_words(config.options, defaults=False)
    return " ".join(["jaxstruc train-classifier", *words, f"-o {config.out}"])
