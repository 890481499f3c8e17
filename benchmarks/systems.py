"""The systems that are compared, and the processes they run in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import select
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.workloads import Setting

ROOT = pathlib.Path(__file__).parent.parent.absolute()
# In a check-out, or beside the sources in a Bazel test.
_CORE_WORKERS = (
    ROOT / "bazel-bin/benchmarks/core/core_worker",
    ROOT / "benchmarks/core/core_worker",
)
# Longer than any single command takes.
_TIMEOUT_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class SystemInfo:
    name: str
    title: str
    # "core" is a program, the others are interpreters; see pythons().
    environment: str
    program: tuple[str, ...]
    optimizers: tuple[str, ...] = ("sgd", "adagrad", "adam", "ftrl")
    ours: bool = False
    empty: bool = False  # can time an empty function of the same signature
    forward_only: bool = False
    # Of the largest activation: what quantization may cost.
    tolerance: float = 1e-5
    row_share: float = 1  # size of a row, as a share of float32's
    limit: bool = False  # no system, but what bounds them all
    bias_corrected_adam: bool = False
    python: tuple[int, int] = (3, 10)  # the oldest that it comes for

    def can_step(self, setting: Setting) -> bool:
        return not self.forward_only and setting.optimizer in self.optimizers

    def bytes(self, setting: Setting) -> float:
        """Memory that the tables of a setting take up."""
        slots = 0 if self.forward_only else setting.num_slots
        weights = setting.table_bytes / (1 + setting.num_slots)
        return weights * (self.row_share + slots) + (2 << 30) * self.limit


SYSTEMS = {
    system.name: system
    for system in (
        SystemInfo("core", "C++ core", "core", ("kernels",), ours=True),
        SystemInfo("engine", "C++ engine", "core", ("engine",), ours=True),
        SystemInfo(
            "core-int8",
            "C++ core, int8 rows",
            "core",
            ("int8",),
            ours=True,
            forward_only=True,
            row_share=0.27,
            tolerance=0.01,
        ),
        # As many random rows as a batch has ids, read from as much memory as the
        # tables take, and in a step the rows of the unique ids read and written.
        SystemInfo("memory", "memory accesses alone", "core", ("memory",), limit=True),
        SystemInfo(
            "raw-ops", "raw ops", "tf_embed", ("raw_ops",), ours=True, empty=True
        ),
        SystemInfo(
            "raw-ops-loop",
            "raw ops, 8 batches a call",
            "tf_embed",
            ("raw_ops", "loop"),
            ours=True,
        ),
        *(
            SystemInfo(
                f"serving-{form}",
                f"tf_embed ForServing, {form}",
                "tf_embed",
                ("serving", "ours", form),
                ours=True,
                empty=True,
            )
            for form in ("sparse", "ragged")
        ),
        *(
            SystemInfo(
                f"serving-{form}-eager",
                f"tf_embed ForServing, {form}, eager",
                "tf_embed",
                ("serving", "ours", form, "eager"),
                ours=True,
                forward_only=True,
            )
            for form in ("sparse", "ragged")
        ),
        SystemInfo(
            "serving-int8",
            "tf_embed quantized to int8, ragged",
            "tf_embed",
            ("serving", "int8", "ragged"),
            ours=True,
            empty=True,
            forward_only=True,
            tolerance=1e-2,
        ),
        SystemInfo(
            "torch",
            "torch EmbeddingBag",
            "torch",
            ("torch_bag",),
            ("sgd", "adagrad", "adam"),
            bias_corrected_adam=True,
        ),
        SystemInfo(
            "fbgemm", "FBGEMM TBE", "torch", ("fbgemm_tbe",), ("sgd", "adagrad")
        ),
        SystemInfo(
            "fbgemm-int8",
            "FBGEMM IntNBit, int8 rows",
            "torch",
            ("fbgemm_int8",),
            forward_only=True,
            row_share=0.27,
            tolerance=0.01,
        ),
        SystemInfo(
            "jax",
            "jax, jit",
            "jax",
            ("jax_lookup",),
            forward_only=True,
            python=(3, 11),
        ),
        SystemInfo(
            "tf", "TensorFlow's ops", "stock", ("tf_graph",), ("sgd", "adagrad", "ftrl")
        ),
        *(
            SystemInfo(
                f"stock-{form}",
                f"stock ForServing, {form}",
                "stock",
                ("serving", "stock", form),
                ("sgd", "adagrad", "ftrl"),
            )
            for form in ("sparse", "ragged")
        ),
        *(
            SystemInfo(
                f"stock-{form}-eager",
                f"stock ForServing, {form}, eager",
                "stock",
                ("serving", "stock", form, "eager"),
                forward_only=True,
            )
            for form in ("sparse", "ragged")
        ),
    )
}


class WorkerError(RuntimeError):
    """A worker refused a command, or is no more."""


class Worker:
    """A process of one system."""

    def __init__(
        self,
        system: SystemInfo,
        pythons: dict[str, str],
        log: pathlib.Path,
    ):
        self.system = system
        self._log = log
        if system.environment == "core":
            program = next(p for p in _CORE_WORKERS if p.exists())
            command = [str(program), *system.program]
        else:
            module = f"benchmarks.workers.{system.program[0]}"
            python = pythons[system.environment]
            command = [python, "-m", module, *system.program[1:]]
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "",
        }
        if system.environment != "tf_embed":
            environment.pop("PYTHONPATH", None)
        with log.open("w") as log_file:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
            )

    def pin(self, cpus: Sequence[int]) -> None:
        """Keeps all threads, and those they will start, on some cores."""
        for thread in os.listdir(f"/proc/{self._process.pid}/task"):
            # It may have ended since.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cpus)

    def cpu_ns(self) -> int:
        """Time that its threads have been on a core."""
        tasks = pathlib.Path(f"/proc/{self._process.pid}/task")
        # Of each thread: nanoseconds run, nanoseconds waited, turns.
        return sum(
            int(file.read_text().split()[0]) for file in tasks.glob("*/schedstat")
        )

    def tell(self, *words: object) -> None:
        """Sends a command whose answer `answer` will fetch."""
        assert self._process.stdin is not None
        try:
            print(*words, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._message("it ended")) from None

    def answer(self) -> str:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], _TIMEOUT_SECONDS)[0]:
            raise WorkerError(self._message(f"no answer in {_TIMEOUT_SECONDS} s"))
        state, _, rest = output.readline().rstrip("\n").partition(" ")
        if state != "ok":
            raise WorkerError(self._message(rest or "it ended"))
        return rest

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.answer()

    def _message(self, reason: str) -> str:
        return f"{self.system.name}: {reason} (its log: {self._log})"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            # A command that could not be written any more.
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def pythons() -> dict[str, str]:
    """The interpreter of each environment; ./run bench sets them up."""
    return {
        "tf_embed": sys.executable,
        # The same TensorFlow, which nothing of tf_embed is loaded into.
        "stock": sys.executable,
        "torch": str(ROOT / ".venv-bench-torch/bin/python"),
        "jax": str(ROOT / ".venv-bench-jax/bin/python"),
    }
