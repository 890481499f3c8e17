"""Variables of every synchronization and aggregation, as MirroredStrategy has them."""

import json

from vtpu_testing import run_program

PROGRAM = """
import itertools, json
import tensorflow as tf
import tf_embed

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
tf.tpu.experimental.initialize_tpu_system(resolver)
strategies = {
    "tpu": tf.distribute.TPUStrategy(resolver),
    "mirrored": tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]),
}
SYNC, AGG = tf.VariableSynchronization, tf.VariableAggregation
cases = itertools.product(
    [SYNC.AUTO, SYNC.ON_WRITE, SYNC.ON_READ],
    [AGG.NONE, AGG.SUM, AGG.MEAN, AGG.ONLY_FIRST_REPLICA],
    ["assign", "assign_add", "assign_sub"],
)

def outcome(strategy, sync, agg, method):
    with strategy.scope():
        v = tf.Variable([1.0, 5.0], synchronization=sync, aggregation=agg)

    @tf.function
    def step():
        def fn():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for _ in range(2):
                getattr(v, method)([2.0, 0.5] * tf.cast(replica + 3, tf.float32))
            return v.read_value()
        return strategy.run(fn)

    try:
        inside = strategy.experimental_local_results(step())
        after = strategy.experimental_local_results(v)
        if sync == SYNC.ON_READ and agg == AGG.NONE:
            whole = None  # nothing says how to read it
        else:
            whole = v.read_value().numpy().tolist()
        return [[x.numpy().tolist() for x in inside],
                [x.numpy().tolist() for x in after], whole]
    except (ValueError, NotImplementedError) as error:
        return type(error).__name__

found = {name: [] for name in strategies}
for case in cases:
    for name, strategy in strategies.items():
        found[name].append([str(case), outcome(strategy, *case)])
print("FOUND", json.dumps(found))
"""


def test_same_as_mirrored():
    done = run_program(PROGRAM, cores=2)
    assert done.returncode == 0, done.stderr
    line = next(x for x in done.stdout.splitlines() if x.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    assert found["tpu"] == found["mirrored"]
    assert sum(isinstance(result, list) for _, result in found["tpu"]) >= 24
