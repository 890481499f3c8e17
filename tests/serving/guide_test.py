"""The code of docs/serving.md runs, block after block."""

import pathlib
import re

_GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"


def test_code_runs():
    blocks = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    assert len(blocks) > 3
    # One program: exec in one namespace, with the file's name in tracebacks.
    exec(compile("\n".join(blocks), str(_GUIDE), "exec"), {})
