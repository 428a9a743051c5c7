"""Several processes of one run: how they find each other, and what they agree on.

Each has its part of the devices of the mesh, and all run the same programs in the same
order. What they cannot know alike, such as a clock or a signal, the first decides for
all through the key-value store of `jax.distributed`, for which no device waits.
"""

import itertools
import os
from collections.abc import Callable
from threading import Timer
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from attn.errors import EXIT_FAILED, UserError
from attn.parallel.mesh import use_cpu_devices

T = TypeVar("T")

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""The environment of a process that is told its place, where no cluster tells it."""
CONNECT_SECONDS = 300
"""The time in which all processes must have found the coordinator."""
SHUTDOWN_SECONDS = 60
"""The time that the first process to be done waits for the others."""
ANSWER_MS = 24 * 3600 * 1000
"""The time to wait for other processes, whose end would be noticed long before."""
_KEPT = 1000
_decisions = itertools.count()


def connect(devices: int, *, local: bool = False) -> None:
    """Connects this process with the others of its run, if it has any.

    Its place is in the environment: in `VARIABLES`, or as a cluster says that jax knows
    (SLURM, Kubernetes, Cloud TPU, MPI). A CPU is divided so that all together have
    `devices`. Must precede the first use of any device.

    Args:
        local: whether all processes are on this machine, and divide its accelerators.

    Raises:
        UserError: the processes cannot have as many devices together.
    """
    place = _given() or _detected()
    if place is None:
        use_cpu_devices(devices)
        return
    address, count, index = place
    if devices % count:
        raise UserError(
            f"the mesh has {devices} devices, which {count} processes cannot share "
            f"equally; make it a multiple, as in --mesh data={count}"
        )
    each = devices // count
    use_cpu_devices(each)
    # Python's handlers of signals stay; programs in flight do not wait for each other.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    told = _given() is not None
    waiting = Timer(CONNECT_SECONDS, _give_up, (address, count, index))
    waiting.daemon = True
    waiting.start()
    jax.distributed.initialize(
        address if told else None,
        count if told else None,
        index if told else None,
        [index * each + i for i in range(each)] if local else None,
        "deactivate" if told else None,
        initialization_timeout=2 * CONNECT_SECONDS,  # jax would abort with a stack
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    waiting.cancel()
    # Gloo waits 30 s when devices first meet, so they meet before any is busy.
    multihost_utils.sync_global_devices("attn")
    _require_all(devices, count)


def _require_all(devices: int, count: int) -> None:
    """Raises `UserError` unless the mesh has all devices of all processes."""
    if jax.device_count() != devices:
        raise UserError(
            f"the mesh has {devices} devices, and {count} processes have "
            f"{jax.device_count()}; it must have all of them"
        )


def _given() -> tuple[str, int, int] | None:
    """The coordinator's address, the number of processes and that of this one."""
    there = [name for name in VARIABLES[1:] if name in os.environ]
    if not there:
        return None
    for name in VARIABLES:
        if name not in os.environ:
            raise UserError(f"{there[0]} is set and {name} is not; set both or none")
    try:
        count, index = (int(os.environ[name]) for name in VARIABLES[1:])
    except ValueError:
        count, index = 0, 0
    if not 0 <= index < count:
        said = ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES[1:])
        raise UserError(f"{said}: the one must be a number below the other")
    return os.environ[VARIABLES[0]], count, index


def _detected() -> tuple[str, int, int] | None:
    """The same, as a cluster says that runs several processes; None elsewhere."""
    # jax has no public function that asks without connecting.
    from jax._src.clusters import ClusterEnv

    for cluster in ClusterEnv._cluster_types:
        # jax warns in a pod that is no part of an indexed job.
        if (
            cluster.__name__ == "K8sCluster"
            and "JOB_COMPLETION_INDEX" not in os.environ
        ):
            continue
        if cluster.opt_in_only_method or not cluster.is_env_present():
            continue
        count = cluster.get_process_count()
        if count == 1:
            return None
        port = os.environ.get("JAX_COORDINATOR_PORT")
        address = os.environ.get(VARIABLES[0]) or cluster.get_coordinator_address(
            timeout_secs=CONNECT_SECONDS, override_coordinator_port=port
        )
        return address, count, cluster.get_process_id()
    return None


def _give_up(address: str, count: int, index: int) -> None:
    """Ends this process, whose main thread waits where no exception reaches it."""
    lost = "the others did not come to" if index == 0 else "no coordinator answers at"
    said = (
        f"failed: process {index} of {count}: {lost} {address} within "
        f"{CONNECT_SECONDS} s; see that all are started and reach it"
    )
    os.write(2, f"{said}\n".encode())
    os._exit(EXIT_FAILED)


def connected() -> bool:
    """Whether this process is one of several that have not left each other."""
    return _client() is not None


def leave() -> None:
    """Waits until all have come here, after which they are on their own."""
    jax.distributed.shutdown()


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def from_first(value: str) -> str:
    """The value that the first process has; all must call this together."""
    client = _client()
    if client is None:
        return value
    number = next(_decisions)
    if not is_first():
        return client.blocking_key_value_get(f"attn/{number}", ANSWER_MS)[1:]
    client.key_value_set(f"attn/{number}", f"={value}")
    if number >= _KEPT:
        client.key_value_delete(f"attn/{number - _KEPT}")
    return value


def any_said(word: str | None) -> str | None:
    """The word of any process, as soon as the first knows of it; the same in all."""
    client = _client()
    if client is None:
        return word
    if word and not is_first():
        client.key_value_set("attn/said/last", word, allow_overwrite=True)
    elif not word:
        word = dict(client.key_value_dir_get("attn/said")).get("attn/said/last")
    return from_first(word or "") or None


def in_turn(do: Callable[[], T]) -> T:
    """Calls `do` in the first process, then in the others; its `UserError` is for all."""
    if _client() is None:
        return do()
    if is_first():
        try:
            done = do()
        except UserError as error:
            from_first(str(error))
            raise
        from_first("")
    else:
        if refused := from_first(""):
            raise UserError(refused)
        done = do()
    meet()
    return done


def meet() -> None:
    """Waits until all have come here, as after a compilation that takes its time."""
    client = _client()
    if client is not None:
        client.wait_at_barrier(f"attn/{next(_decisions)}", ANSWER_MS)


def _client() -> Any:
    """The client of the key-value store; None in a process of its own."""
    from jax._src import distributed  # has no public name

    return distributed.global_state.client


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Lays out arrays that every process has whole; each hands over its own part."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, x.__getitem__), tree
    )


def fetch(array: jax.Array) -> np.ndarray:
    """The whole array, also where other processes have parts of it."""
    if not (array.is_fully_addressable or array.is_fully_replicated):
        whole = NamedSharding(jax.typeof(array).sharding.mesh, P())
        array = jax.jit(lambda x: x, out_shardings=whole)(array)
    return np.asarray(array)
