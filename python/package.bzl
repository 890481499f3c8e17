"""The Python package as a folder: sources, libraries and generated modules side by side."""

def _py_package_impl(ctx):
    outs = []
    placed = [(src, src.short_path[len(ctx.label.package) + 1:]) for src in ctx.files.srcs]
    for target, folder in ctx.attr.placed.items():
        placed += [(file, folder + "/" + file.basename) for file in target.files.to_list()]
    for file, path in placed:
        out = ctx.actions.declare_file(path)
        ctx.actions.symlink(output = out, target_file = file)
        outs.append(out)
    return [DefaultInfo(files = depset(outs), runfiles = ctx.runfiles(outs))]

# Links `srcs`, and the files of `placed` (target: folder), into the output tree, so that bazel-bin/python is a folder
# for PYTHONPATH in which edits of the sources are seen without a build.
py_package = rule(
    implementation = _py_package_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = True),
        "placed": attr.label_keyed_string_dict(allow_files = True),
    },
)
