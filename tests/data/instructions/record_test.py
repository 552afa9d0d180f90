import pytest

from mmrec_jax.config import InstructionConfig
from mmrec_jax.data.conversation import Conversation, Message
from mmrec_jax.data.instructions.record import read_record
from mmrec_jax.errors import UserError

_AUTO = InstructionConfig()
_NAMED = InstructionConfig(prompt_field="question", response_field="answer")


def texts(record, config=_AUTO):
    return [(each.role, each.text) for each in read_record(record, "f:1", config).messages]


def said(role, text):
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "a", "completion": " b", "id": 3}, [("user", "a"), ("assistant", " b")]),
        ({"instruction": "a", "output": "b"}, [("user", "a"), ("assistant", "b")]),
        ({"instruction": "a", "input": "c", "output": "b"}, [("user", "a\nc"), ("assistant", "b")]),
        ({"instruction": "a", "input": " ", "output": "b"}, [("user", "a"), ("assistant", "b")]),
        (
            {"instruction": "a", "input": None, "output": "b", "system": "s"},
            [("system", "s"), ("user", "a"), ("assistant", "b")],
        ),
    ],
)
def test_the_shapes_of_one_turn(record, expected):
    assert texts(record) == expected


def test_messages_in_several_turns():
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert texts({"messages": [said(*turn) for turn in turns], "prompt": "x"}) == turns
    assert texts({"messages": [said(*turn) for turn in turns[1:]]}) == turns[1:]


def test_two_fields_by_name():
    record = {"question": "a", "answer": "b", "messages": []}
    assert texts(record, _NAMED) == [("user", "a"), ("assistant", "b")]


def test_texts_are_composed_and_joined():
    conversation = read_record({"prompt": "s\u0327", "completion": "I\u0307"}, "f:1", _AUTO)
    assert conversation == Conversation("f:1", (Message("user", "ş"), Message("assistant", "İ")))
    assert (conversation.prompt, conversation.response) == ("ş", "İ")
    turns = [said("system", "s"), said("user", "a"), said("assistant", "b"), said("user", "c")]
    longer = read_record({"messages": [*turns, said("assistant", "d")]}, "f:2", _AUTO)
    assert (longer.prompt, longer.response) == ("s\na", "bd")


_USER, _ASSISTANT = said("user", "a"), said("assistant", "b")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a"}, "no known shape: .*; its fields are: text. Name two of them with config"),
        ({}, "its fields are: none"),
        ({"prompt": "a"}, "there is no field 'completion'; the fields are: prompt$"),
        ({"prompt": "a", "completion": None}, "field 'completion' is a null, not a string"),
        ({"prompt": "a", "completion": " \n"}, "field 'completion' is blank"),
        ({"instruction": "a", "input": 3, "output": "b"}, "field 'input' is a number"),
        ({"instruction": "a\ud800", "output": "b"}, "half a surrogate pair"),
        ({"messages": "a"}, "field 'messages' is a string, not a list"),
        ({"messages": ["a"]}, r"messages\[0\] is a string, not a JSON object"),
        ({"messages": [{"content": "a"}]}, r"messages\[0\]: there is no field 'role'"),
        (
            {"messages": [said("human", "a")]},
            r"messages\[0\] has the role 'human'; .* one of system",
        ),
        ({"messages": [said("user", "")]}, r"messages\[0\]: field 'content' is blank"),
        ({"messages": [_USER, _USER]}, r"messages\[1\] has the role 'user'; .* 'assistant' here"),
        ({"messages": [_ASSISTANT]}, r"messages\[0\] has the role 'assistant'; .* 'user' here"),
        ({"messages": [_USER, _ASSISTANT, said("system", "s")]}, r"messages\[2\] .* 'system'"),
        ({"messages": [_USER]}, "the last message must be the assistant's"),
        ({"messages": [said("system", "s")]}, "the last message must be the assistant's"),
        ({"messages": []}, "the last message must be the assistant's"),
    ],
)
def test_a_broken_one_is_one_line_that_begins_with_its_place(record, message):
    with pytest.raises(UserError, match=message) as caught:
        read_record(record, "pairs.jsonl:17", _AUTO)
    assert str(caught.value).startswith("pairs.jsonl:17: ")
    assert "\n" not in str(caught.value)


def test_a_named_field_that_is_missing_names_its_option():
    expected = (
        r"f:1: there is no field 'answer'; the fields are: question \(config\.instr.*response"
    )
    with pytest.raises(UserError, match=expected):
        read_record({"question": "a"}, "f:1", _NAMED)
    with pytest.raises(UserError, match=r"config\.instructions\.response_field is ''; it must be"):
        InstructionConfig(prompt_field="question")
    with pytest.raises(UserError, match=r"config\.instructions\.prompt_field is ''; it must be"):
        InstructionConfig(response_field="answer")
