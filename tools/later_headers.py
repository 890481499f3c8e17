#!/usr/bin/env python3
"""Puts headers that TensorFlow's wheel lacks into the virtual environment.

Later wheels ship them; they are taken out of those, into folders below
include/ of the virtual environment.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import zipfile


@dataclasses.dataclass(frozen=True)
class Headers:
    wheel: str
    folder: str  # below tensorflow/include, in the wheel
    mark: str  # the header there whose absence says that they are needed
    target: str  # below include of the virtual environment


HEADERS = (
    Headers(
        wheel="tensorflow-cpu==2.21.0",
        folder="external/com_google_highway/hwy",
        mark="highway.h",
        target="highway/hwy",
    ),
    # How XLA calls functions of ours: version 0.1 of that interface, as in 2.19,
    # whose own wheel has a part of these headers only.
    Headers(
        wheel="tensorflow-cpu==2.20.0",
        folder="xla/ffi/api",
        mark="ffi.h",
        target="xla_ffi/xla/ffi/api",
    ),
)


def include_folder() -> pathlib.Path:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        sys.exit(f"{sys.executable} has no TensorFlow")
    return pathlib.Path(spec.origin).parent / "include"


def fetch(headers: Headers, target: pathlib.Path) -> None:
    inside = f"tensorflow/include/{headers.folder}/"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            + ["--only-binary=:all:", "--dest", folder, headers.wheel],
            check=True,
        )
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        unpacked = pathlib.Path(folder) / "headers"
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(inside) and name.endswith(".h"):
                    header = unpacked / name.removeprefix(inside)
                    header.parent.mkdir(parents=True, exist_ok=True)
                    header.write_bytes(archive.read(name))
        # All or nothing: an interrupted run starts again.
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(unpacked), str(target)], check=True)


def main() -> None:
    include = include_folder()
    for headers in HEADERS:
        target = pathlib.Path(sys.prefix) / "include" / headers.target
        if not (include / headers.folder / headers.mark).exists():
            if not target.exists():
                fetch(headers, target)


if __name__ == "__main__":
    main()
