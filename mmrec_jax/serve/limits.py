"""What a server allows; a field is an option of `mmrec serve`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Each is at least 1."""

    slots: int = 32  # samples written at once
    max_waiting: int = 128  # requests that wait for a slot; another one is refused with status 429
    max_prompt: int = 8192  # tokens of a prompt
    max_tokens: int = 4096  # that a request may ask for
    max_body_kb: int = 1024  # of a request
    state_mb: int = 256  # of the states of conversations, the least recently used of which go first
