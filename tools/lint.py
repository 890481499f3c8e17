#!/usr/bin/env python3
"""Checks the form of Python, C++ and Bazel files; --fix repairs what it can."""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(sys.executable).parent
BUILDIFIER = ROOT / ".run/node_modules/@bazel/buildifier/buildifier-linux_amd64"


def tracked(*patterns: str) -> list[str]:
    """Files in git or about to be, that still exist."""
    listing = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            *patterns,
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def checks(fix: bool) -> list[tuple[str, list[str], list[str]]]:
    """(name, command, files), in the order they run."""
    python = tracked("*.py", "*.pyi")
    cpp = tracked("*.cc", "*.h")
    starlark = tracked("WORKSPACE", "BUILD", "*/BUILD", "*.bzl")
    # The package is checked strictly, as users of its types see it.
    package = ["python/tf_embed"] if (ROOT / "python/tf_embed").exists() else []
    formatting = ["-i"] if fix else ["--dry-run", "-Werror"]
    return [
        ("ruff", [str(BIN / "ruff"), "check", "--quiet"] + ["--fix"] * fix, python),
        (
            "ruff format",
            [str(BIN / "ruff"), "format", "--quiet"] + ["--check"] * (not fix),
            python,
        ),
        ("mypy", [str(BIN / "mypy"), "--no-error-summary"], package),
        (
            "clang-format",
            [str(BIN / "clang-format"), "--style=Google", *formatting],
            cpp,
        ),
        (
            "buildifier",
            [str(BUILDIFIER), f"-mode={'fix' if fix else 'check'}"],
            starlark,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run lint", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="repair what can be")
    fix = parser.parse_args().fix
    passed = failed = skipped = 0
    for name, command, files in checks(fix):
        if not os.access(command[0], os.X_OK):
            # The others are in the virtual environment.
            print(f"[run] {name}: skipped, npm is missing or could not bring it")
            skipped += 1
        elif not files:
            print(f"[run] {name}: skipped, no files")
            skipped += 1
        elif subprocess.run([*command, *files], cwd=ROOT).returncode:
            print(f"[run] {name}: failed ('./run lint --fix' repairs form)")
            failed += 1
        else:
            print(f"[run] {name}: {len(files)} files or folders fine")
            passed += 1
    print(
        f"{passed} passed, {failed} failed"
        + (f", {skipped} skipped" if skipped else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
