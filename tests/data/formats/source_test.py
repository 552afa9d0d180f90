import importlib
import json
import re
import subprocess
import sys

import pyarrow
import pytest

from mmrec_jax.data.formats.documents import all_documents
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from mmrec_jax.errors import UserError
from tests.data.formats.written import FORMATS, numbered_texts, source_file, write_arrow


def texts(pattern, **options):
    sources = find_sources(pattern, "--data", "block", "text", 1 << 20, **options)
    return [each.text for each in all_documents(sources, Refusals("stop"))]


def test_a_folder_with_every_format(tmp_path):
    for name, write in FORMATS.items():
        write(tmp_path / name, [f"{name} {n}" for n in range(3)])
    sources = find_sources(f"{tmp_path}, {tmp_path}/*.jsonl", "--data", "block", "text", 1 << 20)
    assert [source.name for source in sources] == [str(tmp_path), f"{tmp_path}/*.jsonl"]
    expected = [f"{name} {n}" for name in sorted(FORMATS) for n in range(3)]
    assert texts(str(tmp_path)) == expected


def test_identity_is_of_names_and_sizes_alone(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("bir" if folder != "c" else "dört")
    identities = [
        find_sources(f"{tmp_path}/{folder}", "--data", "block", "text", 99)[0].identity
        for folder in ("a", "b", "c")
    ]
    assert identities[0] == identities[1] != identities[2]
    assert len(identities[0]) == 64


def test_kind_forces_files_of_text_and_json_alone(tmp_path):
    (tmp_path / "a.txt").write_text('{"text": "bir"}')
    assert texts(f"{tmp_path}/a.txt", kind="json") == ["bir"]
    (tmp_path / "a.json").write_text('[{"text": "bir"}]')
    assert texts(f"{tmp_path}/a.json", kind="text") == ['[{"text": "bir"}]']
    write_arrow(tmp_path / "a.arrow", ["iki"])
    assert texts(f"{tmp_path}/a.arrow", kind="text") == ["iki"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_tables_whose_text_is_none(tmp_path, name):
    path = tmp_path / name
    table = pyarrow.table({"text": ["a", None, "ş" * 60, "b"], "number": [1, 2, 3, 4]})
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    refusals = Refusals("skip")
    assert numbered_texts(source_file(path, 1 << 18, limit=100), refusals)[0] == ["a", "b"]
    assert refusals.messages == [
        f"{path}, record 2: field 'text' is a null, not a string",
        f"{path}, record 3 is longer than 100 bytes "
        "(config.data.max_record_mb, or --max-record-mb)",
    ]
    for field, message in (
        ("number", "field 'number' is of type int64, not a string"),
        (
            "body",
            r"there is no field 'body'; the fields are: number, text \(config",
        ),
    ):
        sources = find_sources(str(path), "--data", "block", field, 99)
        with pytest.raises(UserError, match=f"{name}: {message}"):
            all_documents(sources, Refusals("stop"))


def test_damaged_tables(tmp_path):
    for name in ("rows.parquet", "rows.arrow"):
        FORMATS[name](tmp_path / name, [f"{n}" * 400 for n in range(40)])
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        refusals = Refusals("skip")
        found = numbered_texts(source_file(tmp_path / name, 1 << 10), refusals)
        assert len(found) < 40
        (message,) = refusals.messages
        assert message.startswith(f"{tmp_path / name}: cannot be read as ")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    FORMATS["rows.parquet"](tmp_path / "a.parquet", ["bir"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"a\.parquet: .*pip install 'mmrec_jax\[parquet\]'"):
        texts(f"{tmp_path}/a.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"--data: hf:a/b:train .*'mmrec_jax\[huggingface\]'"):
        texts("hf:a/b:train")


def saved(folder, values):
    """As `datasets.Dataset.save_to_disk` writes a folder."""
    folder.mkdir(parents=True)
    write_arrow(folder / "data-00000-of-00001.arrow", values)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_what_save_to_disk_wrote(tmp_path):
    saved(tmp_path / "one", ["bir", "iki"])
    assert texts(f"{tmp_path}/one") == texts(f"hf:{tmp_path}/one") == ["bir", "iki"]
    assert texts(f"hf:{tmp_path}/one:train") == ["bir", "iki"]
    saved(tmp_path / "two/train", ["üç"])
    saved(tmp_path / "two/test", ["dört"])
    (tmp_path / "two/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert texts(f"hf:{tmp_path}/two:test") == ["dört"]
    with pytest.raises(UserError, match=r"two has the splits train, test; name one: hf:.*two:tra"):
        texts(f"hf:{tmp_path}/two")
    for name in ("words", "words:train[:10%]"):
        with pytest.raises(UserError, match=f"hf:{re.escape(name)} must be hf:NAME:split"):
            texts(f"hf:{name}")


def test_nothing_here_imports_jax():
    package = importlib.import_module("mmrec_jax.data.formats").__path__[0]
    code = (
        "import importlib, pathlib, sys\n"
        f"for path in pathlib.Path({package!r}).glob('*.py'):\n"
        "    importlib.import_module(f'mmrec_jax.data.formats.{path.stem}')\n"
        "print(sorted({'jax', 'flax', 'grain', 'pyarrow', 'datasets'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
