"""What a server allows; a field is an option of `mmrec serve`."""

import dataclasses

from mmrec_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class Limits(Settings):
    """Each is at least 1."""

    slots: int = setting(32, "samples written at once")
    max_waiting: int = setting(128, "requests that may wait for a slot; more get status 429")
    max_prompt: int = setting(8192, "tokens of a prompt")
    max_tokens: int = setting(4096, "that a request may ask for")
    max_body_kb: int = setting(1024, "of a request")
    state_mb: int = setting(256, "for the states of conversations that may go on")
