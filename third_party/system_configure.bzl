"""C++ test libraries that come with the system: GoogleTest as sources, google-benchmark as a library."""

_GTEST_BUILD = """
cc_library(
    name = "gtest_main",
    testonly = True,
    srcs = [
        "src/googlemock/src/gmock-all.cc",
        "src/googlemock/src/gmock_main.cc",
        "src/googletest/src/gtest-all.cc",
    ],
    hdrs = glob([
        "src/googlemock/include/**/*.h",
        "src/googletest/include/**/*.h",
    ]),
    includes = [
        "src/googlemock",
        "src/googlemock/include",
        "src/googletest",
        "src/googletest/include",
    ],
    linkopts = ["-pthread"],
    textual_hdrs = glob(
        [
            "src/googlemock/src/*",
            "src/googletest/src/*",
        ],
        exclude = [
            "src/**/*-all.cc",
            "src/**/*_main.cc",
        ],
    ),
    visibility = ["//visibility:public"],
)
"""

def _gtest_impl(ctx):
    src = ctx.os.environ.get("GTEST_SRC") or "/usr/src/googletest"
    if not ctx.path(src + "/googletest").exists:
        fail("no GoogleTest sources at %s: apt-get install googletest, or set GTEST_SRC" % src)
    ctx.symlink(src, "src")
    ctx.file("BUILD", _GTEST_BUILD)

googletest_configure = repository_rule(implementation = _gtest_impl, environ = ["GTEST_SRC"], local = True)

_BENCHMARK_BUILD = """
cc_library(
    name = "benchmark_main",
    linkopts = ["-lbenchmark_main", "-lbenchmark", "-pthread"],
    visibility = ["//visibility:public"],
)
"""

def _benchmark_impl(ctx):
    # Debian's libbenchmark-dev lies on the compiler's own paths; only benchmark targets, all tagged manual, need it.
    ctx.file("BUILD", _BENCHMARK_BUILD)

benchmark_configure = repository_rule(implementation = _benchmark_impl)
