"""Times the systems on one setting, side by side."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from benchmarks import reference, workloads
from benchmarks.machine import available_bytes
from benchmarks.systems import SystemInfo, Worker
from benchmarks.workloads import Inputs, Setting

# How long a system has its turn: a call of a slow one, many of a fast one.
_TURN_SECONDS = 0.04
_MIN_ROUNDS = 5
# Of the available memory, what tables may take up.
_MEMORY_SHARE = 0.75
ANCHORS = ("core", "memory")

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Result:
    """Times of one kind of call of one system."""

    workload: str
    distribution: str
    kind: str  # "forward", "step" or "empty"
    optimizer: str  # of a step, else ""
    threads: int
    system: str
    calls: int
    median_us: float
    p10_us: float
    # Medians of the C++ core and of the memory accesses alone, which took turns
    # with this system; 0: they did not.
    core_us: float
    memory_us: float

    @property
    def key(self) -> tuple[str, str, str, str, int, str]:
        return (
            self.workload,
            self.distribution,
            self.kind,
            self.optimizer,
            self.threads,
            self.system,
        )


def groups(
    systems: Sequence[SystemInfo], setting: Setting, memory: float
) -> Iterator[list[SystemInfo]]:
    """Splits what does not fit into memory together.

    What the others are compared with is in each group.
    """
    anchor = [system for system in systems if system.name in ANCHORS]
    rest = [system for system in systems if system.name not in ANCHORS]
    limit = memory - sum(system.bytes(setting) for system in anchor)
    while True:
        group, used = [], 0.0
        while rest and (not group or used + rest[0].bytes(setting) <= limit):
            used += rest[0].bytes(setting)
            group.append(rest.pop(0))
        yield anchor + group
        if not rest:
            return


class _Group:
    """Workers that are alive at the same time."""

    def __init__(self, workers: list[Worker], inputs: Inputs, folder: pathlib.Path):
        self._workers = workers
        self._inputs = inputs
        self._folder = folder

    def _written(self, worker: Worker, batch: int) -> np.ndarray:
        path = self._folder / "outputs.f32"
        worker.ask("write", batch, path)
        w = self._inputs.setting.workload
        values = np.fromfile(path, np.float32)
        if values.size == w.tables * w.batch * w.dim:
            values = values.reshape(w.tables, w.batch, w.dim)
        return values

    def check_forward(self) -> None:
        expected = reference.Reference(self._inputs, [0]).forward(0)
        for worker in self._workers:
            if worker.system.limit:
                continue
            reference.check(
                worker.system.name,
                "lookup",
                self._written(worker, 0),
                expected,
                worker.system.tolerance,
            )

    def check_steps(self) -> None:
        for worker in self._workers:
            system = worker.system
            if system.limit or not system.can_step(self._inputs.setting):
                continue
            expected = reference.Reference(
                self._inputs, [0, 1], worker.system.bias_corrected_adam
            )
            for batch in (0, 1):
                expected.step(batch)
                worker.ask("step", batch)
            reference.check(
                worker.system.name,
                f"lookup after two steps of {self._inputs.setting.optimizer}",
                self._written(worker, 0),
                expected.forward(0),
                worker.system.tolerance,
            )

    def pairs(self, kind: str) -> list[tuple[Worker, str]]:
        """What is timed together."""
        setting = self._inputs.setting
        if kind == "step":
            return [(w, kind) for w in self._workers if w.system.can_step(setting)]
        pairs = [(worker, kind) for worker in self._workers]
        if setting.workload.latency:
            pairs += [(w, "empty") for w in self._workers if w.system.empty]
        return pairs

    def time(
        self, pairs: list[tuple[Worker, str]], seconds: float, clock: str
    ) -> list[np.ndarray]:
        """Microseconds of each call; a system's turn comes in random order.

        clock: "wall", or "cpu": the mean of each turn, on a machine that others
        use too.
        """
        times: list[list[float]] = [[] for _ in pairs]
        calls = [0] * len(pairs)
        order = list(range(len(pairs)))
        rng = random.Random(workloads.SEED)
        begin = time.monotonic()
        for number in itertools.count():
            rng.shuffle(order)
            for i in order:
                worker, kind = pairs[i]
                # Nobody begins with the batch of another, or with its own last.
                first = number * 7 + i * 5 + calls[i]
                before = worker.cpu_ns()
                answer = worker.ask("time", kind, _TURN_SECONDS, first)
                turn = [int(ns) / 1e3 for ns in answer.split()]
                calls[i] += len(turn)
                if clock == "cpu":
                    times[i].append((worker.cpu_ns() - before) / 1e3 / len(turn))
                else:
                    # The first find the caches full of what others did.
                    times[i] += turn[len(turn) // 4 :]
            if number + 1 >= _MIN_ROUNDS and (
                time.monotonic() - begin >= seconds * len(pairs)
            ):
                return [np.array(values) for values in times]


@contextmanager
def _started(
    systems: Sequence[SystemInfo],
    setting: Setting,
    pythons: dict[str, str],
    folder: pathlib.Path,
    logs: pathlib.Path,
    say: Say,
) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        workers = []
        for system in systems:
            worker = Worker(system, pythons, logs / f"{system.name}.log")
            stack.callback(worker.close)
            workers.append(worker)
        for worker in workers:
            worker.tell("setup", folder)
        for worker in workers:
            say(f"{worker.system.name}: setting up")
            worker.answer()
            worker.pin(_cpus(setting.threads))
        yield workers


def _cpus(threads: int) -> list[int]:
    """The last ones: the first tend to serve interrupts."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def _result(
    setting: Setting,
    system: str,
    kind: str,
    times: np.ndarray,
    anchors: dict[str, float],
) -> Result:
    return Result(
        workload=setting.workload.name,
        distribution=setting.distribution,
        kind=kind,
        optimizer=setting.optimizer if kind == "step" else "",
        threads=setting.threads,
        system=system,
        calls=len(times),
        median_us=float(np.median(times)),
        p10_us=float(np.percentile(times, 10)),
        core_us=anchors.get("core", 0.0),
        memory_us=anchors.get("memory", 0.0),
    )


def run(
    setting: Setting,
    systems: Sequence[SystemInfo],
    kinds: Sequence[str],
    seconds: float,
    pythons: dict[str, str],
    logs: pathlib.Path,
    say: Say,
    clock: str = "wall",
) -> tuple[list[Result], list[str]]:
    """Compares the systems' results, then times each kind of call.

    Returns the times, and what the systems are made of.
    """
    if kinds == ["step"]:
        systems = [s for s in systems if s.can_step(setting)]
    if setting.workload.latency:  # which is not about memory
        systems = [s for s in systems if not s.limit]
    results = []
    versions = []
    with tempfile.TemporaryDirectory(prefix="tf_embed_bench.") as temporary:
        folder = pathlib.Path(temporary) / "inputs"
        say("writing inputs")
        workloads.write(setting, folder)
        inputs = Inputs(folder)
        memory = available_bytes() * _MEMORY_SHARE
        for members in groups(systems, setting, memory):
            with _started(members, setting, pythons, folder, logs, say) as workers:
                group = _Group(workers, inputs, pathlib.Path(temporary))
                versions += [worker.ask("versions") for worker in workers]
                say("comparing lookups")
                group.check_forward()
                for worker in workers:
                    say(f"{worker.system.name}: warming up")
                    worker.ask("warm_up")
                for kind in kinds:
                    if kind == "step":
                        say("comparing steps")
                        group.check_steps()
                    say(f"timing {kind}")
                    pairs = group.pairs(kind)
                    times = group.time(pairs, seconds, clock)
                    anchors = {
                        worker.system.name: float(np.median(values))
                        for (worker, _), values in zip(pairs, times, strict=True)
                        if worker.system.name in ANCHORS
                    }
                    results += [
                        _result(setting, worker.system.name, what, values, anchors)
                        for (worker, what), values in zip(pairs, times, strict=True)
                    ]
    # The anchors were in each group; the first counts.
    unique: dict[object, Result] = {}
    for result in results:
        unique.setdefault(result.key, result)
    return list(unique.values()), versions
