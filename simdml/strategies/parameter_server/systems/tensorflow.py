"""TensorFlow's parameter servers.

Variables are placed in turn over the servers, whatever their size (tensorflow/python/training/device_setter.py). The
seconds are estimates: a gRPC call takes 0.1 to 0.5 ms, and one TCP connection does not fill a fast NIC.
"""

from __future__ import annotations

from simdml.strategies.parameter_server.systems.system import System
from simdml.strategies.strategy import Strategy

_GRPC: dict[str, object] = {
    "per_message": "200 us",
    "connection": "10 Gbps",
    "server_rate": "8 GB/s",
    "server_per_message": "50 us",
}
_BETWEEN_GRAPH: dict[str, object] = {"placement": "round_robin", "fetch": "at_start", "barrier": False} | _GRPC
_SETTER = "tensorflow/python/training/device_setter.py (replica_device_setter)"

DISTRIBUTED_REPLICATED = System(
    Strategy(
        "tensorflow_distributed_replicated",
        "tf_cnn_benchmarks --variable_update=distributed_replicated",
        "synchronous servers beside the workers; the GPUs of a node sum first and keep copies of the variables",
        models=(
            "Gradients summed by peer copies on the GPUs of a node, and sent when the whole backward is done.",
            "Pushes, updates on the server and pulls per variable; every variable whole on one server, in turn.",
        ),
        leaves_out=("The queue runners' own threads.",),
        sources=("tensorflow/benchmarks, scripts/tf_cnn_benchmarks/variable_mgr.py", _SETTER),
        defaults={
            "location": "colocated",
            "consistency": "bsp",
            "placement": "round_robin",
            "local_aggregation": True,
            "overlap": False,
        }
        | _GRPC,
    )
)

LOCAL = System(
    Strategy(
        "tensorflow_parameter_server",
        "tf_cnn_benchmarks --variable_update=parameter_server --local_parameter_device=cpu",
        "synchronous servers on the CPUs of one machine: every GPU fetches variables and hands gradients to the host",
        models=(
            "Variables fetched at the start of a step, each layer waiting for its own; the CPU sums over the GPUs.",
            "Eight threads of the runtime sum and update (an assumption); no messages, as all is one process.",
        ),
        leaves_out=("Variables on a GPU (--local_parameter_device=gpu).",),
        sources=("tensorflow/benchmarks, scripts/tf_cnn_benchmarks/variable_mgr.py", _SETTER),
        defaults={
            "location": "colocated",
            "consistency": "bsp",
            "placement": "round_robin",
            "fetch": "at_start",
            "barrier": False,
            "server_rate": "8 GB/s",
            "server_threads": 8,
        },
    )
)

TENSORFLOW1 = System(
    Strategy(
        "tensorflow1",
        "TensorFlow 1: between-graph replication, ParameterServerStrategyV1",
        "asynchronous: every worker fetches variables as its step needs them, and servers apply gradients as they come",
        models=(
            "Variables fetched at the start of a step, each layer waiting for its own; one gradient a message.",
            "Updates without locks (use_locking=False), so that two of one variable may overlap.",
        ),
        leaves_out=(
            "Sparse updates; the order in which the runtime happens to fetch variables (taken: forward order).",
        ),
        sources=(_SETTER, "tensorflow/python/distribute/parameter_server_strategy.py"),
        defaults={"consistency": "asynchronous", "key_lock": False} | _BETWEEN_GRAPH,
    )
)

TENSORFLOW1_SYNC = System(
    Strategy(
        "tensorflow1_sync",
        "TensorFlow 1: SyncReplicasOptimizer",
        "synchronous with backup workers: a step takes the first gradients of each variable and drops late ones",
        models=(
            "A global step: gradients of earlier ones are dropped, and a worker begins when its step is over.",
            "backup_workers more workers than replicas_to_aggregate; none by default.",
        ),
        leaves_out=("Tokens of steps that are over, which the token queue may hand out.",),
        sources=("tensorflow/python/training/sync_replicas_optimizer.py", "Chen et al., arXiv 1604.00981"),
        defaults={"consistency": "backup", "backup_workers": 0} | _BETWEEN_GRAPH,
    )
)

TENSORFLOW2 = System(
    Strategy(
        "tensorflow2",
        "TensorFlow 2: ParameterServerStrategyV2",
        "asynchronous: a coordinator hands functions to workers, which fetch variables and push gradients",
        models=("Variables in turn over the servers, every shard counting; fetched as the function needs them.",),
        leaves_out=("The coordinator's dispatch of functions, and that failed ones run again elsewhere.",),
        sources=(
            "tensorflow/python/distribute/parameter_server_strategy_v2.py",
            "tensorflow/python/distribute/sharded_variable.py (partition: fixed, min_size, max_size)",
        ),
        defaults={"consistency": "asynchronous", "key_lock": False} | _BETWEEN_GRAPH,
    )
)
