"""The Python examples of README and docs/ run as they stand there."""

import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _examples() -> list:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


@functools.cache
def _run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )


def test_there_are_examples() -> None:
    assert len(_examples()) >= 2


@pytest.mark.parametrize("code", _examples())
def test_example_runs(code: str) -> None:
    result = _run(code)
    assert result.returncode == 0, result.stderr


def test_readme_example_prints_what_it_says() -> None:
    code = next(p.values[0] for p in _examples() if p.id.startswith("README"))
    last = _run(code).stdout.splitlines()[-1]
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", last)]
    # -0.1 * (1 * [1, 2] + 2 * [3, 4]) and -0.1 * 0.5 * [1, 2]
    assert numbers == pytest.approx([-0.7, -1.0, -0.05, -0.1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    links = re.findall(r"\]\(([^):#]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
