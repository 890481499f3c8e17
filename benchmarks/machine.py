"""Where and on what a benchmark ran."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import time
from typing import Any

from benchmarks.systems import ROOT

OUT = ROOT / "out/bench"


def _cpu() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def _caches() -> str:
    """Sizes of the caches of the first core: "48K, 1024K, 32768K"."""
    folder = pathlib.Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = [
        (index / "size").read_text().strip()
        for index in sorted(folder.glob("index*"))
        if (index / "type").read_text().strip() != "Instruction"
    ]
    return ", ".join(sizes) or "unknown"


def _commit() -> str:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return git.stdout.strip() or "unknown"


def available_bytes() -> int:
    """Memory that programs can still take."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def describe(command: str) -> dict[str, Any]:
    """What a report says of a run of `command`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "machine": (
            f"{_cpu()}, {os.cpu_count()} cores, caches {_caches()},"
            f" {memory / 1e9:.0f} GB, Linux {platform.release()},"
            f" Python {platform.python_version()}."
        ),
    }
