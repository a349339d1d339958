"""What `jaxstruc train` does."""

from collections.abc import Iterator

from jaxstruc.commands import arguments, progress
from jaxstruc.network import card, dataset, training, weights
from jaxstruc.options.validation import command_words


def train(config: arguments.Train) -> Iterator[str]:
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
        about = card.autoencoder_card(data, splits[at], chosen, end, command=command(config), seed_index=at)
        weights.save_weights(folder / "weights.safetensors", params[at], about)
        yield (
            f"{folder / 'weights.safetensors'}: validation loss {end.best_loss[at]:.4f} "
            f"after {end.best_epoch[at]} of {end.epoch} epochs."
        )


def command(config: arguments.Train) -> str:
    """Return the command that trains these settings: the options that differ from their defaults."""
    words = ["jaxstruc train", *command_words(config.options, defaults=False)]
    if config.data is not None:
        words.append(f"--data {config.data}")
    return " ".join([*words, f"-o {config.out}"])
