"""TPUEmbeddingForServing gives TensorFlow's numbers, gradients and errors."""

import comparison
import pytest
import random_calls


@pytest.mark.parametrize("seed", range(120))
def test_eager_call_equals_stock(seed):
    comparison.check_same(random_calls.random_call(seed), traced=False)


@pytest.mark.parametrize("seed", range(1000, 1020))
def test_traced_call_equals_stock(seed):
    comparison.check_same(random_calls.random_call(seed), traced=True)
