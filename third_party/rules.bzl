"""Rules of this project: protos with TensorFlow's own protoc, tests with pytest."""

def _protoc(name, srcs, language, extensions):
    outs = [src.replace(".proto", extension) for src in srcs for extension in extensions]
    native.genrule(
        name = name,
        srcs = srcs,
        outs = outs,
        cmd = "$(location @tf//:protoc.sh) -I. --%s_out=$(GENDIR) $(SRCS)" % language,
        tools = ["@tf//:protoc.sh"],
    )
    return outs

def tf_cc_proto(name, srcs, **kwargs):
    """C++ of a proto. It may be linked into one shared library only, or the process aborts."""
    outs = _protoc(name + "_gen", srcs, "cpp", [".pb.h", ".pb.cc"])
    native.cc_library(
        name = name,
        srcs = [out for out in outs if out.endswith(".cc")],
        hdrs = [out for out in outs if out.endswith(".h")],
        deps = ["@tf//:headers", "@tf//:libtensorflow_framework"],
        **kwargs
    )

def py_proto(name, srcs):
    """The _pb2 modules of protos, as data for Python targets."""
    _protoc(name, srcs, "python", ["_pb2.py"])

def pytest_test(name, srcs = None, data = [], args = [], deps = [], tags = [], **kwargs):
    """A pytest file as a test (py_test of Bazel 4 fails under a strict environment)."""
    srcs = srcs or [name + ".py"]
    native.sh_test(
        name = name,
        srcs = ["@local_python//:pytest.sh"],
        args = ["$(location %s)" % src for src in srcs] + args,
        data = srcs + data + deps,
        tags = tags + ["tf"],
        **kwargs
    )
