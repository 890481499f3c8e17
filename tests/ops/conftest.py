"""Options of the randomised tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--first-seed", type=int, default=0)
    parser.addoption("--num-cases", type=int, default=150)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first_case" in metafunc.fixturenames:
        first = metafunc.config.getoption("--first-seed")
        count = metafunc.config.getoption("--num-cases")
        metafunc.parametrize("first_case", range(first, first + count, 25))
