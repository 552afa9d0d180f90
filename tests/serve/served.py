"""A server in this process, on a port of the loopback, and what asks it."""

import contextlib
import http.client
import json
import threading
import time

from mmrec_jax.serve.limits import Limits
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from tests.families import small


@contextlib.contextmanager
def served(family="gru", **limits):
    """The port of a server of a small model, and its service."""
    import uvicorn

    from mmrec_jax.serve.app import create_app
    from mmrec_jax.serve.service import Service

    tokenizer = ByteTokenizer()
    tokenizer.chat_template = PLAIN
    service = Service(*small(family), tokenizer, "small", Limits(**limits))
    service.engine.start()
    config = uvicorn.Config(create_app(service), port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1], service
    finally:
        server.should_exit = True
        thread.join()


def ask(port, path, body=None):
    """Status and text of the response to a body, which is JSON if it is a dict."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
    with contextlib.closing(connection):
        if body is None:
            connection.request("GET", path)
        else:
            raw = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request("POST", path, raw, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def answer(port, path, **body):
    """The JSON of a response that is a success."""
    status, text = ask(port, path, body)
    assert status == 200, text
    return json.loads(text)


def events(port, path, **body):
    """The JSON of the events of a stream that is complete."""
    status, text = ask(port, path, {**body, "stream": True})
    assert status == 200, text
    *lines, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]
