import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.inference import chat
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN, ChatTemplate, Frame, Token
from mmrec_jax.tokenizers.conversation import Message


@pytest.fixture
def tokenizer():
    found = ByteTokenizer()
    found.chat_template = PLAIN
    return found


@pytest.fixture
def calls(monkeypatch):
    """What `generate` was called with."""
    found = []

    def generate(model, params, tokenizer, prompt, **options):
        found.append((prompt.tolist(), options))
        return ["yes"]

    monkeypatch.setattr(chat, "generate", generate)
    return found


def test_a_message_is_framed_by_the_template_of_the_tokenizer(tokenizer, calls):
    assert chat.reply("model", "params", tokenizer, "göl", max_tokens=5) == ["yes"]
    messages = [Message("system", "ol"), Message("user", "göl")]
    chat.reply("model", "params", tokenizer, messages)
    (first, options), (second, _) = calls
    assert first == [256, *"Soru:\ngöl\nCevap:\n".encode()]
    assert options == {"state": None, "stops": (257,), "max_tokens": 5}
    assert second == [256, *"ol\nSoru:\ngöl\nCevap:\n".encode()]


def test_the_next_message_follows_the_end_of_the_last_response(tokenizer, calls):
    chat.reply("model", "params", tokenizer, "iki", state="state")
    assert calls[0][0] == [257, *b"Soru:\niki\nCevap:\n"]
    assert calls[0][1]["state"] == "state"


def test_a_response_stops_at_the_end_of_its_turn_or_of_the_document(tokenizer, calls):
    empty = Frame((), ())
    tokenizer.chat_template = ChatTemplate("x", empty, empty, Frame((), (Token("A"),)))
    chat.reply("model", "params", tokenizer, "a")
    assert calls[0] == ([256, 97], {"state": None, "stops": (65, 257)})


def test_a_model_without_a_template_is_refused(calls):
    with pytest.raises(UserError, match="this model has no chat template: it was not trained on"):
        chat.reply("model", "params", ByteTokenizer(), "göl")
    assert not calls
