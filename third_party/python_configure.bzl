"""@local_python: headers of Python and pybind11, and a runner for pytest."""

load(":local_tools.bzl", "ENVIRON", "find_python", "package_dir", "python_eval")

_PYTEST = """#!/bin/sh
# Runs pytest from the runfiles, on the package as it was built.
cd "$TEST_SRCDIR/$TEST_WORKSPACE" || exit 1
PYTHONPATH="$PWD/python:$PWD" PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL="${{TF_CPP_MIN_LOG_LEVEL:-2}}" \\
  exec '{python}' -m pytest -p no:cacheprovider --junitxml="$XML_OUTPUT_FILE" "$@"
"""

_BUILD = """
package(default_visibility = ["//visibility:public"])

exports_files(["pytest.sh"])

cc_library(
    name = "python_headers",
    hdrs = glob(["python_include/**/*.h"]),
    includes = ["python_include"],
)

cc_library(
    name = "pybind11",
    hdrs = glob(["pybind11_include/**/*.h"]),
    includes = ["pybind11_include"],
    deps = [":python_headers"],
)
"""

def _impl(ctx):
    python = find_python(ctx)
    include = python_eval(ctx, python, "import sysconfig; print(sysconfig.get_paths()['include'])")
    if not ctx.path(include + "/Python.h").exists:
        fail("no Python headers at %s: install python3-dev" % include)
    ctx.symlink(include, "python_include")
    ctx.symlink(package_dir(ctx, python, "pybind11") + "/include", "pybind11_include")
    ctx.file("pytest.sh", _PYTEST.format(python = python), executable = True)
    ctx.file("BUILD", _BUILD)

python_configure = repository_rule(implementation = _impl, environ = ENVIRON, local = True, configure = True)
