"""The shares of a file are together the file, wherever they are cut."""

import gzip
import json
import random

import pytest

from mmrec_jax.data.files.reading import Reading, Source
from mmrec_jax.data.prepare.tasks import deal_tasks, read_share
from mmrec_jax.errors import UserError


def _blocks(draw):
    """Blocks of one to four lines, with all that may part them; one line longer than a read."""
    lines = [f"satır {number} " * draw.randint(1, 9) for number in range(300)]
    lines[150] *= 300
    ends = ["\n", "\n", "\r\n", "\n\n", "\n \t\n", "\r\n\r\n", "\n\n\n"]
    return "".join(line + draw.choice(ends) for line in lines).rstrip()


def _read(source, reading):
    """(name, document or error) of all tasks, and how many tasks there are."""
    tasks = deal_tasks([source], reading)
    shares = [share for task in tasks for share in task]
    return [each for share in shares for each in read_share(share, reading)], len(tasks)


@pytest.mark.parametrize("documents", ["block", "line", "file"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz", "a.json"])
@pytest.mark.parametrize("task_bytes", [300, 5000, 10**6])
def test_shares_are_together_the_file(tmp_path, monkeypatch, name, documents, task_bytes):
    monkeypatch.setattr("mmrec_jax.data.prepare.tasks.TASK_BYTES", task_bytes)
    monkeypatch.setattr("mmrec_jax.data.prepare.tasks._READ", 1000)
    text = _blocks(random.Random(1))
    if name != "a.txt":
        records = [json.dumps({"text": line}) for line in text.split("\n")]
        text = f"[{','.join(records)}]" if name == "a.json" else "\n".join(records)
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    source, reading = Source("", (tmp_path / name,)), Reading(documents)
    expected = [document.text for document in source.documents(reading)]
    read, count = _read(source, reading)
    assert count > 3 or task_bytes > 300 or (name, documents) == ("a.txt", "file")
    found = [text for _, text in read]
    assert sorted(found) == sorted(expected)
    if name in ("a.txt", "a.jsonl"):
        assert found == expected


def test_an_error_names_the_line_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("mmrec_jax.data.prepare.tasks.TASK_BYTES", 500)
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"satır {number}"}) for number in range(400)]
    lines[7] = lines[333] = "{"
    path.write_text("\n".join(lines))
    found, _ = _read(Source("", (path,)), Reading())
    errors = [str(error) for _, error in found if isinstance(error, UserError)]
    assert [message.split(":")[1] for message in errors] == ["8", "334"]
    assert all(message.startswith(f"{path}:") for message in errors)
    assert all(name.startswith(str(path)) for name, _ in found if name)
