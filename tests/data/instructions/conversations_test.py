"""Conversations of files and of the treebank."""

import json

import pytest

from mmrec_jax.data.instructions import treebank_pairs as module
from mmrec_jax.data.instructions.conversation_sources import load_conversations, read_conversations
from mmrec_jax.data.instructions.record import read_record
from mmrec_jax.data.instructions.treebank_pairs import treebank_pairs
from mmrec_jax.data.split import fixed_split, hash_share
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.tokenizers.conversation import Conversation, Message
from tests.small_data import data_config, refused

_NAMED = "question", "answer"


def said(role, text):
    return {"role": role, "content": text}


_TURNS = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
_ONE = [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "a", "completion": "b", "id": 3}, _ONE),
        ({"instruction": "a", "output": "b"}, _ONE),
        ({"instruction": "a", "input": "c", "output": "b"}, [("user", "a\nc"), ("assistant", "b")]),
        ({"instruction": "a", "input": " ", "output": "b"}, _ONE),
        (
            {"instruction": "a", "input": None, "output": "b", "system": "s"},
            [("system", "s"), *_ONE],
        ),
        ({"messages": [said(*turn) for turn in _TURNS], "prompt": "x"}, _TURNS),
        ({"messages": [said(*turn) for turn in _TURNS[1:]]}, _TURNS[1:]),
        ({"question": "a", "answer": "b", "messages": []}, _ONE),
    ],
)
def test_the_shapes_of_records(record, expected):
    config = _NAMED if "question" in record else ("", "")
    found = read_record(record, "f:1", config).messages
    assert [(each.role, each.text) for each in found] == expected


def test_texts_are_composed_and_joined():
    conversation = read_record({"prompt": "s\u0327", "completion": " I\u0307"}, "f:1")
    assert conversation == Conversation("f:1", (Message("user", "ş"), Message("assistant", " İ")))
    assert (conversation.prompt, conversation.response) == ("ş", " İ")
    longer = read_record({"messages": [said(*turn) for turn in _TURNS]}, "f:2")
    assert (longer.prompt, longer.response) == ("s\na", "bd")


_USER, _ASSISTANT = said("user", "a"), said("assistant", "b")


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"text": "a"}, "text"),
        ({}, "none"),
        ({"prompt": "a"}, "'completion'"),
        ({"prompt": "a", "completion": None}, "'completion'"),
        ({"prompt": "a", "completion": " \n"}, "'completion'"),
        ({"instruction": "a", "input": 3, "output": "b"}, "'input'"),
        ({"instruction": "a\ud800", "output": "b"}, "surrogate"),
        ({"messages": "a"}, "'messages'"),
        ({"messages": ["a"]}, "messages[0]"),
        ({"messages": [{"content": "a"}]}, "'role'"),
        ({"messages": [said("human", "a")]}, "'human'"),
        ({"messages": [said("user", "")]}, "'content'"),
        ({"messages": [_USER, _USER]}, "messages[1]"),
        ({"messages": [_ASSISTANT]}, "messages[0]"),
        ({"messages": [_USER, _ASSISTANT, said("system", "s")]}, "messages[2]"),
        ({"messages": [_USER]}, "last"),
        ({"messages": [said("system", "s")]}, "last"),
        ({"messages": []}, "last"),
        ({"question": "a"}, "config.data.response_field"),
    ],
)
def test_a_broken_record_is_one_line_that_begins_with_its_file_and_line(record, named):
    with refused("pairs.jsonl:17: ", named):
        read_record(record, "pairs.jsonl:17", _NAMED if "question" in record else ("", ""))


@pytest.mark.parametrize("given", ["prompt_field", "response_field"])
def test_two_fields_are_named_or_none(given):
    (other,) = {"prompt_field", "response_field"} - {given}
    with refused(f"config.data.{other} is ''"):
        data_config("instructions", "a.jsonl", **{given: "question"})


def written(path, count, start=0):
    lines = [{"prompt": f"p{i // 2}", "completion": f"c{i}"} for i in range(start, start + count)]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


def loaded(path, **data):
    return load_conversations(data_config("instructions", path, **data))


def test_a_share_of_the_prompts_is_held_out_with_all_their_responses(tmp_path):
    splits = loaded(written(tmp_path / "a.jsonl", 400), validation_fraction=0.2)
    prompts = {split: {each.prompt for each in part} for split, part in splits.items()}
    assert prompts["validation"] == {f"p{i}" for i in range(200) if hash_share(f"p{i}") < 0.2}
    assert prompts["train"] | prompts["validation"] == {f"p{i}" for i in range(200)}
    assert sum(map(len, splits.values())) == 400
    names = [each.name for each in splits["train"]]
    assert names == sorted(names, key=lambda name: int(name.rpartition(":")[2]))


def test_other_files_may_be_held_out(tmp_path):
    train, held = written(tmp_path / "a.jsonl", 5), written(tmp_path / "b.jsonl", 3, start=9)
    splits = loaded(train, validation=str(held))
    assert [each.response for each in splits["train"]] == [f"c{i}" for i in range(5)]
    assert [each.response for each in splits["validation"]] == ["c9", "c10", "c11"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("\n\n", "config.data.train"),
        ('{"prompt": "a", "completion": "b"}', "1 conversations"),
        ('{"prompt": "a", "completion": "b"}\n\n{"prompt": "a", "comp', "a.jsonl:3: "),
    ],
)
def test_files_without_conversations_or_with_broken_lines(tmp_path, content, named):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with refused(named):
        loaded(path)
    with refused("--data", "gone.jsonl"):
        read_conversations("gone.jsonl")


def test_bad_lines_are_skipped_and_listed_when_asked(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{\n{"prompt": 5}\n')
    found = read_conversations(str(path), on_error="skip")
    assert [each.prompt for each in found] == ["a"]
    first, *others = capsys.readouterr().err.splitlines()
    assert "2" in first
    for line, named in zip(others, ("a.jsonl:2", "a.jsonl:3"), strict=True):
        assert named in line


@pytest.fixture(scope="module")
def pairs():
    return treebank_pairs()


def test_treebank_pairs_are_one_a_sentence_at_most_and_split_like_the_text(pairs):
    by_name = {pair.name: pair.messages[0].text for _, pair in pairs}
    assert len(by_name) == len(pairs) == 4725
    kinds = [prompt.split()[1] for prompt in by_name.values()]
    counts = {"sözcüklerin": 1566, "cümlenin": 1582, "cümleyi": 1577}
    assert {kind: kinds.count(kind) for kind in set(kinds)} == counts
    assert [pair.name for _, pair in pairs] == sorted(by_name)
    splits = [fixed_split(document) for document, _ in pairs]
    assert min(map(splits.count, ("train", "validation", "test"))) > 150


def test_treebank_pairs_are_those_of_the_annotation(pairs):
    texts = {document.name: document.text.split("\n") for document in treebank_documents()}
    roots = {}
    for document, pair in pairs:
        prompt, response = (message.text for message in pair.messages)
        question, _, rest = prompt.partition(": " if ": " in prompt else "? ")
        if question == "Bu cümleyi tamamla":
            assert f"{rest} {response}" in texts[document]
        elif question == "Bu cümlenin yüklemi hangi sözcük":
            assert rest in texts[document]
            assert response in rest
        else:
            roots[rest] = response
    # Read from the files by eye.
    assert roots["korkmaya, başladım"] == "kork, başla"
    assert roots["şirketine, yılında, edildi"] == "şirket, yıl, et"
    assert roots["yılında, baterist, gruptan, ayrılmıştır"] == "yıl, bateri, grup, ayır"


def test_a_broken_row_is_named_by_its_line_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.conllu"
    sentence = "# sent_id = a:S1\n# text = Ev.\n1\tEv" + "\t_" * 8 + "\n\n"
    path.write_text(sentence * 2 + "# sent_id = a:S3\n1\tEv\n", "utf-8")
    monkeypatch.setattr(module, "treebank_file", lambda part: path)
    with refused("a.conllu:10: "):
        treebank_pairs()
