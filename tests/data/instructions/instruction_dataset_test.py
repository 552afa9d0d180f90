import json

import numpy as np
import pytest

from mmrec_jax.config import Config, DataConfig, InstructionConfig, TrainConfig
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.chat_template import CHATML, PLAIN
from mmrec_jax.data.conversation import Conversation, Message
from mmrec_jax.data.instructions.instruction_dataset import InstructionDataset
from mmrec_jax.data.instructions.template_choice import choose_template, training_texts
from mmrec_jax.errors import UserError


def talks(count, first=0):
    return [
        Conversation(f"f:{i}", (Message("user", "a" * i), Message("assistant", f"b{i}")))
        for i in range(first + 1, first + 1 + count)
    ]


def dataset(overlong="drop", tokenizer=None, **train):
    config = Config(
        data=DataConfig(source="treebank_instructions", seq_len=40),
        instructions=InstructionConfig(overlong=overlong),
        train=TrainConfig(steps=1, **train),
    )
    splits = {"train": talks(30), "validation": talks(3, first=40)[:1] + talks(2)}
    return InstructionDataset.from_conversations(config, splits, tokenizer or ByteTokenizer())


def test_what_it_says_of_itself_counts_what_was_left_out():
    # Beside the two texts "^Soru:\na\nCevap:\nb1$" reads 15 tokens.
    assert dataset().describe() == (
        "treebank_instructions, 22 training examples, 57 bytes of responses, 640 tokens, "
        "12% of them in responses (258 in the vocabulary, template plain); 2 validation examples; "
        "longer than a row of 40: train 8 dropped, 0 with shortened prompts; "
        "validation 1 dropped, 0 with shortened prompts"
    )
    said = dataset("truncate").describe()
    assert "train 0 dropped, 8 with shortened prompts; validation 0 dropped, 1 with" in said


def test_it_is_shuffled_packed_and_resumed_like_text():
    data = dataset(batch_size=2)
    stream = data.batches(2)
    states, batches = [], []
    for _ in range(12):
        states.append(json.dumps(stream.get_state()))
        batches.append(next(stream))
    for stop in (0, 1, 5, 7):
        again = data.batches(2)
        again.set_state(json.loads(states[stop]))
        for batch in batches[stop : stop + 4]:
            for name, array in next(again).items():
                np.testing.assert_array_equal(array, batch[name])
    assert data.steps_for(2, epochs=2.0) == pytest.approx(2 * 640 / (2 * 40), abs=8)
    other = dataset("truncate").batches(2)
    with pytest.raises(UserError, match="belongs to other data: tokens"):
        other.set_state(json.loads(states[0]))


def test_state_is_not_carried_between_rows():
    with pytest.raises(UserError, match=r"config\.train\.carry_state is True; it must be False"):
        dataset(carry_state=True)


def test_the_tokenizer_gets_the_template():
    tokenizer = ByteTokenizer()
    assert dataset(tokenizer=tokenizer).tokenizer is tokenizer
    assert tokenizer.chat_template == PLAIN


def test_auto_takes_what_the_tokenizer_brings_or_has_tokens_for(monkeypatch):
    tokenizer, config = ByteTokenizer(), InstructionConfig()
    assert choose_template(config, tokenizer) == PLAIN
    monkeypatch.setattr(ByteTokenizer, "id_to_piece", lambda self, index: CHATML.tokens[index % 2])
    assert choose_template(config, ByteTokenizer()) == CHATML
    tokenizer.chat_template = PLAIN
    assert choose_template(config, tokenizer) == PLAIN
    assert choose_template(InstructionConfig(template="chatml"), tokenizer) == CHATML


def test_a_template_in_a_file(tmp_path):
    tokenizer, path = ByteTokenizer(), tmp_path / "mine.json"
    config = InstructionConfig(template=str(path))
    with pytest.raises(
        UserError, match=r"template is '.*mine\.json'; it must be auto, plain, chat"
    ):
        choose_template(config, tokenizer)
    tree = json.loads(PLAIN.to_json("")) | {"name": "mine"}
    path.write_text(json.dumps(tree | {"tokenizer": None}), "utf-8")
    assert choose_template(config, tokenizer).name == "mine"
    path.write_text(json.dumps(tree | {"tokenizer": "0123456789abcdef"}), "utf-8")
    with pytest.raises(UserError, match=r"mine\.json: .* another tokenizer \(0123456789ab in"):
        choose_template(config, tokenizer)


def test_a_tokenizer_trained_for_conversations_spells_the_template():
    texts = training_texts(InstructionConfig(), talks(3))
    tokenizer = CharTokenizer.from_texts(texts)
    assert set("Soru:\nCevap:\nab123") <= set(tokenizer.characters)
    assert dataset(tokenizer=CharTokenizer.from_texts([*texts, "0456789"])).tokenizer.kind == "char"
