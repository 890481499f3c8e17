#!/usr/bin/env python3
"""Puts Highway's headers into the virtual environment, below include/highway.

The core is written with Highway. TensorFlow's wheels ship its headers from
2.21 on; for an older one they are taken out of that wheel.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import zipfile

WHEEL = "tensorflow-cpu==2.21.0"
INSIDE = "tensorflow/include/external/com_google_highway/hwy/"


def main() -> None:
    target = pathlib.Path(sys.prefix) / "include/highway/hwy"
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            + ["--only-binary=:all:", "--dest", folder, WHEEL],
            check=True,
        )
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        unpacked = pathlib.Path(folder) / "highway"
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(INSIDE) and name.endswith(".h"):
                    header = unpacked / name.removeprefix(INSIDE)
                    header.parent.mkdir(parents=True, exist_ok=True)
                    header.write_bytes(archive.read(name))
        # All or nothing: an interrupted run starts again.
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(unpacked), str(target)], check=True)


if __name__ == "__main__":
    main()
