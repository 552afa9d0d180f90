import json

import pytest

from mmrec_jax.data.huggingface_tokenizer import HuggingFaceTokenizer
from mmrec_jax.errors import UserError


def with_tokens(content, renames):
    """The file with its two special tokens called otherwise."""
    text = content.decode()
    for old, new in renames.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return text.encode()


def test_end_of_text_is_preferred_and_begins_too(hugging_face_json):
    tokenizer = HuggingFaceTokenizer(hugging_face_json, "t.json")
    assert tokenizer.id_to_piece(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.bos_id == tokenizer.eos_id
    assert tokenizer.vocab_size == 300


@pytest.mark.parametrize(
    ("first", "second"), [("<s>", "</s>"), ("[CLS]", "[SEP]"), ("<bos>", "<eos>")]
)
def test_begin_and_end_are_found_by_their_names(hugging_face_json, first, second):
    content = with_tokens(hugging_face_json, {"<|endoftext|>": first, "<|im_end|>": second})
    tokenizer = HuggingFaceTokenizer(content, "t.json")
    assert tokenizer.id_to_piece(tokenizer.bos_id) == first
    assert tokenizer.id_to_piece(tokenizer.eos_id) == second


def test_special_names_in_a_text_are_text(hugging_face_json):
    tokenizer = HuggingFaceTokenizer(hugging_face_json, "t.json")
    assert tokenizer.eos_id not in tokenizer.encode("a<|endoftext|>b")


def test_truncation_and_padding_of_the_file_are_switched_off(hugging_face_json):
    settings = json.loads(hugging_face_json)
    settings["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    tokenizer = HuggingFaceTokenizer(json.dumps(settings).encode(), "t.json")
    assert tokenizer.decode(tokenizer.encode("bir iki üç dört beş")) == "bir iki üç dört beş"


def test_errors_name_the_file(hugging_face_json):
    nameless = with_tokens(hugging_face_json, {"<|endoftext|>": "<a>", "<|im_end|>": "<b>"})
    with pytest.raises(UserError, match=r"t\.json: the tokenizer has no end-of-text token; one of"):
        HuggingFaceTokenizer(nameless, "t.json")
    for damaged in (b"", b"{", b"{}", b"[1]", b"\xff", hugging_face_json[:-5]):
        with pytest.raises(UserError, match=r"t\.json: this is not a Hugging Face tokenizer\.json"):
            HuggingFaceTokenizer(damaged, "t.json")
