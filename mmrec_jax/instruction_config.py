"""The part of the config that says how conversations are read and written."""

import dataclasses
from typing import Literal

from mmrec_jax.config_check import require


@dataclasses.dataclass(frozen=True)
class InstructionConfig:
    """Where a line keeps its prompt and response, and what becomes of them.

    Read only when `data.source` is "instructions" or "treebank_instructions".
    """

    # The two fields of a JSON line that hold the prompt and the response. Empty: the line has one
    # of the common shapes (data/instructions/record.py).
    prompt_field: str = ""
    response_field: str = ""
    # "plain" (headers in words, works with every tokenizer), "chatml" (needs its two tokens) or a
    # JSON file (data/chat_template.py). "auto": the one that came with the tokenizer, or else
    # chatml where the tokenizer has the tokens, or else plain.
    template: str = "auto"
    # An example of more than data.seq_len tokens: "drop" leaves it out, "truncate" cuts its prompts
    # from the left, and leaves it out if that is not enough; "error" refuses the data.
    overlong: Literal["drop", "truncate", "error"] = "drop"

    def __post_init__(self) -> None:
        require(
            bool(self.prompt_field) == bool(self.response_field),
            "instructions.response_field" if self.prompt_field else "instructions.prompt_field",
            "",
            "the name of a field: name both the prompt's and the response's, or neither",
        )
        require(bool(self.template), "instructions.template", self.template, "a name or a file")
