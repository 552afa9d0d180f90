"""`mmrec serve`: a trained model behind OpenAI's API."""

import argparse
import dataclasses
import importlib.util
import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any

from mmrec_jax.commands.options import add_model_options, read_text_model, require_positive
from mmrec_jax.errors import UserError
from mmrec_jax.serve.limits import Limits

_SECONDS = 10  # that what is being written has to end in, after SIGTERM


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser("serve", help="a trained model behind OpenAI's API")
    add_model_options(parser)
    parser.add_argument("--adapter", help="as of mmrec generate")
    parser.add_argument("--name", help="of the model in requests; without it its folder's")
    parser.add_argument("--host", default="127.0.0.1", help="address; whoever reaches it may ask")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    for field in dataclasses.fields(Limits):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=int, default=field.default, help=field.metadata["comment"])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    names = [field.name for field in dataclasses.fields(Limits)]
    require_positive(options, *names)
    limits = Limits(**{name: getattr(options, name) for name in names})
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"mmrec serve needs {package}: pip install 'mmrec_jax[serve]'")
    import uvicorn

    from mmrec_jax.serve.app import create_app
    from mmrec_jax.serve.service import Service

    listening = _listen(options.host, options.port)
    trained = read_text_model(options)
    name = options.name or Path(options.workdir).name
    model = trained.model.build(), trained.params, trained.tokenizer
    service = Service(*model, name, limits)
    service.engine.start()
    host, port = listening.getsockname()[:2]
    if not ipaddress.ip_address(host).is_loopback:
        print(f"[{host}: whoever reaches this address may ask the model]", file=sys.stderr)
    print(f"{name}: http://{f'[{host}]' if ':' in host else host}:{port}/v1", flush=True)
    config = uvicorn.Config(
        create_app(service), log_level="warning", timeout_graceful_shutdown=_SECONDS
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise UserError(f"--port is {port}; it must be in 0 to {2**16 - 1:,}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}") from None
