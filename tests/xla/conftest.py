"""Finds the TPU compiler of a check-out for the tests that need it."""

import os
import pathlib

import pytest

from tf_embed.xla import _tpu_compiler

# The runfiles of a test are links into the check-out.
_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_PYTHON = _CHECKOUT / ".venv-tpu-compiler" / "bin" / "python"

if _PYTHON.exists():
    os.environ.setdefault(_tpu_compiler.PYTHON_VARIABLE, str(_PYTHON))


@pytest.fixture
def tpu_compiler():
    """Skips the test where jax and libtpu are not installed."""
    if not _tpu_compiler.available():
        pytest.skip("no TPU compiler: run third_party/tpu_compiler/install.sh")
