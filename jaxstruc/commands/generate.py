"""What `jaxstruc generate` does."""

from jaxstruc.commands import settings
from jaxstruc.commands.progress import Advance
from jaxstruc.network import dataset, endless, stock
from jaxstruc.structures import library


def generate(config: settings.Generate, *, progress: Advance) -> str:
    """Simulate a data set, write it, and return what to say of it."""
    if config.preset == "endless":
        return _endless(config, progress)
    data = dataset.generate(
        config.preset, seed=config.seed, draws=config.draws, progress=lambda done, count: progress(done, count, "")
    )
    dataset.write(data, config.out)
    structures = len(set(zip(data.shape.tolist(), data.bond.tolist(), strict=True)))
    return (
        f"{config.out}: {len(data.pdf)} PDFs of {structures} distinct structures "
        f"({len(data.shapes)} shapes x {structures // len(data.shapes)} bond lengths)."
    )


def _endless(config: settings.Generate, progress: Advance) -> str:
    """Write the first steps of a seed's stream."""
    if config.steps < 1:
        raise ValueError(f"Expected at least one step, got {config.steps}; raise --steps.")
    own = library.cached(progress=progress)
    made = stock.stock(own, stock.shown(own, progress=progress))
    endless.write(made, config.out, seed=config.seed, steps=config.steps, progress=progress)
    return f"{config.out}: {config.steps * stock.COUNT} PDFs, {stock.COUNT} a step, of seed {config.seed}."
