import json
from pathlib import Path

import pytest

from mmrec_jax.config import Config, DataConfig, InstructionConfig
from mmrec_jax.data.instructions.conversation_sources import load_conversations, read_conversations
from mmrec_jax.data.split import hash_share
from mmrec_jax.errors import UserError

_SHARED = Path(__file__).parents[4] / "shared/data/sft"


def written(path, count, start=0):
    lines = [{"prompt": f"p{i // 2}", "completion": f"c{i}"} for i in range(start, start + count)]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


def config_of(path, **data):
    return Config(data=DataConfig(source="instructions", train=str(path), **data))


def test_a_share_of_the_prompts_is_held_out_with_all_their_responses(tmp_path):
    path = written(tmp_path / "a.jsonl", 400)
    splits = load_conversations(config_of(path, validation_fraction=0.2))
    prompts = {split: {each.prompt for each in part} for split, part in splits.items()}
    assert prompts["validation"] == {f"p{i}" for i in range(200) if hash_share(f"p{i}") < 0.2}
    assert prompts["train"] | prompts["validation"] == {f"p{i}" for i in range(200)}
    assert sum(map(len, splits.values())) == 400
    names = [each.name for each in splits["train"]]
    assert names == sorted(names, key=lambda name: int(name.rpartition(":")[2]))


def test_other_files_may_be_held_out(tmp_path):
    train, held = written(tmp_path / "a.jsonl", 5), written(tmp_path / "b.jsonl", 3, start=9)
    splits = load_conversations(config_of(train, validation=str(held)))
    assert [each.response for each in splits["train"]] == [f"c{i}" for i in range(5)]
    assert [each.response for each in splits["validation"]] == ["c9", "c10", "c11"]


def test_a_malformed_line_is_named(tmp_path):
    path = written(tmp_path / "a.jsonl", 30)
    lines = path.read_text("utf-8").split("\n")
    lines[16] = lines[16][:-4]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(UserError, match=rf"^{path}:17: bad JSON: .* at column \d+$"):
        load_conversations(config_of(path))


def test_files_without_conversations(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match=r"config\.data\.train: there is no line in .*empty\.jsonl"):
        load_conversations(config_of(tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match=r"--data: there is no file gone\.jsonl"):
        read_conversations("gone.jsonl", InstructionConfig())
    one = written(tmp_path / "one.jsonl", 1)
    with pytest.raises(UserError, match="of 1 conversations leaves none to train on"):
        load_conversations(config_of(one))


@pytest.mark.skipif(not _SHARED.is_dir(), reason="the data are not beside the repository")
@pytest.mark.parametrize(
    ("file", "prompt", "response", "count"),
    [
        ("en_tr_wesnoth", "en", "tr", 9752),
        ("en_gsm8k_train", "question", "answer", 7473),
    ],
)
def test_real_files_by_named_fields(file, prompt, response, count):
    config = InstructionConfig(prompt_field=prompt, response_field=response)
    found = read_conversations(str(_SHARED / f"{file}.jsonl"), config)
    assert len(found) == count
    assert all(len(each.messages) == 2 for each in found)


def test_bad_lines_are_skipped_and_listed_when_asked(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{\n{"prompt": 5}\n')
    found = read_conversations(str(path), InstructionConfig(), on_error="skip")
    assert [each.prompt for each in found] == ["a"]
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "skipped 2 records or files that could not be read:"
    assert "a.jsonl:2: bad JSON" in shown[1]
    assert "a.jsonl:3: field 'prompt' is a number" in shown[2]
