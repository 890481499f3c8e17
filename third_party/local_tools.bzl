"""What the repository rules share: finding the Python that has TensorFlow."""

ENVIRON = ["PYTHON_BIN_PATH", "PROTOC", "VIRTUAL_ENV"]

def find_python(ctx):
    """The interpreter to build for: PYTHON_BIN_PATH, then .venv, then VIRTUAL_ENV, then python3."""
    environ = ctx.os.environ
    if environ.get("PYTHON_BIN_PATH"):
        return environ["PYTHON_BIN_PATH"]
    venv = ctx.path(Label("//:WORKSPACE")).dirname.get_child(".venv").get_child("bin").get_child("python")
    if venv.exists:
        return str(venv)
    if environ.get("VIRTUAL_ENV"):
        return environ["VIRTUAL_ENV"] + "/bin/python"
    return str(ctx.which("python3"))

def python_eval(ctx, python, code):
    """What `code` prints."""
    result = ctx.execute([python, "-c", code], quiet = True)
    if result.return_code:
        fail("%s -c '%s' failed: %s" % (python, code, result.stderr))
    return result.stdout.strip()

def package_dir(ctx, python, name):
    """Folder of an installed package; it is not imported, which would take seconds for TensorFlow."""
    code = ("import importlib.util as u; s = u.find_spec('%s'); " % name +
            "print(s.submodule_search_locations[0] if s else '')")
    return python_eval(ctx, python, code) or fail(
        "%s has no package %s; `./run build` installs it into .venv, or set PYTHON_BIN_PATH" % (python, name),
    )
