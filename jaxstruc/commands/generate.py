"""What `jaxstruc generate` does."""

from jaxstruc.commands import arguments
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.network import dataset, endless, stock
from jaxstruc.structures import library


def generate(config: arguments.Generate, *, progress: ProgressCallback) -> str:
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


def _endless(config: arguments.Generate, progress: ProgressCallback) -> str:
    """Write the first steps of a seed's stream."""
    options, own = config.options, library.load_or_build(progress=progress)
    made = stock.particle_store(own, stock.cluster_types(own, report_progress=progress))
    endless.write(made, config.out, seed=options.seed, steps=options.steps, report_progress=progress)
    return f"{config.out}: {options.steps * stock.PARTICLES_PER_BATCH} PDFs, {stock.PARTICLES_PER_BATCH} a step, of seed {options.seed}."
