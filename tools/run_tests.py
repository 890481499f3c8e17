#!/usr/bin/env python3
"""Runs the tests stage by stage and counts the test cases.

Everything, then the C++ core under each sanitizer. Bazel counts targets; a
reader wants to know how many tests ran, so the cases are counted from the XML
that GoogleTest and pytest write.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

SANITIZERS = {
    "asan": "address sanitizer",
    "tsan": "thread sanitizer",
    "ubsan": "undefined-behaviour sanitizer",
}

# Exit codes of `bazel test`.
BAD_COMMAND_LINE = 2
TESTS_FAILED = 3
NO_TESTS = 4


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")


@dataclasses.dataclass
class Stage:
    name: str
    counts: Counts
    targets: int
    cached: int
    seconds: float
    bad: list[str]  # what failed, by label

    @property
    def ok(self) -> bool:
        return not self.bad


def count_cases(xml: pathlib.Path, passed: bool) -> Counts:
    """The cases in a test's XML; the target as one case where it has none."""
    try:
        cases = list(ElementTree.parse(xml).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    counts = Counts()
    for case in cases:
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            counts.failed += 1
        elif "skipped" in outcomes or case.get("status") == "notrun":
            counts.skipped += 1
        else:
            counts.passed += 1
    if passed and not cases:
        return Counts(passed=1)
    if not passed and not counts.failed:  # crashed or ran out of time
        counts.failed = 1
    return counts


def read_results(events: pathlib.Path) -> dict[str, tuple[Counts, bool, bool]]:
    """Label (with shard) -> counts, passed, cached, of the last attempt."""
    results = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        result = event.get("testResult")
        if result is None:
            continue
        test = event["id"]["testResult"]
        label = test["label"]
        if test.get("shard", 1) > 1:
            label += f" (shard {test['shard']})"
        xml = next(
            (
                pathlib.Path(
                    urllib.parse.unquote(urllib.parse.urlparse(out["uri"]).path)
                )
                for out in result.get("testActionOutput", [])
                if out["name"] == "test.xml" and "uri" in out
            ),
            pathlib.Path("/nonexistent"),
        )
        passed = result["status"] in ("PASSED", "FLAKY")
        cached = bool(
            result.get("cachedLocally")
            or result.get("executionInfo", {}).get("cachedRemotely")
        )
        results[label] = (count_cases(xml, passed), passed, cached)
    return results


def run_stage(name: str, bazel: str, arguments: list[str]) -> Stage:
    print(f"\n[run] {name}: bazel test {' '.join(arguments)}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        events = pathlib.Path(folder) / "events.json"
        events.touch()
        code = subprocess.run(
            [bazel, "test", "--keep_going", f"--build_event_json_file={events}"]
            + arguments,
            stdin=subprocess.DEVNULL,
        ).returncode
        results = read_results(events)
    if code == BAD_COMMAND_LINE:  # and every further stage would say so again
        sys.exit("[run] error: Bazel refused the command line, as it says above")
    counts = sum((counts for counts, _, _ in results.values()), Counts())
    bad = [label for label, (_, passed, _) in results.items() if not passed]
    if code not in (0, TESTS_FAILED, NO_TESTS):
        bad.append("the build (Bazel's messages above say where)")
    elif code == TESTS_FAILED and not bad:
        bad.append("a test that did not run")
    return Stage(
        name=name,
        counts=counts,
        targets=len(results),
        cached=sum(cached for _, _, cached in results.values()),
        seconds=time.monotonic() - start,
        bad=bad,
    )


def tpu_compiler() -> tuple[list[str], str]:
    """Flags that tell tests, and Bazel's cache, of the TPU compiler; its name."""
    folder = pathlib.Path(".venv-tpu-compiler").absolute()
    installed = folder / "installed.txt"
    if not installed.exists():
        return [], "none, so what needs it is skipped (./run tpu-compiler)"
    python = folder / "bin" / "python"
    pins = re.findall(r"^(jax|libtpu)==(\S+)$", installed.read_text(), re.MULTILINE)
    name = ", ".join(" ".join(pin) for pin in pins)
    return [f"--test_env=TF_EMBED_TPU_COMPILER_PYTHON={python}"], name


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run test", description=__doc__)
    parser.add_argument("--bazel", default="bazel", help=argparse.SUPPRESS)
    parser.add_argument("--slow", action="store_true", help="the long tests too")
    parser.add_argument("targets", nargs="*", help="only these, without sanitizers")
    options, flags = parser.parse_known_args()

    slow = "" if options.slow else "-slow"
    compiler_flags, compiler = tpu_compiler()
    flags += compiler_flags
    if options.targets:
        # What is named is run, slow or not.
        stages = [run_stage("tests", options.bazel, flags + options.targets)]
    else:
        stages = [
            run_stage(
                "tests", options.bazel, [f"--test_tag_filters={slow}", *flags, "//..."]
            )
        ]
        core = f"--test_tag_filters=-tf,{slow}".rstrip(",")
        for config in SANITIZERS:
            stages.append(
                run_stage(
                    SANITIZERS[config],
                    options.bazel,
                    [f"--config={config}", core, *flags, "//tf_embed/..."],
                )
            )

    print(f"\n[run] TPU compiler: {compiler}")
    for stage in stages:
        print(
            f"[run] {stage.name:<29} {stage.targets:3} targets"
            f" ({stage.cached} cached), {stage.seconds:5.0f} s: {stage.counts}"
        )
        for label in stage.bad:
            print(f"[run]   FAILED: {label}")
    total = sum((stage.counts for stage in stages), Counts())
    ok = all(stage.ok for stage in stages)
    if not ok and not total.failed:
        total.failed = 1  # a broken build is a failure too
    if ok and not total.passed:
        print("[run] error: no test ran")
        ok = False
    print()
    print(total)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
