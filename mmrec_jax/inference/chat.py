"""Responses from a model that was trained on conversations."""

from collections.abc import Sequence
from typing import Any

from mmrec_jax.data.conversations.encoder import ChatEncoder
from mmrec_jax.errors import UserError
from mmrec_jax.inference.generate import generate
from mmrec_jax.inference.prefill import TextState
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer


def reply(
    model: LanguageModel,
    params: Params,
    tokenizer: Tokenizer,
    messages: str | Sequence[Message],
    *,
    state: TextState | None = None,
    **options: Any,
) -> list[str]:
    """What the model responds, as the assistant, under the template kept with its tokenizer.

    `messages`, one of the user or several in turns, begin a conversation, or go on with the one of
    `state` (`on_state` of the call before, or a saved state), which ended with a response. The
    options are those of `generate`; a response ends at the template's end-of-turn token, or at the
    end of the document, unless `stop_at_end` is False. Returns one response per sample.

    Raises:
      UserError: the tokenizer has no template, or cannot spell a message.
    """
    encoder = chat_encoder(tokenizer)
    if isinstance(messages, str):
        messages = [Message("user", messages)]
    ids = encoder.question(messages, continued=state is not None)
    stops = response_ends(encoder)
    return generate(model, params, tokenizer, ids, state=state, stops=stops, **options)


def response_ends(encoder: ChatEncoder) -> tuple[int, ...]:
    """The tokens at which a response ends: those of the template and those of the model."""
    return tuple(dict.fromkeys((*encoder.stops, *encoder.tokenizer.stop_ids)))


def chat_encoder(tokenizer: Tokenizer) -> ChatEncoder:
    """The encoder of the template that is kept with a tokenizer; `UserError` if there is none."""
    if tokenizer.chat_template is None:
        raise UserError(
            "this model has no chat template: it was not trained on conversations "
            "(config.data.source instructions or treebank_instructions)"
        )
    return ChatEncoder(tokenizer.chat_template, tokenizer)
