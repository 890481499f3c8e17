"""Finds and runs the TPU compiler (libtpu) in a process of its own."""

from __future__ import annotations

import collections.abc
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import typing

PYTHON_VARIABLE = "TF_EMBED_TPU_COMPILER_PYTHON"
_WORKER = pathlib.Path(__file__).with_name("_tpu_compile_worker.py")

# What the worker inherits; in particular no PYTHONPATH, XLA_FLAGS or TPU_*
# of a program that runs on real TPUs.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH")
_ENVIRONMENT = {
    # No TPU is looked for: neither on this machine nor by asking the cloud.
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Several compilations may run beside each other and beside a real TPU.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
    "TPU_STDERR_LOG_LEVEL": "2",
}


class TpuCompilerNotFoundError(RuntimeError):
    """There is no interpreter with jax and libtpu."""


class Job(typing.NamedTuple):
    """One compilation: a StableHLO text for one topology."""

    module: str
    topology: str
    want_hlo: bool = False


def find_python() -> str:
    """Returns the interpreter that has jax and libtpu.

    The one that the environment variable TF_EMBED_TPU_COMPILER_PYTHON names,
    else the running one, if both packages are installed there.

    Raises:
      TpuCompilerNotFoundError: with what to install.
    """
    python = os.environ.get(PYTHON_VARIABLE)
    if python:
        if not (os.path.isfile(python) and os.access(python, os.X_OK)):
            raise TpuCompilerNotFoundError(
                f"{PYTHON_VARIABLE} names '{python}', which is not an executable file."
            )
        return python
    missing = [
        name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise TpuCompilerNotFoundError(
            f"The TPU compiler needs {' and '.join(missing)}, for which Python must be"
            " 3.11 or newer: run `pip install 'tf_embed-...whl[tpu-compiler]'` with"
            " the path of the wheel, or, in a check-out, `./run tpu-compiler`, or"
            " install them into another virtual environment; then, but for the"
            f" wheel, set {PYTHON_VARIABLE} to the python that has them."
        )
    return sys.executable


def available() -> bool:
    """Whether `compile_modules` can work."""
    try:
        find_python()
    except TpuCompilerNotFoundError:
        return False
    return True


def _run_worker(
    python: str, request: pathlib.Path, results: pathlib.Path, timeout_s: float
) -> str | None:
    """Returns None, or how the worker died; raises TimeoutExpired."""
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = subprocess.run(
        [python, "-I", str(_WORKER), str(request), str(results)],
        env={**env, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if process.returncode == 0:
        return None
    code = process.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    tail = "\n".join(process.stderr.splitlines()[-15:])
    return f"{how}; the last it said:\n{tail}"


def compile_modules(
    jobs: collections.abc.Sequence[Job],
    *,
    timeout_s: float = 600.0,
    on_result: typing.Callable[[int], None] | None = None,
) -> list[dict[str, typing.Any]]:
    """Compiles all jobs in one process.

    A job that brings the compiler down is reported as an error of that job;
    the jobs after it go on in a new process.

    Args:
      jobs: What to compile.
      timeout_s: Seconds for the whole; the jobs that are left after it end with
        an error.
      on_result: Called with the number of finished jobs when a process ends.

    Returns:
      For each job what the worker reports: "device_kind" (absent if the
      compiler died) and either "error" or "cost", "memory" and, if wanted,
      "hlo".

    Raises:
      TpuCompilerNotFoundError: jax or libtpu is not installed.
      RuntimeError: a topology that libtpu does not know, jax failed to start,
        or the interpreter does not answer.
    """
    python = find_python()
    deadline = time.monotonic() + timeout_s
    done: dict[int, dict[str, typing.Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tf_embed_tpu_") as directory:
        folder = pathlib.Path(directory)
        modules: dict[str, str] = {}
        for job in jobs:
            if job.module not in modules:
                path = folder / f"module{len(modules)}.mlir"
                path.write_text(job.module, encoding="utf-8")
                modules[job.module] = str(path)
        while len(done) < len(jobs):
            first = len(done)
            request = folder / "request.json"
            request.write_text(
                json.dumps(
                    [
                        {**job._asdict(), "key": key, "module": modules[job.module]}
                        for key, job in enumerate(jobs)
                        if key >= first
                    ]
                ),
                encoding="utf-8",
            )
            results = folder / f"results{first}.jsonl"
            results.touch()
            timed_out = False
            try:
                died = _run_worker(
                    python, request, results, deadline - time.monotonic()
                )
            except subprocess.TimeoutExpired:
                died = f"it took longer than {timeout_s:g} s"
                timed_out = True
            for line in results.read_text(encoding="utf-8").splitlines():
                result = json.loads(line)
                done[result.pop("key")] = result
                if "failure" in result:
                    raise RuntimeError(
                        "The TPU compiler could not be asked about topology "
                        f"'{jobs[len(done) - 1].topology}': {result['failure']}"
                    )
            if died is None and len(done) < len(jobs):
                raise RuntimeError(
                    f"{python} ended without an answer: is it a Python with jax "
                    "and libtpu?"
                )
            if died is not None:
                if len(done) == first == 0 and "Traceback" in died:
                    raise RuntimeError(f"{python} could not start: {died}")
                error = {"error": f"The compiler died: {died}"}
                for key in range(len(done), len(jobs) if timed_out else len(done) + 1):
                    done[key] = error
            if on_result is not None:
                on_result(len(done))
    return [done[key] for key in range(len(jobs))]
