"""Local stand-ins for the repositories that Debian's bazel-bootstrap 4.2.3 would download.

Released Bazels bring their own or fetch them; Debian's, which names no version, can't.
"""

_RULES = {
    "rules_cc": ("cc", [
        "cc_binary",
        "cc_import",
        "cc_library",
        "cc_proto_library",
        "cc_test",
        "cc_toolchain",
        "cc_toolchain_suite",
        "objc_library",
    ]),
    "rules_java": ("java", [
        "java_binary",
        "java_import",
        "java_library",
        "java_plugin",
        "java_proto_library",
        "java_runtime",
        "java_test",
        "java_toolchain",
    ]),
    "rules_proto": ("proto", ["proto_library"]),
}

def _rules_impl(ctx):
    ctx.file("BUILD", "")
    for package, names in ctx.attr.rules.items():
        ctx.file(package + "/BUILD", "")
        ctx.file(package + "/defs.bzl", "".join(["%s = native.%s\n" % (name, name) for name in names]))

_rules = repository_rule(implementation = _rules_impl, attrs = {"rules": attr.string_list_dict()})

def _coverage_impl(ctx):
    ctx.file("true.sh", "#!/bin/sh\n", executable = True)
    ctx.file("BUILD", "".join([
        "sh_binary(name = %r, srcs = ['true.sh'], visibility = ['//visibility:public'])\n" % name
        for name in ["coverage_report_generator", "lcov_merger"]
    ]))

_coverage = repository_rule(implementation = _coverage_impl)

def debian_bazel_stubs():
    if native.bazel_version:
        return
    for name, (package, names) in _RULES.items():
        _rules(name = name, rules = {package: names})
    _coverage(name = "remote_coverage_tools")
