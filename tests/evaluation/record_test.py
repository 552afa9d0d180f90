import json
import math

from mmrec_jax.evaluation.record import write_record


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, {"a": (1.5, math.nan), "b": [{"c": math.inf}], "d": None, "e": "ı"})
    content = json.loads(path.read_text("utf-8"))
    assert content == {"a": [1.5, None], "b": [{"c": None}], "d": None, "e": "ı"}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
