"""Conversations as rows: only responses count, in every layout."""

import itertools

import numpy as np
import pytest

from mmrec_jax.data.conversations.dataset import (
    choose_template,
    conversation_dataset,
    encode_examples,
    training_texts,
)
from mmrec_jax.data.conversations.encoder import ChatEncoder
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.chat_template import CHATML, PLAIN, ChatTemplate
from tests.small_data import config_of, data_config, refused, talk

# A byte before and after each message, so that lengths can be counted by eye.
_TIGHT = ChatTemplate(
    "tight",
    "{% for m in messages %}{{ {'system': '', 'user': '?', 'assistant': '!'}[m.role] + m.content }}"
    "{{ {'system': '|', 'user': '\\n', 'assistant': eos_token + '\\n'}[m.role] }}{% endfor %}"
    "{{ '!' if add_generation_prompt else '' }}",
)
_ENCODER = ChatEncoder(_TIGHT, ByteTokenizer())
_EOS = 257


def spelled(tokens):
    return bytes(t if t < 256 else ord("^$"[t - 256]) for t in tokens).decode()


def examples(store):
    return [spelled(store.tokens[a:b].tolist()) for a, b in itertools.pairwise(store.offsets)]


def test_only_responses_and_their_ends_count():
    several = talk("ab", "ç", "d", "ef", system="s")
    store, _ = encode_examples([several, talk("x", "yz")], _ENCODER, 40, "error")
    assert examples(store) == ["^s|?ab\n!ç$\n?d\n!ef$", "^?x\n!yz$"]
    assert spelled(store.tokens[store.weights == 1]) == "ç$ef$yz$"
    assert set(store.weights.tolist()) == {0.0, 1.0}
    assert store.weights.dtype == np.float32
    assert store.byte_counts.tolist() == [4, 2]  # ç is two bytes
    assert store.character_counts.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("seq_len", "overlong", "expected", "told"),
    [
        (20, "error", "^st|?abc\n!X$\n?def\n!Y$", "0 dropped, 0 with"),
        (19, "truncate", "^t|?abc\n!X$\n?def\n!Y$", "0 dropped, 1 with"),  # the earliest first
        (14, "truncate", "^|?\n!X$\n?ef\n!Y$", "0 dropped, 1 with"),
        (11, "truncate", None, "1 dropped, 0 with"),
        (19, "drop", None, "1 dropped, 0 with"),
    ],
)
def test_what_becomes_of_a_long_example(seq_len, overlong, expected, told):
    long = talk("abc", "X", "def", "Y", system="st")
    store, fit = encode_examples([long, talk("a", "b")], _ENCODER, seq_len, overlong)
    assert fit.startswith(told)
    assert examples(store) == ([expected] if expected else []) + ["^?a\n!b$"]


def test_errors_name_the_example():
    with refused("f:abcdef: ", 13, "config.data.seq_len is 12", "overlong"):
        encode_examples([talk("abcdef", "xyz")], _ENCODER, 12, "error")
    with refused("config.data.seq_len = 5"):
        encode_examples([talk("abcdef", "xyz")], _ENCODER, 5, "drop")
    with refused("f:a\ufdd0: "):
        encode_examples([talk("a\ufdd0", "b")], _ENCODER, 40, "drop")
    told = []
    bad = [talk("a\ufdd0", "b"), talk("a", "b")]
    store, _ = encode_examples(bad, _ENCODER, 40, "drop", told.append)
    assert (store.num_documents, len(told)) == (1, 1)


def dataset(talks, held_out=(), **fields):
    config = data_config("treebank_instructions", **({"seq_len": 40} | fields))
    splits = {"train": talks} | ({"validation": held_out} if held_out else {})
    return conversation_dataset(config, splits, ByteTokenizer())


def assert_weights(batch):
    """1 from the token after a "!" to the end token."""
    for row in range(len(batch["inputs"])):
        ids = batch["segment_ids"][row]
        for segment in set(ids[ids > 0].tolist()):
            expected, inside = [], False
            for before in batch["inputs"][row][ids == segment]:
                inside = before == ord("!") or (inside and before != _EOS)
                expected.append(float(inside))
            assert batch["weights"][row][ids == segment].tolist() == expected
        assert not batch["weights"][row][ids == 0].any()


def test_weights_stand_beside_their_targets_in_every_layout(tmp_path):
    rng = np.random.default_rng(0)
    words = ["abcdefgh"[: rng.integers(1, 9)] for _ in range(240)]
    talks = list(map(talk, *[iter(words)] * 4))
    (tmp_path / "tight.jinja").write_text(_TIGHT.source)
    data = dataset(talks, talks, seq_len=48, template=str(tmp_path / "tight.jinja"))
    for batch in itertools.islice(data.batches(4), 12):
        assert_weights(batch)
        assert 0 < batch["weights"].mean() < 1
        assert (batch["inputs"][:, 0] == 256).all()  # no row begins within an example
    for carry in (False, True):
        batches = list(evaluation_batches(data.validation, 4, 48, carry=carry))
        counted = sum(batch["weights"].sum() for batch in batches)
        assert counted == data.validation.weights.sum()
        for batch in batches if not carry else ():
            assert_weights(batch)
    assert_weights(data.longest(5, 48))


def test_what_is_told_and_refused_of_a_run():
    # Beside the two texts "^Soru:\na\nCevap:\nb1$" reads 15 tokens.
    talks = [talk("a" * n, f"b{n}") for n in range(1, 31)]
    data = dataset(talks, [talk("a" * 41, "b41"), *talks[:2]], overlong="truncate")
    assert "train 0 dropped, 8 with" in data.describe()
    assert "2 validation prompts are in" in data.describe()
    config = config_of("treebank_instructions", train__carry_state=True)
    with refused("config.train.carry_state is True"):
        config.data.check(config)
    with refused("--data=FILE"):
        config.data.validation_documents(config)


def test_the_template_of_a_run(monkeypatch, tmp_path):
    def choose(name, tokenizer, **fields):
        config = data_config("treebank_instructions", template=str(name), **fields)
        return choose_template(config, tokenizer)

    data, path = dataset([talk("a", "b1")] * 40), tmp_path / "mine.jinja"
    tokenizer = data.tokenizer
    assert tokenizer.chat_template == choose("auto", ByteTokenizer()) == PLAIN
    assert examples(data.train[0])[0] == "^Soru:\na\nCevap:\nb1$"
    path.write_text(_TIGHT.source + "{{ enable_thinking }}", "utf-8")
    assert choose(path, tokenizer).render([]) == "False"
    assert choose(path, tokenizer, enable_thinking=True).render([]) == "True"
    with refused("config.data.template", "none.jinja"):
        choose("none.jinja", tokenizer)
    monkeypatch.setattr(ByteTokenizer, "piece_to_id", lambda self, name: 3)
    assert choose("auto", ByteTokenizer()) == choose("chatml", tokenizer) == CHATML
    assert choose("auto", tokenizer) == PLAIN


def test_a_tokenizer_trained_for_conversations_spells_the_template():
    config, talks = data_config("treebank_instructions"), [talk("aa", "b12"), talk("a", "b3")]
    tokenizer = CharTokenizer.from_texts(training_texts(config, talks))
    assert set(tokenizer.characters) == set("Soru:\nCevap:\nab123")
    assert ChatEncoder(PLAIN, tokenizer).conversation(talks[0])
