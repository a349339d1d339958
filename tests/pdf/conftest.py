"""Small batches of equal size, so that all tests of this folder share one compilation."""

import pytest

from jaxstruc.pdf import candidates


@pytest.fixture(scope="session", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH_SIZE", 16)
        yield
