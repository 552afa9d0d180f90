"""Processes that look for each other, as threads."""

import contextlib
import socket
import threading
import time

import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.train.rendezvous import meet


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _visit(port, said=b""):
    """A connection to whoever listens at the port, once somebody does."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(said)
            return connection


def _meet(*members, port=None, seconds=20.0, visitor=None):
    """What each of the members (count, number) is told; "" for one that has met the others.

    `visitor(port)` is called once the first of them listens.
    """
    port, told = port or _free_port(), {}

    def member(index, count, number):
        try:
            meet("127.0.0.1", port, count, number, seconds=seconds)
            told[index] = ""
        except UserError as error:
            told[index] = str(error)

    threads = [
        threading.Thread(target=member, args=(index, *each)) for index, each in enumerate(members)
    ]
    for thread in threads:
        thread.start()
        if visitor:
            visitor(port)
            visitor = None
    for thread in threads:
        thread.join()
    return [told[index] for index in range(len(members))]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_all_have_come_and_the_port_is_free_again(order):
    port = _free_port()
    assert _meet(*((3, number) for number in order), port=port) == ["", "", ""]
    with socket.create_server(("127.0.0.1", port)):  # as JAX does next
        pass


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([(2, 0), (2, 0)], "number 0"),
        ([(2, 1), (2, 1)], "number 1"),
        ([(3, 0), (3, 1), (3, 1)], "number 1"),
        ([(2, 0), (3, 1)], "3"),
    ],
)
def test_what_is_wrong_is_told_to_all_at_once(members, named):
    begin = time.monotonic()
    told = _meet(*members, visitor=lambda port: _visit(port).close())
    assert all(named in message for message in told)
    assert time.monotonic() - begin < 10


def test_those_who_do_not_come_are_named_and_strangers_are_not_counted():
    assert "0, 2" in _meet((3, 1), seconds=0.5)[0]
    stranger = []
    said = b"GET / HTTP/1.1\r\n\r\n"
    told = _meet((2, 0), seconds=2, visitor=lambda port: stranger.append(_visit(port, said)))
    assert "1" in told[0]


def test_one_that_ends_meanwhile_ends_all():
    def come_and_go(port):
        with _visit(port, b'{"count": 3, "number": 2}\n'):
            time.sleep(0.2)

    (told,) = _meet((3, 0), visitor=come_and_go)
    assert "2" in told


def test_another_program_or_no_address_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UserError, match=str(port)):
            meet("127.0.0.1", port, 2, 1, seconds=20)
        thread.join()
    with pytest.raises(UserError, match=r"no-such-host\.invalid"):
        meet("no-such-host.invalid", 1234, 2, 1, seconds=20)
