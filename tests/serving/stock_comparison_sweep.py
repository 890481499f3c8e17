"""The comparisons with TensorFlow's class on many more calls."""

import comparison
import pytest
import random_calls


@pytest.mark.parametrize("block", range(100))
def test_calls_equal_stock(block):
    for seed in range(10_000 + 25 * block, 10_000 + 25 * (block + 1)):
        comparison.check_same(random_calls.random_call(seed), traced=seed % 5 == 0)


@pytest.mark.parametrize("block", range(40))
def test_quantized_calls_equal_stock(block):
    for seed in range(20_000 + 25 * block, 20_000 + 25 * (block + 1)):
        dtype = ("bfloat16", "float16", "int8", "int4")[seed % 4]
        comparison.check_quantized(
            random_calls.random_call(seed), dtype, traced=seed % 5 == 0
        )
