"""Several processes find each other before JAX connects them.

JAX alone waits for minutes and then aborts with a stack dump, whatever is wrong. Here each process
says its number to the first that listens at the common address, which tells all of them at once
whether they are complete, or what is wrong. Then the port is free again, for JAX.
"""

import json
import select
import socket
import time
from typing import Any

from mmrec_jax.errors import UserError

_GREETING = b"mmrec_jax\n"
_GREETING_SECONDS = 5.0
_RETRY_SECONDS = 0.2


def meet(host: str, port: int, count: int, number: int, *, seconds: float) -> None:
    """Returns when `count` processes with different numbers have called this.

    `host` is that of process 0, `port` a free one there, `number` (from 0) this process's.

    Raises:
      UserError: in all processes: a number is taken, a count differs, a process ends meanwhile, or
        one does not come in time.
    """
    deadline = time.monotonic() + seconds
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"{host}: {error.strerror or error}") from None
    while time.monotonic() < deadline:
        try:
            server = _listen(family, address, port, number)
        except PermissionError as error:
            raise UserError(f"port {port}: {error.strerror}") from None
        except OSError:  # another process listens, or process 0 runs on another host
            server = None
        if server is not None:
            _lead(server, count, number, deadline)
            return
        try:
            connection = socket.create_connection((host, port), timeout=_GREETING_SECONDS)
        except OSError:
            time.sleep(_RETRY_SECONDS)
            continue
        with connection:
            _follow(connection, f"{host}:{port}", count, number, deadline)
            return
    raise UserError(f"nobody listened at {host}:{port} for {seconds:.0f} s: start process 0 there")


def _listen(family: int, address: Any, port: int, number: int) -> socket.socket:
    """A socket that listens on all interfaces of the host of process 0, where this is that host."""
    if number:  # process 0 need not know its own address: it may be that of a gateway
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _lead(server: socket.socket, count: int, number: int, deadline: float) -> None:
    members: dict[int, socket.socket | None] = {number: None}
    with server:
        error = _gather(server, members, count, deadline)
    answer = json.dumps({"error": error}).encode() + b"\n"
    for member in members.values():
        if member is not None:
            with member:
                try:
                    member.sendall(answer)
                except OSError:
                    continue  # it has ended
    if error:
        raise UserError(error)


def _gather(
    server: socket.socket, members: dict[int, socket.socket | None], count: int, deadline: float
) -> str:
    """Adds the other processes to `members`; returns what is wrong, "" where all have come."""
    while len(members) < count:
        connected = {member: number for number, member in members.items() if member is not None}
        ready, _, _ = select.select(
            [server, *connected], [], [], max(0.0, deadline - time.monotonic())
        )
        if not ready:
            missing = ", ".join(str(n) for n in range(count) if n not in members)
            return f"of {count} processes these have not come: {missing}"
        for member in ready:
            if member is not server:  # no process says a second thing: this one has ended
                return f"process {connected[member]} ended while the others were waited for"
        member, _ = server.accept()
        hello = _hello(member)
        if hello is None:  # another program
            member.close()
            continue
        number = hello["number"]
        taken = number in members
        members[-1 if taken else number] = member
        if hello["count"] != count:
            return f"one process expects {count} processes, another {hello['count']}"
        if taken:
            return f"two processes have the number {number}; give each its own, 0 to {count - 1}"
    return ""


def _hello(member: socket.socket) -> dict[str, int] | None:
    member.settimeout(_GREETING_SECONDS)
    try:
        member.sendall(_GREETING)
        hello = json.loads(_line(member))
        return {"number": int(hello["number"]), "count": int(hello["count"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _follow(
    connection: socket.socket, where: str, count: int, number: int, deadline: float
) -> None:
    try:
        greeting = _line(connection)
    except OSError:
        greeting = b""
    if greeting != _GREETING:
        raise UserError(f"another program listens at {where}: choose another port")
    try:
        connection.sendall(json.dumps({"count": count, "number": number}).encode() + b"\n")
        connection.settimeout(max(1.0, deadline - time.monotonic()))
        answer = _line(connection)
    except OSError:
        answer = b""
    if not answer:
        raise UserError(f"the process that listened at {where} ended; start all of them again")
    error = json.loads(answer)["error"]
    if error:
        raise UserError(error)


def _line(connection: socket.socket) -> bytes:
    """What comes up to a newline, or to the end; at most 4 KiB. The other side says one line."""
    with connection.makefile("rb") as stream:
        return stream.readline(4096)
