"""Conversations as rows: only responses count, in every layout."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from mmrec_jax.data.chat_encoder import ChatEncoder
from mmrec_jax.data.corpus import StoredChunks
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.instructions.example_store import Fit, encode_examples
from mmrec_jax.data.instructions.instruction_dataset import InstructionDataset
from mmrec_jax.data.instructions.template_choice import choose_template, training_texts
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.chat_template import CHATML, PLAIN, ChatTemplate, Frame, Token
from mmrec_jax.tokenizers.conversation import Conversation, Message
from tests.small_data import config_of, data_config, refused

# A byte before and after each message, so that lengths can be counted by eye.
_TIGHT = ChatTemplate(
    "tight", Frame((), ("|",)), Frame(("?",), ("\n",)), Frame(("!",), (Token(None), "\n"))
)
_ENCODER = ChatEncoder(_TIGHT, ByteTokenizer())
_BOS, _EOS = 256, 257


def talk(*texts, system=""):
    first = [Message("system", system)] if system else []
    turns = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
    return Conversation("f:" + texts[0], (*first, *turns))


def examples(store):
    return [store.tokens[a:b].tolist() for a, b in itertools.pairwise(store.offsets)]


def spelled(tokens):
    return bytes(t if t < 256 else ord("^$"[t - 256]) for t in tokens).decode()


def test_only_responses_and_their_ends_count():
    several = talk("ab", "ç", "d", "ef", system="s")
    store, fit = encode_examples([several, talk("x", "yz")], _ENCODER, 40, "error")
    assert [spelled(each) for each in examples(store)] == ["^s|?ab\n!ç$\n?d\n!ef$", "^?x\n!yz$"]
    counted = [spelled(store.tokens[store.weights == 1])]
    assert counted == ["ç$ef$yz$"]
    assert set(store.weights.tolist()) == {0.0, 1.0}
    assert store.weights.dtype == np.float32
    assert store.byte_counts.tolist() == [4, 2]  # ç is two bytes
    assert store.character_counts.tolist() == [3, 2]
    assert fit == Fit(0, 0)


# "^?abcdef\n!xyz$": 13 tokens are read.
_LONG = talk("abcdef", "xyz")


@pytest.mark.parametrize(
    ("seq_len", "overlong", "expected", "fit"),
    [
        (13, "error", "^?abcdef\n!xyz$", Fit()),
        (12, "truncate", "^?bcdef\n!xyz$", Fit(truncated=1)),
        (7, "truncate", "^?\n!xyz$", Fit(truncated=1)),
        (6, "truncate", None, Fit(dropped=1)),
        (12, "drop", None, Fit(dropped=1)),
    ],
)
def test_what_becomes_of_a_long_example(seq_len, overlong, expected, fit):
    store, found = encode_examples([_LONG, talk("a", "b")], _ENCODER, seq_len, overlong)
    assert found == fit
    whole = [spelled(each) for each in examples(store)]
    assert whole == ([expected] if expected else []) + ["^?a\n!b$"]
    assert int(np.diff(store.offsets).max()) <= seq_len + 1


def test_the_earliest_prompts_are_cut_first():
    conversation = talk("abc", "X", "def", "Y", system="st")  # ^st|?abc\n!X$\n?def\n!Y$: 20 read
    for seq_len, expected in (
        (19, "^t|?abc\n!X$\n?def\n!Y$"),
        (16, "^|?c\n!X$\n?def\n!Y$"),
        (14, "^|?\n!X$\n?ef\n!Y$"),
    ):
        store, fit = encode_examples([conversation], _ENCODER, seq_len, "truncate")
        assert spelled(store.tokens) == expected
        assert fit == Fit(truncated=1)


def test_errors_name_the_example():
    with refused("f:abcdef: ", 13, "config.data.seq_len is 12", "overlong"):
        encode_examples([_LONG], _ENCODER, 12, "error")
    with refused("config.data.seq_len = 5"):
        encode_examples([_LONG], _ENCODER, 5, "drop")


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    letters = "abcdefgh"

    def word():
        return "".join(letters[i] for i in rng.integers(0, 8, rng.integers(1, 9)))

    talks = [talk(*[word() for _ in range(2 * rng.integers(1, 3))]) for _ in range(60)]
    return encode_examples(talks, _ENCODER, 48, "drop")[0]


def weights_by_hand(inputs):
    """1 from the token after a "!" to the end token."""
    expected, inside = [], False
    for before in inputs:
        inside = before == ord("!") or (inside and before != _EOS)
        expected.append(float(inside))
    return expected


def assert_weights(batch):
    for row in range(len(batch["inputs"])):
        ids = batch["segment_ids"][row]
        for segment in set(ids[ids > 0].tolist()):
            at = ids == segment
            found = batch["weights"][row][at].tolist()
            assert found == weights_by_hand(batch["inputs"][row][at])
        assert not batch["weights"][row][ids == 0].any()


@pytest.mark.parametrize("carry", [False, True])
def test_weights_stand_beside_their_targets_in_every_layout(store, carry):
    config = data_config(seq_len=48)
    iterator = TextDataset(config, None, (store,), None, carry).batches(4)
    batches = [next(iterator) for _ in range(12)]
    for batch in batches:
        if not carry:
            assert_weights(batch)
        assert 0 < batch["weights"].mean() < 1
    counted = sum(batch["weights"].sum() for batch in evaluation_batches(store, 4, 48, carry=carry))
    assert counted == store.weights.sum()
    for batch in evaluation_batches(store, 4, 48, carry=False):
        assert_weights(batch)
    assert_weights(longest_documents(StoredChunks([store]), 5, 48))


def test_weights_are_part_of_the_fingerprint(store):
    other = dataclasses.replace(store, weights=1 - store.weights)
    plain = dataclasses.replace(store, weights=None)
    assert len({store.fingerprint, other.fingerprint, plain.fingerprint}) == 3


def dataset(overlong="drop", tokenizer=None, **fields):
    talks = [talk("a" * n, f"b{n}") for n in range(1, 31)]
    fields = {"seq_len": 40, "overlong": overlong, **fields}
    splits = {"train": talks, "validation": [talk("a" * 41, "b41"), *talks[:2]]}
    config = data_config("treebank_instructions", **fields)
    return InstructionDataset.from_conversations(config, splits, tokenizer or ByteTokenizer())


def test_what_was_left_out_of_a_run_is_told():
    # Beside the two texts "^Soru:\na\nCevap:\nb1$" reads 15 tokens.
    assert dataset().fits == {"train": Fit(dropped=8), "validation": Fit(dropped=1)}
    data = dataset("truncate")
    assert data.fits == {"train": Fit(truncated=8), "validation": Fit(truncated=1)}
    assert "8 with shortened prompts" in data.describe()
    assert dataset().steps_for(2, epochs=2.0) == pytest.approx(2 * 640 / (2 * 40), abs=8)
    config = config_of("treebank_instructions", train__carry_state=True)
    with refused("config.train.carry_state is True"):
        config.data.check(config)


def test_the_tokenizer_gets_the_template_and_auto_takes_what_it_brings_or_has(monkeypatch):
    tokenizer = ByteTokenizer()
    assert choose_template("auto", tokenizer) == PLAIN
    (store,) = dataset(tokenizer=tokenizer).train
    assert tokenizer.chat_template == PLAIN
    assert spelled(store.tokens[: store.offsets[1]]) == "^Soru:\na\nCevap:\nb1$"
    assert store.weights[: store.offsets[1]].tolist() == [0.0] * 16 + [1.0] * 3
    monkeypatch.setattr(ByteTokenizer, "id_to_piece", lambda self, index: CHATML.tokens[index % 2])
    assert choose_template("auto", ByteTokenizer()) == CHATML
    assert choose_template("auto", tokenizer) == PLAIN
    assert choose_template("chatml", tokenizer) == CHATML


def test_a_template_in_a_file(tmp_path):
    tokenizer, path = ByteTokenizer(), tmp_path / "mine.json"
    template = str(path)
    with refused("config.data.template", "mine.json"):
        choose_template(template, tokenizer)
    tree = json.loads(PLAIN.to_json("")) | {"name": "mine"}
    path.write_text(json.dumps(tree | {"tokenizer": None}), "utf-8")
    assert choose_template(template, tokenizer).name == "mine"
    path.write_text(json.dumps(tree | {"tokenizer": "0123456789abcdef"}), "utf-8")
    with refused("mine.json", "0123456789ab"):
        choose_template(template, tokenizer)


def test_a_tokenizer_trained_for_conversations_spells_the_template():
    texts = training_texts("auto", [talk("aa", "b12"), talk("a", "b3")])
    tokenizer = CharTokenizer.from_texts(texts)
    assert set("Soru:\nCevap:\nab123") <= set(tokenizer.characters)
    assert dataset(tokenizer=CharTokenizer.from_texts([*texts, "0456789"])).tokenizer.kind == "char"
