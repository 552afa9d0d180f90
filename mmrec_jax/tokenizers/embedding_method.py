"""How the embedding row of a new token is made."""

from typing import Literal, get_args

Method = Literal["mean", "weighted", "average"]
METHODS: tuple[Method, ...] = get_args(Method)
