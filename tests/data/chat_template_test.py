import json

import pytest

from mmrec_jax.data.chat_template import (
    BUILT_IN,
    CHATML,
    PLAIN,
    TEMPLATE_FILE,
    ChatTemplate,
    Frame,
    Token,
    read_template,
)
from mmrec_jax.data.tokenizer_cache import load_tokenizer
from mmrec_jax.errors import UserError

_TREE = {
    "name": "short",
    "system": {"before": [], "after": ["\n"]},
    "user": {"before": ["> "], "after": [{"token": "</s>"}, "\n"]},
    "assistant": {"before": [], "after": [{"token": None}]},
}


def written(tmp_path, content):
    path = tmp_path / "template.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_a_file_is_read_as_it_is_written(tmp_path):
    expected = ChatTemplate(
        "short",
        Frame((), ("\n",)),
        Frame(("> ",), (Token("</s>"), "\n")),
        Frame((), (Token(None),)),
    )
    assert read_template(written(tmp_path, _TREE), "abc") == expected
    assert (expected.texts, expected.tokens) == (["\n", "> ", "\n"], ["</s>"])


@pytest.mark.parametrize("template", BUILT_IN.values(), ids=BUILT_IN)
def test_what_is_stored_comes_back(tmp_path, template):
    path = tmp_path / "t.json"
    path.write_bytes(template.to_json("abc"))
    assert read_template(path, "abc") == template
    assert read_template(path, None) == template


def test_the_tokenizer_keeps_it(tmp_path, all_tokenizers):
    tokenizer = all_tokenizers["byte"].from_content(b"", "")
    before = tokenizer.fingerprint
    tokenizer.chat_template = PLAIN
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == PLAIN
    assert load_tokenizer(tmp_path).fingerprint == before
    tokenizer.chat_template = None
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template is None


def test_one_of_another_tokenizer_is_refused(tmp_path, all_tokenizers):
    all_tokenizers["byte"].save(tmp_path)
    (tmp_path / TEMPLATE_FILE).write_bytes(CHATML.to_json("0123456789abcdef"))
    expected = rf"{TEMPLATE_FILE}: this chat template belongs to another tokenizer \(0123456789ab "
    with pytest.raises(UserError, match=expected):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": {"before": []}}, "user must have the two lists before and after"),
        ({"user": {"before": "a", "after": []}}, "user.before is not a list"),
        ({"user": {"before": [3], "after": []}}, "user.before: 3 is neither a string nor"),
        ({"user": {"before": [{"token": 3}], "after": []}}, "is neither a string nor"),
        ({"assistant": {"before": [], "after": []}}, "assistant.after must begin with a token"),
        ({"assistant": {"before": [], "after": ["\n"]}}, "must begin with a token"),
        ({"tool": {"before": [], "after": []}}, "'tool' is no field of a chat template"),
    ],
)
def test_a_broken_one_is_one_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        read_template(written(tmp_path, _TREE | change), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "bad JSON"), ("[]", "must be a JSON object")]
)
def test_another_file_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_template(written(tmp_path, content), None)
    with pytest.raises(UserError, match="cannot be read"):
        read_template(tmp_path / "gone.json", None)
