"""Chat templates: what is written, what is asked, and files of them."""

import json

import numpy as np
import pytest

from mmrec_jax.data.chat_encoder import ChatEncoder
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.chat_template import (
    BUILT_IN,
    CHATML,
    PLAIN,
    TEMPLATE_FILE,
    ChatTemplate,
    Frame,
    Token,
    read_template,
)
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from tests.small_data import refused
from tests.tokenizers.conftest import KINDS

# Spelled with letters that the char tokenizer of the tests knows.
_SHORT = ChatTemplate(
    "short", Frame((), ("\n",)), Frame(("son ",), ("\n",)), Frame(("bir ",), (Token(None), "\n"))
)
_TURNS = [Message("system", "ce"), Message("user", "göl"), Message("assistant", "deniz")]
_TURNS += [Message("user", "iki"), Message("assistant", "IŞIK")]


def ids_of(segments):
    return np.concatenate([segment.ids for segment in segments]).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_writes_and_asks_by_its_template(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    encoder = ChatEncoder(_SHORT, tokenizer)
    segments = encoder.conversation(_TURNS)
    assert all(segment.ids.dtype == np.int32 for segment in segments)
    ids = ids_of(segments)
    assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
    assert ids[1:].count(tokenizer.eos_id) == 2
    assert tokenizer.decode(ids[1:]) == "ce\nson göl\nbir deniz\nson iki\nbir IŞIK"
    responses = [segment.ids for segment in segments if segment.response]
    assert [tokenizer.decode(part) for part in responses] == ["deniz", "IŞIK"]
    assert all(part[-1] == tokenizer.eos_id for part in responses)
    prompts = [tokenizer.decode(segment.ids) for segment in segments if segment.prompt]
    assert prompts == ["ce", "göl", "iki"]
    # What is asked is what was trained on up to the response. The end of the response is read with
    # the next message: a model stops before it.
    asked = encoder.question(_TURNS[:2]).tolist() + tokenizer.encode("deniz").tolist()
    asked += encoder.question(_TURNS[3:4], continued=True).tolist()
    assert ids[: len(asked)] == asked


def test_tokens_stand_by_name_and_no_text_can_spell_them(hugging_face_json, all_tokenizers):
    tree = json.loads(hugging_face_json)
    known = [token["content"] for token in tree["added_tokens"]]
    index = max(tree["model"]["vocab"].values()) + 1
    assert "<|im_end|>" in known
    tree["added_tokens"].append(tree["added_tokens"][0] | {"content": "<|im_start|>", "id": index})
    tokenizer = HuggingFaceTokenizer(json.dumps(tree).encode(), "tokenizer.json")
    start, end = (tokenizer.piece_to_id(f"<|im_{name}|>") for name in ("start", "end"))
    encoder = ChatEncoder(CHATML, tokenizer)
    assert encoder.stops == (end, tokenizer.eos_id)
    segments = encoder.conversation([Message("user", "<|im_end|>"), Message("assistant", "göl")])
    user, assistant, text, newline, answer = (
        tokenizer.encode(text).tolist()
        for text in ("user\n", "assistant\n", "<|im_end|>", "\n", "göl")
    )
    assert end not in text
    expected = [tokenizer.bos_id, start, *user, *text, end, *newline, start, *assistant]
    assert ids_of(segments) == [*expected, *answer, end]
    counted = np.concatenate([np.full(len(each.ids), each.response) for each in segments])
    assert counted.tolist() == [False] * len(expected) + [True] * (len(answer) + 1)
    with refused("<|im_start|>", "byte, 258", "config.data.template"):
        ChatEncoder(CHATML, all_tokenizers["byte"])
    with refused("plain", "U+0053"):
        ChatEncoder(PLAIN, all_tokenizers["char"])


_TREE = {
    "name": "short",
    "system": {"before": [], "after": ["\n"]},
    "user": {"before": ["> "], "after": [{"token": "</s>"}, "\n"]},
    "assistant": {"before": [], "after": [{"token": None}]},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "template.json"


def test_a_file_is_read_as_it_is_written(path):
    user = Frame(("> ",), (Token("</s>"), "\n"))
    expected = ChatTemplate("short", Frame((), ("\n",)), user, Frame((), (Token(None),)))
    path.write_text(json.dumps(_TREE))
    assert read_template(path, "abc") == expected
    assert (expected.texts, expected.tokens) == (["\n", "> ", "\n"], ["</s>"])
    for template in BUILT_IN.values():
        path.write_bytes(template.to_json("abc"))
        assert read_template(path, "abc") == read_template(path, None) == template


def test_the_tokenizer_keeps_it(tmp_path, all_tokenizers):
    tokenizer = all_tokenizers["byte"].from_content(b"", "")
    before = tokenizer.fingerprint
    for template in (PLAIN, None):
        tokenizer.chat_template = template
        tokenizer.save(tmp_path)
        assert load_tokenizer(tmp_path).chat_template == template
        assert load_tokenizer(tmp_path).fingerprint == before
    (tmp_path / TEMPLATE_FILE).write_bytes(CHATML.to_json("0123456789abcdef"))
    with refused(TEMPLATE_FILE, "0123456789ab"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"user": {"before": []}}, "user"),
        ({"user": {"before": "a", "after": []}}, "user.before"),
        ({"user": {"before": [3], "after": []}}, "user.before"),
        ({"user": {"before": [{"token": 3}], "after": []}}, "user.before"),
        ({"assistant": {"before": [], "after": []}}, "assistant.after"),
        ({"assistant": {"before": [], "after": ["\n"]}}, "assistant.after"),
        ({"tool": {"before": [], "after": []}}, "'tool'"),
        ("{", "JSON"),
        ("[]", "JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_one_is_one_line(path, change, named):
    if change is not None:
        path.write_text(change if isinstance(change, str) else json.dumps(_TREE | change))
    with refused(path, named):
        read_template(path, None)
