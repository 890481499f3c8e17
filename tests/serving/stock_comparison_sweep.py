"""The comparison of stock_comparison_test on many more calls."""

import comparison
import pytest
import random_calls


@pytest.mark.parametrize("block", range(100))
def test_calls_equal_stock(block):
    for seed in range(10_000 + 25 * block, 10_000 + 25 * (block + 1)):
        comparison.check_same(random_calls.random_call(seed), traced=seed % 5 == 0)
