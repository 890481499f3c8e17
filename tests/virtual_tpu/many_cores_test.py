"""TPUEmbedding and a dense part on as many cores as there may be."""

import numpy as np
import pytest
from embedding_numerics_test import losses

BATCH = 192  # a multiple of every number of cores below


@pytest.fixture(scope="module")
def one_core():
    return losses(1, batch=BATCH)


@pytest.mark.parametrize("cores", [3, 8, 16, 64])
def test_ends_like_one_core(one_core, cores):
    # Only the order of the sums over the batch differs.
    found = losses(cores, batch=BATCH, timeout=280)
    np.testing.assert_allclose(found, one_core, rtol=2e-5)
    assert found[-1] < 0.9 * found[0]
