"""Which chat template a run uses."""

from collections.abc import Sequence
from pathlib import Path

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import BUILT_IN, CHATML, PLAIN, ChatTemplate, read_template
from mmrec_jax.tokenizers.conversation import Conversation
from mmrec_jax.tokenizers.tokenizer import Tokenizer


def choose_template(template: str, tokenizer: Tokenizer) -> ChatTemplate:
    """The template of this name, or under "auto" the one that suits the tokenizer.

    Raises:
      UserError: the file is missing, no template, or was stored with another tokenizer.
    """
    if template != "auto":
        return _named(template, tokenizer.fingerprint)
    if tokenizer.chat_template is not None:
        return tokenizer.chat_template
    has_tokens = all(tokenizer.piece_to_id(name) is not None for name in CHATML.tokens)
    return CHATML if has_tokens else PLAIN


def training_texts(template: str, conversations: Sequence[Conversation]) -> list[str]:
    """What a tokenizer that is trained for these conversations must spell: template and messages.

    Raises:
      UserError: the template's file is missing or no template.
    """
    chosen = PLAIN if template == "auto" else _named(template, None)
    messages = [message.text for each in conversations for message in each.messages]
    return [*chosen.texts, *messages]


def _named(name: str, tokenizer: str | None) -> ChatTemplate:
    """The built-in template of this name, or the one in a file."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"config.data.template is {name!r}; it must be auto, "
            f"{', '.join(BUILT_IN)} or a JSON file"
        )
    return read_template(path, tokenizer)
