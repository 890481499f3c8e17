"""The Xla forms of Recv and Send inside one compiled function."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model


@pytest.fixture(autouse=True)
def no_engine_is_left():
    yield
    small_model.tear_down()


@pytest.mark.parametrize("version", ["", "V2"])
def test_ATicketTiesGradientsToTheirBatch(version):
    config = small_model.configured(small_model.feature_config())
    attrs = {"config": config.SerializeToString()}
    if version:
        attrs |= dict.fromkeys(
            ("embedding_partitions", "hbm_buffers_config", "tpu_topology"), b""
        )

    @tf.function(jit_compile=True, autograph=False)
    def two_steps():
        # The second batch is received before the first one's gradients are sent.
        tickets = [
            harness.op(f"XlaRecvTPUEmbeddingDeduplicationData{version}", **attrs)
            for _ in range(2)
        ]
        activations = [
            harness.op(
                f"XlaRecvTPUEmbeddingActivations{version}",
                deduplication_data=ticket,
                num_tables=3,
                **attrs,
            )
            for ticket in tickets
        ]
        for ticket in tickets:
            harness.op(
                f"XlaSendTPUEmbeddingGradients{version}",
                gradients=small_model.gradients(),
                learning_rates=small_model.LEARNING_RATES,
                deduplication_data=ticket,
                **attrs,
            )
        return activations

    for _ in range(2):
        small_model.enqueue("train")
    for activations in two_steps():
        for actual, expected in zip(
            activations, small_model.activations(), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)
    small_model.assert_tables(config, small_model.parameters_after(2), rtol=1e-6)
