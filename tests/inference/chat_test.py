import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.inference import chat
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from mmrec_jax.tokenizers.conversation import Message


@pytest.fixture
def calls(monkeypatch):
    """What `generate` was called with."""
    found = []

    def generate(model, params, tokenizer, prompt, **options):
        found.append((prompt.tolist(), options))
        return ["yes"]

    monkeypatch.setattr(chat, "generate", generate)
    return found


def test_messages_are_written_as_the_template_of_the_tokenizer_says(calls):
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = PLAIN
    messages = [Message("system", "ol"), Message("user", "göl")]
    assert chat.reply("model", "params", tokenizer, "göl", max_tokens=5) == ["yes"]
    chat.reply("model", "params", tokenizer, messages)
    chat.reply("model", "params", tokenizer, "iki", state="state")
    first, second, third = calls
    assert first[0] == [256, *"Soru:\ngöl\nCevap:\n".encode()]
    assert first[1] == {"state": None, "stops": (257,), "max_tokens": 5}
    assert second[0] == [256, *"ol\nSoru:\ngöl\nCevap:\n".encode()]
    # It follows the end of the last response, which the model has drawn and not read.
    assert third[0] == [257, *b"Soru:\niki\nCevap:\n"]
    assert third[1]["state"] == "state"


def test_a_model_without_a_template_is_refused(calls):
    with pytest.raises(UserError, match="this model has no chat template: it was not trained on"):
        chat.reply("model", "params", ByteTokenizer(), "göl")
    assert not calls
