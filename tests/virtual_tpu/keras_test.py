"""Keras, checkpoints and export."""

import numpy as np
import tensorflow as tf
from vtpu_testing import CORES, strategy


def data():
    random = np.random.default_rng(3)
    x = random.normal(size=(16 * CORES, 4)).astype(np.float32)
    y = (x.sum(axis=1, keepdims=True) > 0).astype(np.float32)
    return x, y


def model():
    tf.keras.utils.set_random_seed(5)
    with strategy().scope():
        net = tf.keras.Sequential(
            [
                tf.keras.Input((4,)),
                tf.keras.layers.Dense(8, "relu"),
                tf.keras.layers.BatchNormalization(),
                tf.keras.layers.Dense(1),
            ]
        )
        net.compile("adam", "mse", metrics=["mae"], steps_per_execution=2)
    return net


def dataset():
    return tf.data.Dataset.from_tensor_slices(data()).batch(
        4 * CORES, drop_remainder=True
    )


def test_fit_evaluate_predict():
    net = model()
    history = net.fit(dataset(), epochs=12, verbose=0).history["loss"]
    assert history[-1] < history[0]
    loss, mae = net.evaluate(dataset(), verbose=0)
    assert 0.0 < loss < history[0] * 2
    assert mae > 0.0
    assert net.predict(data()[0], verbose=0, batch_size=4 * CORES).shape == (
        16 * CORES,
        1,
    )


def test_checkpoint(tmp_path):
    with strategy().scope():
        v = tf.Variable([1.0, 2.0])
    checkpoint = tf.train.Checkpoint(v=v)
    path = checkpoint.save(str(tmp_path / "x"))
    v.assign([5.0, 6.0])
    checkpoint.restore(path)
    for value in v.values:
        np.testing.assert_array_equal(value.numpy(), [1.0, 2.0])


def test_preemption_handler_finds_no_preemption(tmp_path, monkeypatch):
    # Its question whether this is Google's cloud is answered at once.
    monkeypatch.setenv("GCE_METADATA_IP", "127.0.0.1:1")
    with strategy().scope():
        v = tf.Variable(1.0)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(v=v), str(tmp_path), max_to_keep=1
    )
    handler = tf.distribute.experimental.PreemptionCheckpointHandler(
        strategy().cluster_resolver, manager
    )

    @tf.function
    def step():
        return strategy().run(replica_step)

    def replica_step():
        return v + 1.0

    with handler.watch_preemption_scope():
        result = handler.run(step)
    assert [r.numpy() for r in result.values] == [2.0] * CORES
    handler.save_checkpoint_if_preempted()
    assert manager.checkpoints == []


def test_asynchronous_checkpoint(tmp_path):
    with strategy().scope():
        v = tf.Variable([1.0, 2.0])
    checkpoint = tf.train.Checkpoint(v=v)
    options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)
    path = checkpoint.save(str(tmp_path / "x"), options)
    v.assign([5.0, 6.0])
    checkpoint.sync()
    checkpoint.restore(path)
    np.testing.assert_array_equal(v.numpy(), [1.0, 2.0])


def test_saved_model(tmp_path):
    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec([None])])
        def __call__(self, x):
            return self.w * x

    with strategy().scope():
        module = Module()
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded(tf.constant([1.0, 2.0])), [3.0, 6.0])
