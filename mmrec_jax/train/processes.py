"""The processes of a run: one, or one for each host."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mmrec_jax.errors import UserError

_PATIENCE = 3600  # seconds, while the first process trains a tokenizer, say


def join(where: str) -> None:
    """Finds the other processes of the run; call it before JAX has started.

    Args:
      where: "auto" on a cluster that JAX knows (TPU pods, Slurm, Open MPI, Kubernetes), else
        "ADDRESS:PORT,COUNT,NUMBER": where the first process listens, how many there are, and which
        of them this one is, from 0.

    Raises:
      UserError: `where` is neither, or the others cannot be found.
    """
    try:
        if where == "auto":
            jax.distributed.initialize()
            return
        address, count, number = where.split(",")
        jax.distributed.initialize(address, int(count), int(number))
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f'--distributed={where}: {reason}; it is "auto" or ADDRESS:PORT,COUNT,NUMBER, such as '
            "10.0.0.1:1234,2,0 for the first of two processes"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when all processes have come here."""
    if jax.process_count() > 1:
        ocp.multihost.sync_global_processes(name, timeout=_PATIENCE)


@contextlib.contextmanager
def first_before_others(name: str) -> Iterator[None]:
    """The first process does what follows, then all others do: they find what it has written.

    What it refuses, the others refuse too.
    """
    if not is_first():
        wait_for_all(name)
    try:
        yield
    finally:
        if is_first():
            wait_for_all(name)


def largest(number: int) -> int:
    """The largest of the numbers that the processes call this with."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def gather(value: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process calls this with, in their order; it is fit for JSON."""
    if jax.process_count() == 1:
        return [value]
    data = json.dumps(value).encode()
    padded = np.frombuffer(data.ljust(largest(len(data))), np.uint8)  # spaces mean nothing in JSON
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


def fetch(tree: Any) -> Any:
    """Arrays that lie spread over the devices of all processes, whole and on the host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def local_copy(tree: Any) -> Any:
    """Arrays that every device has, on the first device of this process."""

    def own(array: jax.Array) -> jax.Array:
        assert array.is_fully_replicated
        return array.addressable_data(0)

    return jax.tree.map(own, tree)
