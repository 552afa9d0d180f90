"""Conversations in `transformers`: the same tokens, prompts and masks (extra `parity`)."""

import numpy as np
import pytest

from mmrec_jax.data.conversations.encoder import ChatEncoder
from mmrec_jax.tokenizers.cache import read_tokenizer_file
from mmrec_jax.tokenizers.chat_template import CHATML, ChatTemplate
from mmrec_jax.tokenizers.conversation import Conversation, Message
from tests.tokenizers.small_base import write_base

transformers = pytest.importorskip(
    "transformers", reason="needs the extra parity: pip install '.[parity]'"
)

_BLOCKS = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{ message.content | trim + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
_TURNS = [
    ("system", "Kısa yanıtla."),
    ("user", "göl nedir? 12 < 3"),
    ("assistant", "Bir su, the cat's.\n"),
    ("user", "deniz?\n\nAçıkla."),
    ("assistant", "Tuzlu su: göl gibi."),
]


@pytest.mark.parametrize("source", [CHATML.source, _BLOCKS], ids=["chatml", "blocks"])
def test_tokens_prompts_and_masks_are_the_same(tmp_path, source):
    path = write_base(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path), eos_token="<|endoftext|>", chat_template=source
    )
    ours = ChatEncoder(ChatTemplate("x", source), read_tokenizer_file(path, ""))
    turns = [{"role": role, "content": text} for role, text in _TURNS]
    messages = tuple(Message(role, text) for role, text in _TURNS)
    spans = ours.conversation(Conversation("f:1", messages))
    ids = np.concatenate([span.ids for span in spans]).tolist()
    found = theirs.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=source == _BLOCKS
    )
    newline = theirs("\n")["input_ids"]  # behind the last turn, which ends the example here
    assert ids + newline == found["input_ids"]
    if source == _BLOCKS:
        learnt = [span.trained for span in spans for _ in span.ids]
        assert [*learnt, False] == [bool(each) for each in found["assistant_masks"]]
    asked = theirs.apply_chat_template(turns[:2], add_generation_prompt=True)["input_ids"]
    assert ours.question(messages[:2]).tolist() == asked
