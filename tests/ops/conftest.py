"""What the tests of the ops share, and options of the randomised ones."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ops import small_model


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--first-seed", type=int, default=0)
    parser.addoption("--num-cases", type=int, default=150)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first_case" in metafunc.fixturenames:
        first = metafunc.config.getoption("--first-seed")
        count = metafunc.config.getoption("--num-cases")
        metafunc.parametrize("first_case", range(first, first + count, 25))


@pytest.fixture(autouse=True)
def _no_engine_is_left() -> Iterator[None]:
    yield
    small_model.tear_down()


@pytest.fixture
def config() -> Any:
    """The small model, configured and loaded."""
    return small_model.configured(small_model.feature_config())
