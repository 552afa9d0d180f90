import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.inference import chat
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from mmrec_jax.tokenizers.conversation import Message


def test_messages_are_written_as_the_template_of_the_tokenizer_says(monkeypatch):
    asked = []

    def generate(model, params, tokenizer, prompt, **options):
        asked.append((bytes(i if i < 256 else ord("^$"[i - 256]) for i in prompt), options))
        return ["yes"]

    monkeypatch.setattr(chat, "generate", generate)
    tokenizer = ByteTokenizer()
    with pytest.raises(UserError, match="this model has no chat template: it was not trained on"):
        chat.reply("model", "params", tokenizer, "a")
    tokenizer.chat_template = PLAIN
    assert chat.reply("model", "params", tokenizer, "a", max_tokens=5) == ["yes"]
    chat.reply("model", "params", tokenizer, [Message("system", "s"), Message("user", "a")])
    chat.reply("model", "params", tokenizer, "b", state="state")
    # The last one follows the end of a response, which the model has drawn and not read.
    begun = [b"^Soru:\na\nCevap:\n", b"^s\nSoru:\na\nCevap:\n", b"$Soru:\nb\nCevap:\n"]
    assert [prompt for prompt, _ in asked] == begun
    assert asked[0][1] == {"state": None, "stops": (257,), "max_tokens": 5}
    assert asked[2][1]["state"] == "state"
