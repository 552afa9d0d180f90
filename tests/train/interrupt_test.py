import os
import random
import signal
import sys
import threading
import time

import pytest

from mmrec_jax.train.interrupt import Interrupt
from tests.small_run import command, flags, started

_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", _STATUS)
def test_the_first_signal_is_only_noted_and_the_second_acts_at_once(number):
    before = {each: signal.signal(each, signal.default_int_handler) for each in _STATUS}
    try:
        with Interrupt() as interrupt:
            assert (interrupt.received, interrupt.exit_status) == (None, 0)
            os.kill(os.getpid(), number)
            assert interrupt.received == number
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.exit_status == _STATUS[number]
        with Interrupt():
            assert signal.getsignal(number) != signal.default_int_handler
        assert signal.getsignal(number) == signal.default_int_handler
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_outside_the_main_thread_it_does_nothing():
    statuses = []

    def work():
        with Interrupt() as interrupt:
            statuses.append(interrupt.exit_status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert statuses == [0]


# Says where it is, and then stays in native code, where no handler of Python's is called.
_BUSY = """
import ctypes, os, sys
from mmrec_jax.train.interrupt import Interrupt, exit_on_signal
libc = ctypes.CDLL(None)
exit_on_signal()
if sys.argv[1] == "before":
    print("not flushed", end="")
    os.write(1, b"ready\\n")
    while True:
        libc.usleep(1_000_000_000)
with Interrupt() as interrupt:
    print("ready", flush=True)
    while interrupt.received is None:
        libc.usleep(10_000)
    print(interrupt.exit_status, flush=True)
    while True:
        libc.usleep(1_000_000_000)
"""


@pytest.mark.parametrize(
    ("number", "when"), [(signal.SIGINT, "before"), (signal.SIGTERM, "inside")]
)
def test_a_signal_ends_a_process_that_is_in_native_code(number, when):
    with started([sys.executable, "-c", _BUSY, when], PYTHONUNBUFFERED="") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        if when == "inside":  # the first one is noted, the second one acts
            assert process.stdout.readline() == f"{_STATUS[number]}\n"
            assert process.poll() is None
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == _STATUS[number]
    assert out == ("not flushed" if when == "before" else "")
    assert err == "interrupted\n"


def _interrupt_training(folder, number, seconds):
    """The status of a run that compiles everything anew, with a signal after so many seconds."""
    options = flags(train__steps=100_000, train__sample_tokens=0)
    with started(command(folder, *options), JAX_ENABLE_COMPILATION_CACHE="false") as process:
        time.sleep(seconds)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode


def test_a_run_that_compiles_ends_with_the_status_of_the_signal(tmp_path):
    assert _interrupt_training(tmp_path, signal.SIGINT, 3.0) == 130


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_twenty_signals_at_random_moments(tmp_path):
    choose = random.Random(0)
    for number in [signal.SIGINT, signal.SIGTERM] * 10:
        status = _interrupt_training(tmp_path, number, choose.uniform(0.3, 15))
        assert status == _STATUS[number]
