"""`python -m tf_embed.info` and what it is made of."""

import os

import tensorflow as tf
import testing

import tf_embed
from tf_embed import info, raw_ops


def test_every_op_has_a_kernel():
    assert info.ops_without_kernel("CPU") == []
    assert info.ops_without_kernel("NONE") == raw_ops.__all__


def test_report_names_versions_and_state():
    tf_embed.shutdown()
    report = info.report()
    assert f"tf_embed: {tf_embed.__version__}\n" in report
    assert f"TensorFlow: {tf.__version__} (built for {tf.__version__[:4]}" in report
    assert f", {os.cpu_count()} cores\n" in report
    assert "\ninstruction set: " in report
    assert "\nengine: not configured" in report
    raw_ops.ConfigureTPUEmbedding(config=testing.feature_config())
    assert "\nengine: 2 tables, 0.0 MiB, 1 cores, 0 steps" in info.report()
    tf_embed.shutdown()


def test_runs_as_a_module():
    result = testing.run_python("""
        import runpy, sys
        sys.argv = ["tf_embed.info"]
        runpy.run_module("tf_embed.info", run_name="__main__")
    """)
    assert result.returncode == 0, result.stderr
    assert "\nwait for a batch: no limit\n" in result.stdout
