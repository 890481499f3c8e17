"""Tables with their optimizers and slot variables, for tests of updates."""

import tensorflow as tf

OPTIMIZERS = {
    "sgd": lambda: tf.tpu.experimental.embedding.SGD(0.1),
    "sgd_decayed_clipped": lambda: tf.tpu.experimental.embedding.SGD(
        0.1,
        clipvalue=0.5,
        weight_decay_factor=0.01,
        clip_weight_min=-0.2,
        clip_weight_max=0.3,
    ),
    "adagrad": lambda: tf.tpu.experimental.embedding.Adagrad(0.1),
    "adagrad_momentum": lambda: tf.tpu.experimental.embedding.AdagradMomentum(
        0.1, momentum=0.9, use_nesterov=True, beta2=0.9, epsilon=1e-5
    ),
    "ftrl": lambda: tf.tpu.experimental.embedding.FTRL(
        0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.1, beta=0.2
    ),
    "ftrl_multiplied": lambda: tf.tpu.experimental.embedding.FTRL(
        0.1, l1_regularization_strength=0.01, multiply_linear_by_learning_rate=True
    ),
    "adam": lambda: tf.tpu.experimental.embedding.Adam(0.1),
    "adam_eager_sum": lambda: tf.tpu.experimental.embedding.Adam(
        0.1, lazy_adam=False, sum_inside_sqrt=False
    ),
}


def update_case(rng, optimizer, vocabulary, dim=4):
    config = tf.tpu.experimental.embedding.TableConfig(
        vocabulary, dim, optimizer=OPTIMIZERS[optimizer](), name="t"
    )
    variables = {"t": {"parameters": tf.Variable(
        rng.normal(0, 0.3, [vocabulary, dim]), dtype=tf.float32)}}  # fmt: skip
    for name in config.optimizer._slot_names():
        variables["t"][name] = tf.Variable(
            rng.uniform(0.2, 1.0, [vocabulary, dim]), dtype=tf.float32
        )
    return config, variables
