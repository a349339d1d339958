"""What `jaxstruc generate` does."""

from jaxstruc.commands import arguments
from jaxstruc.commands.progress import Advance
from jaxstruc.network import dataset, endless, stock
from jaxstruc.structures import library


def generate(config: arguments.Generate, *, progress: Advance) -> str:
    """Simulate a data set, write it, and return what to say of it."""
    options = config.options
    if options.preset == "endless":
        return _endless(config, progress)
    data = dataset.generate(
        options.preset,
        seed=options.seed,
        draws=options.draws,
        progress=lambda done, count: progress(done, count, ""),
    )
    dataset.write(data, config.out)
    structures = len(set(zip(data.shape.tolist(), data.bond.tolist(), strict=True)))
    return (
        f"{config.out}: {len(data.pdf)} PDFs of {structures} distinct structures "
        f"({len(data.shapes)} shapes x {structures // len(data.shapes)} bond lengths)."
    )


def _endless(config: arguments.Generate, progress: Advance) -> str:
    """Write the first steps of a seed's stream."""
    options, own = config.options, library.cached(progress=progress)
    made = stock.stock(own, stock.shown(own, progress=progress))
    endless.write(made, config.out, seed=options.seed, steps=options.steps, progress=progress)
    return f"{config.out}: {options.steps * stock.COUNT} PDFs, {stock.COUNT} a step, of seed {options.seed}."
