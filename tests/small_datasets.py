"""Parts of a data set, for tests that would be slow with the whole data set."""

import jax


def thin_dataset(dataset, step):
    """Return the data set with every `step`-th PDF."""
    selection = slice(0, None, step)
    return dataset._replace(
        shape_index=dataset.shape_index[selection],
        bond=dataset.bond[selection],
        element=dataset.element[selection],
        conditions=jax.tree.map(lambda column: column[selection], dataset.conditions),
        pdf=dataset.pdf[selection],
    )
