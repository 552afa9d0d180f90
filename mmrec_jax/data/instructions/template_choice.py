"""Which chat template a run uses."""

from collections.abc import Sequence
from pathlib import Path

from mmrec_jax.config import InstructionConfig
from mmrec_jax.data.chat_template import BUILT_IN, CHATML, PLAIN, ChatTemplate, read_template
from mmrec_jax.data.conversation import Conversation
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError


def choose_template(config: InstructionConfig, tokenizer: Tokenizer) -> ChatTemplate:
    """The template that the config names, or under "auto" the one that suits the tokenizer.

    Raises:
      UserError: the file is missing, no template, or was stored with another tokenizer.
    """
    if config.template != "auto":
        return _named(config.template, tokenizer.fingerprint)
    if tokenizer.chat_template is not None:
        return tokenizer.chat_template
    has_tokens = all(tokenizer.piece_to_id(name) is not None for name in CHATML.tokens)
    return CHATML if has_tokens else PLAIN


def training_texts(config: InstructionConfig, conversations: Sequence[Conversation]) -> list[str]:
    """What a tokenizer that is trained for these conversations must spell: template and messages.

    Raises:
      UserError: the template's file is missing or no template.
    """
    template = PLAIN if config.template == "auto" else _named(config.template, None)
    messages = [message.text for each in conversations for message in each.messages]
    return [*template.texts, *messages]


def _named(name: str, tokenizer: str | None) -> ChatTemplate:
    """The built-in template of this name, or the one in a file."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"config.instructions.template is {name!r}; it must be auto, "
            f"{', '.join(BUILT_IN)} or a JSON file"
        )
    return read_template(path, tokenizer)
