import json

from mmrec_jax.data.prepared.report import report_json, report_markdown, report_record
from mmrec_jax.data.prepared.report_picture import draw_report
from tests.small_corpus import FILTERED, prepare_small, write_corpus


def test_the_report_says_what_became_of_the_documents(tmp_path):
    pattern = write_corpus(tmp_path)
    (tmp_path / "books.txt").write_bytes((tmp_path / "books.txt").read_bytes() + b"\n\n\xff\n")
    out = tmp_path / "out"
    manifest = prepare_small(out, pattern, FILTERED, on_error="skip").manifest
    record = report_record(manifest)
    assert json.loads(report_json(record)) == record
    text = report_markdown(out, record)
    rows = dict(line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:2] == "| ")
    assert rows["read"] == "151 | 150 | 301"
    assert rows["too short"] == "3 (1.99%) | 3 (2.00%) | 6 (1.99%)"
    assert rows["exact duplicate"] == "2 (1.32%) | 3 (2.00%) | 5 (1.66%)"
    assert rows["language"].endswith("6 (1.99%)")
    assert rows["refused"].endswith("1 (0.33%)")
    assert rows["control characters"] == "6 | 6 | 12"
    assert rows["4 to 7"] == "6 | 0"
    assert "1 in all" in text
    assert "books.txt: not UTF-8 at byte offset" in text
    pictures = draw_report(record, out)
    assert len(pictures) == 3
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    # Its own report is no reason to take the folder for another's.
    prepare_small(out, pattern, FILTERED, on_error="skip", fresh=True)
