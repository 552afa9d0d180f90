import contextlib
import importlib.util
import signal
import socket
import sys

import pytest

from tests.refused import mistake
from tests.serve.served import answer, ask
from tests.small_run import started, trained

_MISSING = any(importlib.util.find_spec(each) is None for each in ("fastapi", "uvicorn"))
_NEEDED = pytest.mark.skipif(_MISSING, reason="the extra serve is not installed")


def test_an_extra_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'mmrec_jax[serve]'" in mistake(capsys, "serve", "--workdir=nothing")


@_NEEDED
def test_what_is_wrong_is_said_before_the_model_is_read(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = {
            "--slots=0": "--slots is 0",
            f"--port={port}": f"--port {port}",
            "--port=99999": "--port is 99999",
            "--host=no.such.host.invalid": "--host no.such.host.invalid",
        }
        for flag, said in wrong.items():
            assert said in mistake(capsys, "serve", f"--workdir={trained()}", flag)


@contextlib.contextmanager
def _serving(*flags):
    """A process that serves the small run, and its port."""
    code = "import sys; from mmrec_jax.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", f"--workdir={trained()}", "--port=0", *flags]
    with started(command) as process:
        name, url = process.stdout.readline().split()
        assert name == "trained:"
        yield process, int(url.removesuffix("/v1").rpartition(":")[2])


@_NEEDED
@pytest.mark.soak
def test_a_server_that_was_killed_is_started_again_and_ends_in_order():
    body = {"prompt": "göl", "temperature": 0, "max_tokens": 12}
    with _serving("--slots=2") as (process, port):
        expected = answer(port, "/v1/completions", **body)["choices"]
        process.kill()
        process.wait()
    with _serving("--slots=2", "--name=trained") as (process, port):
        assert answer(port, "/v1/completions", **body)["choices"] == expected
        assert ask(port, "/health")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
