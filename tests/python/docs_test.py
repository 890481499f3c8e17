"""The examples in the docstrings of the public names run as printed."""

import doctest
import inspect

import pytest

import tf_embed


def _documented():
    yield "tf_embed", tf_embed
    for name in tf_embed.__all__:
        value = getattr(tf_embed, name)
        yield f"tf_embed.{name}", value
        if inspect.ismodule(value):
            for inner in value.__all__:
                yield f"tf_embed.{name}.{inner}", getattr(value, inner)


_DOCUMENTED = dict(_documented())
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", _DOCUMENTED)
def test_examples_run_as_printed(name, capfd):
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    value = _DOCUMENTED[name]
    output = []
    for test in finder.find(value, name, globs={}):
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in _DOCUMENTED.items()
        if inspect.isfunction(value) or inspect.isclass(value)
        if not name.startswith(("tf_embed.raw_ops.", "tf_embed.virtual_tpu."))
        if name != "tf_embed.EngineStats"
    ],
)
def test_docstring_has_its_parts(name):
    value = _DOCUMENTED[name]
    doc = inspect.getdoc(value)
    assert "Example:" in doc
    if doc.startswith("`tf."):  # takes the arguments of what it stands for
        return
    arguments = list(inspect.signature(value).parameters)
    if arguments:
        assert "\nArgs:\n" in doc
    for argument in arguments:
        assert f"  {argument}: " in doc, argument
    if inspect.isfunction(value) and inspect.signature(value).return_annotation not in (
        None,
        "None",
    ):
        assert "\nReturns:\n" in doc
