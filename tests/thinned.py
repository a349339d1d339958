"""A part of a data set, for tests that would take long with all of it."""

import jax


def thinned(data, step):
    """Return the data set with one of so many PDFs."""
    some = slice(0, None, step)
    return data._replace(
        shape=data.shape[some],
        bond=data.bond[some],
        element=data.element[some],
        conditions=jax.tree.map(lambda column: column[some], data.conditions),
        pdf=data.pdf[some],
    )
