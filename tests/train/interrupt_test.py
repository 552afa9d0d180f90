import os
import signal
import threading

import pytest

from mmrec_jax.train.interrupt import Interrupt


def test_without_a_signal_nothing_happens():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert interrupt.received is None
    assert interrupt.exit_status == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_the_first_signal_is_only_noted(number, status):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.received == number
    assert interrupt.exit_status == status


def test_the_second_signal_acts_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _receive_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def _receive_twice():
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.received == signal.SIGTERM


def test_outside_the_main_thread_it_does_nothing():
    statuses = []

    def work():
        with Interrupt() as interrupt:
            statuses.append(interrupt.exit_status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert statuses == [0]
