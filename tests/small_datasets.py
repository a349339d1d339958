"""A part of a data set, for tests that would take long with all of it."""

import jax


def thin_dataset(dataset, step):
    """Return the data set with one of so many PDFs."""
    selection = slice(0, None, step)
    return dataset._replace(
        shape=dataset.shape[selection],
        bond=dataset.bond[selection],
        element=dataset.element[selection],
        conditions=jax.tree.map(lambda column: column[selection], dataset.conditions),
        pdf=dataset.pdf[selection],
    )
