"""Settings of the process: from the environment, and changed while it runs."""

import ctypes
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises


def _with_negative_id() -> dict[str, Any]:
    inputs = small_model.arbitrary_inputs()
    inputs["embedding_indices"][2] = np.array([4, -1, 1], np.int64)
    return inputs


def test_NegativeIdsMayBeDropped() -> None:
    library: ctypes.CDLL = harness.library()
    library.TfEmbed_SetPruneNegativeIds(1)
    try:
        config = small_model.configured(small_model.feature_config())
        small_model.enqueue("inference", **_with_negative_id(), combiners=["mean"] * 2)
        own = small_model.parameters()[1][0]
        # Without the dropped id the mean is that of one row.
        np.testing.assert_array_equal(
            harness.recv(config)[2], [own[4], [0] * 3, own[1], [0] * 3]
        )
    finally:
        library.TfEmbed_SetPruneNegativeIds(0)
    harness.configure(config)
    with raises(tf.errors.InvalidArgumentError, "id -1", "[0, 5)"):
        small_model.enqueue("inference", **_with_negative_id())


_FROM_ENVIRONMENT = """
    import numpy as np
    import tensorflow as tf
    from tests.ops import harness, small_model
    config = small_model.configured(small_model.feature_config())
    try:
        harness.recv(config)
    except tf.errors.DeadlineExceededError:
        print("limited")
    inputs = small_model.arbitrary_inputs()
    inputs["embedding_indices"][2] = np.array([4, -1, 1], np.int64)
    small_model.enqueue("inference", **inputs)
    print("pruned")
"""


def test_BothCanComeFromTheEnvironment() -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FROM_ENVIRONMENT)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ
        | {"TF_EMBED_RECV_TIMEOUT_S": "0.05", "TF_EMBED_PRUNE_NEGATIVE_IDS": "1"},
        check=False,
    )
    assert result.stdout.split() == ["limited", "pruned"], result.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("TF_EMBED_RECV_TIMEOUT_S", "soon", "a number of seconds, 0 or more"),
        ("TF_EMBED_RECV_TIMEOUT_S", "5s", "a number of seconds, 0 or more"),
        ("TF_EMBED_RECV_TIMEOUT_S", "-1", "a number of seconds, 0 or more"),
        ("TF_EMBED_RECV_TIMEOUT_S", "nan", "a number of seconds, 0 or more"),
        ("TF_EMBED_PRUNE_NEGATIVE_IDS", "true", "0 or 1"),
    ],
)
def test_BadEnvironmentIsNamed(
    monkeypatch: pytest.MonkeyPatch, config: Any, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with raises(
        tf.errors.InvalidArgumentError, f"{name} is '{value}', must be {allowed}"
    ):
        harness.configure(small_model.table_config())
    small_model.assert_works(config)


@pytest.mark.parametrize("value", ["", "0", "1.5", " 2", "inf"])
def test_EnvironmentMayLimitOrNot(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TF_EMBED_RECV_TIMEOUT_S", value)
    monkeypatch.setenv("TF_EMBED_PRUNE_NEGATIVE_IDS", value and "0")
    small_model.assert_works(small_model.configured(small_model.feature_config()))


def test_ProfilerShowsTheStages(tmp_path: pathlib.Path) -> None:
    config = small_model.configured(small_model.feature_config())
    tf.profiler.experimental.start(str(tmp_path))
    small_model.load(config)
    small_model.enqueue()
    harness.recv(config)
    harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)
    harness.retrieve(config, 0)
    tf.profiler.experimental.stop()
    (trace,) = tmp_path.rglob("*.xplane.pb")
    data = trace.read_bytes()
    for span in ("Load", "Enqueue", "Lookup", "SendGradients", "Retrieve"):
        assert f"TfEmbed{span}".encode() in data, span
