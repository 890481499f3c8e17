"""What a worker process does: obeys the driver, line by line.

The driver writes a command a line, the worker answers with a line: `ok`, then
what was asked for, or `error` and the reason.

    setup FOLDER           reads the inputs, makes the tables
    warm_up                does what the system needs to be at its best
    write BATCH FILE       looks up a batch, writes [tables, batch, dim] floats
    step BATCH             one training step
    time KIND SECONDS FIRST
                           times calls on batch FIRST, FIRST + 1, ... until
                           SECONDS have passed; nanoseconds of each
    versions               of what the system is made of

core_worker.cc speaks the same.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import Inputs

# A call to be timed.
Call = Callable[[], Any]


class System:
    """One system. A subclass makes its tables when it is created."""

    calls_at_once = 1

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.setting = inputs.setting
        self.workload = inputs.setting.workload

    @staticmethod
    def versions() -> str:
        raise NotImplementedError

    def call(self, kind: str, batch: int) -> Call:
        """What does `kind` once on a batch: "forward", "step" or "empty"."""
        raise NotImplementedError

    def timed(self, kind: str, batch: int) -> Call:
        """What is timed: does `kind` `calls_at_once` times, from a batch on."""
        return self.call(kind, batch)

    def outputs(self, batch: int) -> np.ndarray:
        """Activations, [tables, batch, dim]."""
        return np.stack([np.asarray(x) for x in self.call("forward", batch)()])

    def warm_up(self) -> None:
        """Nothing, for most systems."""


def _timed(
    calls: list[Call], calls_at_once: int, seconds: float, first: int
) -> list[int]:
    clock = time.perf_counter_ns
    times = []
    i, begin = first, clock()
    end = begin + int(seconds * 1e9)
    while not times or begin < end:
        call = calls[i % len(calls)]
        begin = clock()
        call()
        times += [(clock() - begin) // calls_at_once] * calls_at_once
        i += 1
    return times


class _Server:
    def __init__(self, system_class: type[System]):
        self._class = system_class
        self._system: Any = None
        self._calls: dict[str, list[Call]] = {}

    def _all(self, kind: str) -> list[Call]:
        if kind not in self._calls:
            self._calls[kind] = [
                self._system.timed(kind, b)
                for b in range(self._system.setting.num_batches)
            ]
        return self._calls[kind]

    def setup(self, folder: str) -> None:
        self._system = self._class(Inputs(pathlib.Path(folder)))

    def warm_up(self) -> None:
        self._system.warm_up()

    def write(self, batch: str, file: str) -> None:
        self._system.outputs(int(batch)).astype(np.float32).tofile(file)

    def step(self, batch: str) -> None:
        self._system.call("step", int(batch))()

    def time(self, kind: str, seconds: str, first: str) -> str:
        calls = self._all(kind)
        times = _timed(calls, self._system.calls_at_once, float(seconds), int(first))
        return " ".join(map(str, times))

    def versions(self) -> str:
        return self._class.versions()


def serve(system_class: type[System]) -> None:
    """Obeys until the driver closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(2, 1)
    server = _Server(system_class)
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer = getattr(server, command)(*arguments)
            print("ok", answer or "", file=answers, flush=True)
        except Exception as error:
            traceback.print_exc()
            # All of it is in the log.
            reason = f"{type(error).__name__}: {error}".split("\n")[0][:300]
            print("error", reason, file=answers, flush=True)
