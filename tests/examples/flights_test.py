"""The demo, as a person runs it, but for one epoch only."""

import pathlib
import re
import subprocess
import sys

import pytest

DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples/flights.py"


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pathlib.Path]:
    out = tmp_path_factory.mktemp("out")
    result = _run("--epochs", 1, "--out", out)
    assert result.returncode == 0, result.stderr
    return result.stdout, out


def test_says_how_many_flights(demo: tuple[str, pathlib.Path]) -> None:
    assert "336,776 flights left New York in 2013; 9,430 never arrived" in demo[0]


def test_embeddings_help(demo: tuple[str, pathlib.Path]) -> None:
    scores = {
        name: [float(n) for n in re.findall(r"0\.\d{4}", line)]
        for name in ("without embeddings", "with embeddings")
        for line in demo[0].splitlines()
        if f"│ {name} " in line
    }
    (loss_without, auc_without) = scores["without embeddings"]
    (loss_with, auc_with) = scores["with embeddings"]
    # Two runs with other seeds differ by less than half a percent point.
    assert auc_with > auc_without + 0.005
    assert loss_with < loss_without


def test_writes_curve_checkpoint_and_model(demo: tuple[str, pathlib.Path]) -> None:
    text, out = demo
    assert (out / "learning_curve.png").stat().st_size > 10_000
    assert list(out.glob("embedded.checkpoint*"))
    assert (out / "model/saved_model.pb").exists()
    assert "all predictions are the same" in text


def test_bad_epochs_is_one_sentence() -> None:
    result = _run("--epochs", 0)
    assert result.returncode == 2
    assert result.stderr.endswith("error: --epochs must be at least 1\n")
