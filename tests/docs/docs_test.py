"""The Python examples of README and docs/ run as they stand there."""

import functools
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _program(page: pathlib.Path) -> str:
    """A page's examples, which build on each other, on the lines of the page."""
    lines = []
    inside = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            inside = not inside and line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines)


PROGRAMS = {page.name: program for page in PAGES if (program := _program(page)).strip()}


@functools.cache
def _run(name: str) -> subprocess.CompletedProcess:
    # A file: AutoGraph reads the source of a loop.
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "program.py"
        program.write_text(PROGRAMS[name])
        return subprocess.run(
            [sys.executable, program], capture_output=True, text=True, timeout=240
        )


def test_there_are_examples() -> None:
    assert {"README.md", "serving.md"} <= PROGRAMS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_run(name: str) -> None:
    result = _run(name)
    assert result.returncode == 0, result.stderr


def test_readme_example_prints_what_it_says() -> None:
    last = _run("README.md").stdout.splitlines()[-1]
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", last)]
    # -0.1 * (1 * [1, 2] + 2 * [3, 4]) and -0.1 * 0.5 * [1, 2]
    assert numbers == pytest.approx([-0.7, -1.0, -0.05, -0.1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    links = re.findall(r"\]\(([^):#]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
