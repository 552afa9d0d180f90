"""The processes of a run: one, or one for each host."""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mmrec_jax.errors import UserError
from mmrec_jax.train.interrupt import exit_now
from mmrec_jax.train.rendezvous import meet

_PATIENCE = 3600  # seconds, while the first process trains a tokenizer, say
_JOIN = 300  # seconds for all processes to be started
_CONNECT = 60  # seconds for JAX to connect those that are there
_HEARTBEAT = 10  # seconds of silence after which a process counts as dead
_SHUTDOWN = 30  # seconds to wait at the end for the others to end
_LOCATION = re.compile(
    r"(?P<host>[^,]+):(?P<port>[0-9]{1,9}),(?P<count>[0-9]{1,9}),(?P<number>[0-9]{1,9})"
)
_LOST_PEER = re.compile(r"Gloo|Connection (reset|closed)|coordination service|heartbeat", re.I)
_LEAST_GATHERED = 1024  # bytes


def init_distributed(where: str) -> None:
    """Connects the processes of the run; call it before JAX has started.

    Args:
      where: "auto" on a cluster that JAX knows (TPU pods, Slurm, Kubernetes), else
        "ADDRESS:PORT,COUNT,NUMBER": where the first process listens, how many there are, and which
        of them this one is, from 0.

    Raises:
      UserError: `where` is neither, there is no such cluster, or the others are not as it says.
    """
    # JAX would take SIGTERM for itself, and only note it.
    jax.config.update("jax_enable_preemption_service", False)
    found = _LOCATION.fullmatch(where)
    port, count, number = (
        (int(found[n]) for n in ("port", "count", "number")) if found else (0,) * 3
    )
    if where != "auto" and not (0 < port < 2**16 and 0 <= number < count):
        raise UserError(
            f'--distributed is {where}; it must be "auto" or ADDRESS:PORT,COUNT,NUMBER, such as '
            "10.0.0.1:1234,2,0 for the first of two processes and 10.0.0.1:1234,2,1 for the other "
            "(a port is at most 65535)"
        )
    _filter_fatal_errors()
    timeouts: Any = {"heartbeat_timeout_seconds": _HEARTBEAT, "shutdown_timeout_seconds": _SHUTDOWN}
    try:
        if found:
            address = f"{found['host']}:{port}"
            print(f"process {number} of {count} looks for {address}", flush=True)
            meet(found["host"].strip("[]"), port, count, number, seconds=_JOIN)
            jax.distributed.initialize(
                address, count, number, initialization_timeout=_CONNECT, **timeouts
            )
        else:
            jax.distributed.initialize(initialization_timeout=_JOIN, **timeouts)
    except (UserError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "" if found else " Or say ADDRESS:PORT,COUNT,NUMBER"
        raise UserError(f"--distributed={where}: {reason}{remedy}") from None


# Passes on what native code writes to standard error. What the coordination service says is held
# back until it is known whether JAX aborts: if so, one line is left of it and of the stack dump.
_FILTER = r"""
import re, sys
held = b""
for line in sys.stdin.buffer:
    entry = re.match(rb"[IWEF]\d{4} \S+ +\d+ (\S+):\d+\]", line)
    ours = entry and re.match(rb"coordination_service|client\.h", entry[1])
    if ours and line.startswith(b"F"):
        held = b"error: " + sys.argv[1].encode() + b"\n"
        break
    if ours or (held and not entry):
        held += line
        continue
    sys.stderr.buffer.write(held + line)
    sys.stderr.flush()
    held = b""
sys.stderr.buffer.write(held)
sys.stderr.flush()
sys.stdin.buffer.read()
"""
_LOST = (
    "another process of this run has ended or cannot be reached; its own output says why. The same "
    "commands continue from the last checkpoint"
)


def _filter_fatal_errors() -> None:
    """Passes native code's standard error, but not Python's, through `_FILTER`.

    A process of its own, since what it waits for is the end of this one.
    """
    python = os.dup(2)
    filtering = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER, _LOST],
        stdin=subprocess.PIPE,
        start_new_session=True,  # it must outlive a Ctrl-C
    )
    assert filtering.stdin is not None
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    sys.stderr.flush()
    sys.stderr = open(  # noqa: SIM115  (lives as long as the process)
        python, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    )


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends one of several processes with its error and nothing else.

    JAX would first wait for the others, while they wait for this one.
    """
    try:
        yield
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else 1
        if not jax.distributed.is_initialized() or not status:
            raise
        if _LOST_PEER.search(str(error)):
            print(f"error: {_LOST}", file=sys.stderr)
        elif not isinstance(error, SystemExit):
            traceback.print_exc()
        exit_now(status if isinstance(status, int) else 1)


def is_process_zero() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns when all processes have come here; no device is needed for it."""
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=_PATIENCE * 1000)


@contextlib.contextmanager
def process_zero_first(name: str) -> Iterator[None]:
    """The first process does what follows, then all others do: they find what it has written.

    What it refuses, the others refuse too. All go on together.
    """
    if not is_process_zero():
        barrier(name)
    try:
        yield
    finally:
        if is_process_zero():
            barrier(name)
    barrier(f"{name}, all")


def require_same(value: str, complaint: str) -> None:
    """Raises `UserError` with `complaint` in all processes unless all call this with one value."""
    if len({each["value"] for each in gather({"value": value})}) > 1:
        raise UserError(complaint)


def require_shared(folder: Path, option: str) -> None:
    """Refuses, in all processes, a folder that is another one in another process."""
    if jax.process_count() == 1:
        return
    mark = folder / ".processes"
    if is_process_zero():
        mark.write_text(secrets.token_hex())
    barrier("mark written")
    seen = mark.read_text() if mark.exists() else ""
    complaint = f"{option} {folder} is not one folder for all processes; name one that they share"
    try:
        require_same(seen, complaint)
    finally:
        if is_process_zero():
            mark.unlink()


def all_reduce_max(number: int) -> int:
    """The largest of the numbers that the processes call this with."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def gather(value: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process calls this with, in their order; it is fit for JSON."""
    if jax.process_count() == 1:
        return [value]
    data = json.dumps(value).encode()
    # A power of two: each size is a program that is compiled. Spaces mean nothing in JSON.
    size = max(_LEAST_GATHERED, 1 << (all_reduce_max(len(data)) - 1).bit_length())
    rows = multihost_utils.process_allgather(np.frombuffer(data.ljust(size), np.uint8))
    return [json.loads(row.tobytes()) for row in rows]


def fetch(tree: Any) -> Any:
    """Arrays sharded over the devices of all processes, whole and on the host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
