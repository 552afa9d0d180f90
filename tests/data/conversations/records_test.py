"""Records of every shape, what is refused of them, and the built-in ones."""

import datetime
import json
from collections import Counter

import pytest

from mmrec_jax.data.conversations.dataset import load_conversations, read_conversations
from mmrec_jax.data.conversations.records import read_record
from mmrec_jax.data.conversations.treebank_pairs import treebank_pairs
from mmrec_jax.data.kinds.instructions import RecordFields
from mmrec_jax.data.split import fixed_split, hash_share
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.tokenizers.conversation import Message
from tests.small_data import data_config, refused

_NAMED = RecordFields("question", "answer")
_CALL = {"type": "function", "function": {"name": "hava", "arguments": '{"il": "Van"}'}}
_CALLED = {**_CALL, "function": {"name": "hava", "arguments": {"il": "Van"}}}


def user(content="a", **fields):
    return {"role": "user", "content": content, **fields}


def assistant(content="b", **fields):
    return {"role": "assistant", "content": content, **fields}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def system(content="s"):
    return {"role": "system", "content": content}


# Turns as "u:text", of those of the assistant the untrained ones as "(a:text)".
_ONE = ["u:a", "a:b"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "a", "completion": "b", "id": 3}, _ONE),
        ({"prompt": "a", "completion": "b", "context": "", "images": []}, _ONE),
        ({"prompt": [user()], "completion": [assistant()]}, _ONE),
        ({"prompt": [system(), user(), assistant("x"), user("c")], "completion": "d"},
         ["s:s", "u:a", "(a:x)", "u:c", "a:d"]),
        ({"instruction": "a", "output": "b", "text": "a b"}, _ONE),
        ({"prompt": b"a", "completion": b"b"}, _ONE),  # a table's column of bytes
        ({"messages": [user(parts(b"a")), assistant(b"b")]}, _ONE),
        ({"instruction": "a", "input": "c", "output": "b"}, ["u:a\nc", "a:b"]),
        ({"instruction": "a", "input": " ", "output": "b", "system": "s"}, ["s:s", *_ONE]),
        ({"instruction": "c", "output": "d", "history": [["a", "b"]]}, [*_ONE, "u:c", "a:d"]),
        ({"messages": [user(), assistant()], "system": "s", "prompt": None}, ["s:s", *_ONE]),
        ({"messages": [user(), assistant("x", weight=0), user("c"), assistant("d", weight=1)]},
         ["u:a", "(a:x)", "u:c", "a:d"]),
        ({"messages": [user(weight=0), assistant("x", train=False), user("c"), assistant("d")]},
         ["u:a", "(a:x)", "u:c", "a:d"]),
        ({"messages": [user(parts("a", "c")), assistant(parts("b"))]}, ["u:ac", "a:b"]),
        ({"messages": [user(), user("c"), assistant(), assistant("d")]}, ["u:a\nc", "a:b\nd"]),
        ({"messages": [user(name=None), assistant(weight=None)], "tools": None}, _ONE),
        ({"messages": [user(), assistant(None, tool_calls=[_CALL]),
                       {"role": "tool", "content": "açık", "tool_call_id": "c"}, assistant("d")]},
         ["u:a", "a:", "t:açık", "a:d"]),
        ({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"},
                            {"from": "gpt", "value": "b"}]}, ["s:s", *_ONE]),
        ({"question": "a", "answer": "b", "messages": []}, _ONE),
        ({"messages": [user(language="tr"), assistant()], "mask": 1, "prompt": "a"}, _ONE),
    ],
)  # fmt: skip
def test_the_shapes_of_records(record, expected):
    named = RecordFields(ignored=frozenset(["language", "mask", "prompt"]))
    fields = named if "mask" in record else _NAMED if "question" in record else RecordFields()
    found = read_record(record, "f:1", fields)
    turns = [f"{each.role[0]}:{each.text}" for each in found.messages]
    for index, each in enumerate(found.messages):
        if each.role == "assistant" and not each.trained:
            turns[index] = f"({turns[index]})"
    assert turns == expected
    calls = [each.extra["tool_calls"] for each in found.messages if "tool_calls" in each.extra]
    assert calls in ([], [[_CALLED]])


def test_texts_are_composed_and_those_that_are_learnt_joined():
    found = read_record({"prompt": "s\u0327", "completion": " I\u0307"}, "f:1")
    assert found.messages == (Message("user", "ş"), Message("assistant", " İ"))
    turns = [
        system(),
        user(),
        assistant("x", trainable=0),
        user(),
        assistant(),
        user(),
        assistant(),
    ]
    longer = read_record({"messages": turns}, "f:2")
    assert (longer.prompt, longer.response) == ("s\na", "bb")


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"text": "a"}, "text"),
        ({"messages": [user(), assistant()], "prompt": "a"}, "prompt"),
        ({"prompt": "a", "completion": None}, "'completion'"),
        ({"prompt": "a", "completion": " \n"}, "'completion'"),
        ({"prompt": "a", "completion": "b", "images": ["x"]}, "'images'"),
        ({"prompt": "a", "completion": "b", "weight": 0}, "'weight'"),
        ({"prompt": "a", "completion": "b", "label": False}, "'label'"),
        ({"prompt": "a", "completion": "b", "input": "c"}, "'input'"),
        ({"instruction": "a", "output": "b", "completion": "c"}, "'completion'"),
        ({"messages": [user(), assistant()], "history": [["c", "d"]]}, "'history'"),
        ({"prompt": 5, "completion": "b"}, "'prompt'"),
        ({"prompt": "a", "completion": "b", "tools": 3}, "'tools'"),
        ({"prompt": "a", "completion": "b", "system": 3}, "system"),
        ({"instruction": "a", "input": 3, "output": "b"}, "'input'"),
        ({"instruction": "a", "output": "b", "history": ["x"]}, "'history'"),
        ({"instruction": "a", "output": "b", "history": 5}, "'history'"),
        ({"instruction": "a", "output": datetime.date(2020, 1, 2)}, "is a date"),
        ({"prompt": "a", "completion": b"\xff"}, "UTF-8"),
        ({"instruction": "a\ud800", "output": "b"}, "surrogate"),
        ({"messages": "a"}, "messages"),
        ({"messages": ["a"]}, "messages"),
        ({"messages": [{"content": "a"}]}, "role"),
        ({"messages": [user(), {"role": "critic", "content": "b"}]}, "'critic'"),
        ({"messages": [user(""), assistant()]}, "messages[0]"),
        ({"messages": [user(), assistant(None)]}, "messages[1]"),
        ({"messages": [user([{"type": "image_url"}]), assistant()]}, "image_url"),
        ({"messages": [user(), assistant(weight=0.5)]}, "weight is 0.5"),
        ({"messages": [user(train=True), assistant()]}, "messages[0]: train"),
        ({"messages": [user(), assistant(weight=0)]}, "weight of 0"),
        ({"messages": [user(), assistant(masked=True)]}, "'masked'"),
        ({"messages": [user(), assistant(tool_calls="hava")]}, "tool_calls"),
        ({"messages": [user(), assistant(), assistant(weight=0)]}, "assistant follows"),
        ({"messages": [assistant()]}, "assistant is the first"),
        ({"messages": [user(), assistant(), system()]}, "system follows"),
        ({"messages": [user()]}, "last"),
        ({"messages": []}, "last"),
        ({"question": "a"}, "'answer'"),
    ],
)
def test_a_broken_record_is_one_line_that_begins_with_its_file_and_line(record, named):
    with refused("pairs.jsonl:17: ", named):
        read_record(record, "pairs.jsonl:17", _NAMED if "question" in record else RecordFields())


def test_two_fields_are_named_or_none():
    with refused("config.data.response_field is ''"):
        data_config("instructions", "a.jsonl", prompt_field="question")


def loaded(path, lines, **data):
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), "utf-8")
    return load_conversations(data_config("instructions", path, **data))


def test_a_share_of_the_prompts_is_held_out_with_all_their_responses(tmp_path):
    lines = [{"prompt": f"p{i // 2}" + " " * (i % 2), "completion": f"c{i}"} for i in range(400)]
    splits = loaded(tmp_path / "a.jsonl", lines, validation_fraction=0.2)
    prompts = {split: {each.prompt.strip() for each in part} for split, part in splits.items()}
    assert prompts["validation"] == {f"p{i}" for i in range(200) if hash_share(f"p{i}") < 0.2}
    assert prompts["train"] == {f"p{i}" for i in range(200)} - prompts["validation"]
    assert sum(map(len, splits.values())) == 400
    other = loaded(tmp_path / "b.jsonl", lines[:5], validation=str(tmp_path / "a.jsonl"))
    assert [each.response for each in other["train"]] == [f"c{i}" for i in range(5)]
    assert len(other["validation"]) == 400
    assert loaded(tmp_path / "b.jsonl", lines[:5], validation_fraction=0.0).keys() == {"train"}


def test_lines_are_named_or_skipped_and_listed(tmp_path, capsys):
    path, good = tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"}
    huge = '{"prompt": "c", "completion": "d", "id": ' + "7" * 5000 + "}"
    with refused("a.jsonl:3: "):
        loaded(path, [good, "", '{"prompt": "a", "comp'])
    with refused("1 conversations"):
        loaded(path, [good])
    path.write_text("\n".join([json.dumps(good), "{", '{"prompt": 5}', huge]))
    found = read_conversations(str(path), on_error="skip")
    assert [each.prompt for each in found] == ["a", "c"]
    said = capsys.readouterr().err
    assert [name in said for name in ("a.jsonl:2", "a.jsonl:3", "a.jsonl:4")] == [True, True, False]
    path.write_text('{"prompt": 5}')
    with refused("--data", path, "1 were refused"):
        read_conversations(str(path), on_error="skip")


def test_treebank_pairs_are_those_of_the_annotation():
    """One a sentence at most, split like the text."""
    pairs = treebank_pairs()
    names = [pair.name for _, pair in pairs]
    assert names == sorted(set(names))
    splits = [fixed_split(document) for document, _ in pairs]
    assert min(map(splits.count, ("train", "validation", "test"))) > 150
    texts = {document.name: document.text.split("\n") for document in treebank_documents()}
    counts, roots = Counter(), {}
    for document, pair in pairs:
        prompt, response = (message.text for message in pair.messages)
        question, _, rest = prompt.partition(": " if ": " in prompt else "? ")
        counts[prompt.split()[1]] += 1
        if question == "Bu cümleyi tamamla":
            assert f"{rest} {response}" in texts[document]
        elif question == "Bu cümlenin yüklemi hangi sözcük":
            assert rest in texts[document]
            assert response in rest
        else:
            roots[rest] = response
    assert sorted(counts.values()) == [1566, 1577, 1582]
    # Read from the files by eye.
    assert roots["korkmaya, başladım"] == "kork, başla"
    assert roots["yılında, baterist, gruptan, ayrılmıştır"] == "yıl, bateri, grup, ayır"
