"""What `jaxstruc generate` does."""

from jaxstruc.commands import settings
from jaxstruc.commands.progress import Advance
from jaxstruc.network import dataset


def generate(config: settings.Generate, *, progress: Advance) -> str:
    """Simulate a data set, write it, and return what to say of it."""
    data = dataset.generate(
        config.preset, seed=config.seed, draws=config.draws, progress=lambda done, count: progress(done, count, "")
    )
    dataset.write(data, config.out)
    structures = len(set(zip(data.shape.tolist(), data.bond.tolist(), strict=True)))
    return (
        f"{config.out}: {len(data.pdf)} PDFs of {structures} distinct structures "
        f"({len(data.shapes)} shapes x {structures // len(data.shapes)} bond lengths)."
    )
