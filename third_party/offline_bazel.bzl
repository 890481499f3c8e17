"""Stand-ins for what Bazel would download for rules that this project does not use.

Bazel itself loads rules_cc, rules_java and their like to set its toolchains up: the releases fetch
them, and Debian's packages of Bazel expect a vendored copy. All that is ever looked up here are the
native rules of the same names.
"""

def _native(names):
    return "".join(["%s = native.%s\n" % (name, name) for name in names])

# A rule whose targets nothing reads.
_IGNORED = """
def {name}(name, **kwargs):
    native.filegroup(name = name, visibility = ["//visibility:public"])
"""

# Repository -> file -> content.
_REPOSITORIES = {
    "bazel_skylib": {
        "bzl_library.bzl": _IGNORED.format(name = "bzl_library"),
    },
    "rules_cc": {
        "cc/defs.bzl": _native([
            "cc_binary",
            "cc_import",
            "cc_library",
            "cc_proto_library",
            "cc_test",
            "cc_toolchain",
            "cc_toolchain_suite",
            "objc_library",
        ]),
    },
    "rules_java": {
        "java/defs.bzl": _native([
            "java_binary",
            "java_import",
            "java_library",
            "java_plugin",
            "java_proto_library",
            "java_runtime",
            "java_test",
            "java_toolchain",
        ]),
    },
    "rules_license": {
        "rules/license.bzl": _IGNORED.format(name = "license"),
    },
    "rules_proto": {
        "proto/defs.bzl": _native(["proto_library"]),
    },
    "rules_python": {
        "python/defs.bzl": _native(["py_binary", "py_library", "py_runtime", "py_test"]),
    },
}

def _rules_impl(ctx):
    ctx.file("BUILD", "")
    for path, content in ctx.attr.files.items():
        package = path.rpartition("/")[0]
        if package:
            ctx.file(package + "/BUILD", "")
        ctx.file(path, content)

_rules = repository_rule(implementation = _rules_impl, attrs = {"files": attr.string_dict()})

def _coverage_impl(ctx):
    ctx.file("true.sh", "#!/bin/sh\n", executable = True)
    ctx.file("BUILD", "".join([
        "sh_binary(name = %r, srcs = ['true.sh'], visibility = ['//visibility:public'])\n" % name
        for name in ["coverage_report_generator", "lcov_merger"]
    ]))

_coverage = repository_rule(implementation = _coverage_impl)

def offline_bazel():
    for name, files in _REPOSITORIES.items():
        _rules(name = name, files = files)
    _coverage(name = "remote_coverage_tools")
