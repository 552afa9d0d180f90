import json

import numpy as np
import pytest

from mmrec_jax.data.chat_encoder import ChatEncoder
from mmrec_jax.data.chat_template import CHATML, PLAIN, ChatTemplate, Frame, Token
from mmrec_jax.data.conversation import Message
from mmrec_jax.data.huggingface_tokenizer import HuggingFaceTokenizer
from mmrec_jax.errors import UserError

# Spelled with letters that the char tokenizer of the tests knows.
_SHORT = ChatTemplate(
    "short", Frame((), ("\n",)), Frame(("son ",), ("\n",)), Frame(("bir ",), (Token(None), "\n"))
)
_TURNS = [
    Message("system", "ceviz"[:2]),
    Message("user", "göl"),
    Message("assistant", "deniz"),
    Message("user", "iki"),
    Message("assistant", "IŞIK"),
]
KINDS = ["unigram", "bpe", "byte", "char", "model file", "json file"]


def ids_of(pieces):
    return np.concatenate([piece.ids for piece in pieces])


@pytest.fixture(scope="module")
def chatml_tokenizer(hugging_face_json):
    """The tests' file with the two tokens of ChatML, as published models have them."""
    tree = json.loads(hugging_face_json)
    names = ("<|im_start|>", "<|im_end|>")
    known = {token["content"] for token in tree["added_tokens"]}
    like = tree["added_tokens"][0]
    size = max(tree["model"]["vocab"].values()) + 1
    for index, name in enumerate(name for name in names if name not in known):
        tree["added_tokens"].append(like | {"content": name, "id": size + index})
    return HuggingFaceTokenizer(json.dumps(tree).encode(), "tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_writes_the_conversation_of_its_template(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    pieces = ChatEncoder(_SHORT, tokenizer).conversation(_TURNS)
    ids = ids_of(pieces)
    assert ids.dtype == np.int32
    assert ids[0] == tokenizer.bos_id
    assert ids[-1] == tokenizer.eos_id
    assert np.count_nonzero(ids[1:] == tokenizer.eos_id) == 2
    assert tokenizer.decode(ids[1:]) == "ce\nson göl\nbir deniz\nson iki\nbir IŞIK"
    responses = [piece.ids for piece in pieces if piece.response]
    assert [tokenizer.decode(part) for part in responses] == ["deniz", "IŞIK"]
    assert all(part[-1] == tokenizer.eos_id for part in responses)
    prompts = [tokenizer.decode(piece.ids) for piece in pieces if piece.prompt]
    assert prompts == ["ce", "göl", "iki"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_is_what_was_trained_on_up_to_the_response(all_tokenizers, kind):
    encoder = ChatEncoder(_SHORT, all_tokenizers[kind])
    whole = ids_of(encoder.conversation(_TURNS)).tolist()
    first = encoder.question(_TURNS[:2]).tolist()
    assert whole[: len(first)] == first
    answer = all_tokenizers[kind].encode("deniz").tolist()
    # The end of the response is read with the next message: a model stops before it.
    second = encoder.question(_TURNS[3:4], continued=True).tolist()
    assert [*first, *answer, *second] == whole[: len(first) + len(answer) + len(second)]


def test_tokens_stand_by_name_and_no_text_can_spell_them(chatml_tokenizer):
    tokenizer = chatml_tokenizer
    start, end = (tokenizer.piece_to_id(f"<|im_{name}|>") for name in ("start", "end"))
    encoder = ChatEncoder(CHATML, tokenizer)
    assert encoder.stops == (end, tokenizer.eos_id)
    pieces = encoder.conversation([Message("user", "<|im_end|>"), Message("assistant", "göl")])
    user, assistant = (tokenizer.encode(f"{role}\n").tolist() for role in ("user", "assistant"))
    text, newline = tokenizer.encode("<|im_end|>").tolist(), tokenizer.encode("\n").tolist()
    assert end not in text
    answer = tokenizer.encode("göl").tolist()
    expected = [tokenizer.bos_id, start, *user, *text, end, *newline, start, *assistant]
    assert ids_of(pieces).tolist() == [*expected, *answer, end]
    counted = np.concatenate([np.full(len(piece.ids), piece.response) for piece in pieces])
    assert counted.tolist() == [False] * len(expected) + [True] * (len(answer) + 1)


def test_a_template_that_does_not_suit_the_tokenizer_is_refused(all_tokenizers):
    expected = (
        r'the chat template "chatml" needs the token \'<\|im_start\|>\', which this tokenizer '
        r'\(byte, 258 ids\) does not have; .*config\.instructions\.template, such as "plain"$'
    )
    with pytest.raises(UserError, match=expected):
        ChatEncoder(CHATML, all_tokenizers["byte"])
    with pytest.raises(UserError, match=r'"plain" cannot be spelled: character .S. \(U\+0053\)'):
        ChatEncoder(PLAIN, all_tokenizers["char"])


def test_the_plain_one_stops_at_the_end_of_a_document(all_tokenizers):
    assert ChatEncoder(PLAIN, all_tokenizers["byte"]).stops == (257,)
    assert ids_of(
        ChatEncoder(PLAIN, all_tokenizers["byte"]).conversation(_TURNS[1:3])
    ).tolist() == [
        256,
        *"Soru:\ngöl\nCevap:\ndeniz".encode(),
        257,
    ]
