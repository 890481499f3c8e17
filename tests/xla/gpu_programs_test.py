"""The programs for a GPU, run on the CPU by the jax of the TPU compiler."""

import os
import subprocess

import pytest

from tests.xla import gpu_programs
from tf_embed.xla import _tpu_compiler


def _run(folder):
    return subprocess.run(
        [_tpu_compiler.find_python(), "-I", str(folder / "run.py")],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def small_programs():
    return list(gpu_programs.small_lookups(0))


@pytest.mark.usefixtures("tpu_compiler")
def test_ProgramsRunWithJaxAndAreCompared(tmp_path, small_programs):
    gpu_programs.write(small_programs, tmp_path)
    # No path of this machine travels.
    assert "loc(" not in (tmp_path / "lookup_0.gpu.mlir").read_text()
    result = _run(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "2 of 2 programs right"


@pytest.mark.usefixtures("tpu_compiler")
def test_AProgramWithOtherNumbersIsFound(tmp_path, small_programs):
    gpu_programs.write(small_programs[:1], tmp_path)
    program = tmp_path / "lookup_0.gpu.mlir"
    text = program.read_text()
    assert "stablehlo.divide" in text
    program.write_text(text.replace("stablehlo.divide", "stablehlo.multiply"))
    result = _run(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "WRONG" in result.stdout
