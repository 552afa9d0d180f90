import json
import math

import matplotlib.image
import pytest

from mmrec_jax.evaluation.loss_by_position import Estimate, PositionBin, PositionLoss
from mmrec_jax.evaluation.needle import DEPTHS, NeedleScore
from mmrec_jax.evaluation.recall import RecallScore
from mmrec_jax.evaluation.record import (
    draw_loss_by_position,
    draw_recall,
    draw_task_by_length,
    write_record,
)


def _bin(first, last):
    loss = Estimate(3.0, None)
    return PositionBin(first, last, 5, 1, loss, loss, Estimate(0.1, 0.02))


def _needle(length, profit):
    return NeedleScore(length, 1, DEPTHS, (0.5,) * 11, (profit,) * 11, (None,) * 11, 0.0)


_RECALL = [RecallScore(n, n, 1 / n, None, 1 / n, 3.0, None) for n in (1, 2)]


@pytest.mark.parametrize("beyond", [None, _bin(3, 4)])
def test_loss_by_position_is_drawn(tmp_path, beyond):
    bins = (_bin(1, 1), _bin(2, 2), *([] if beyond is None else [beyond]))
    path = tmp_path / "a.png"
    draw_loss_by_position(PositionLoss(2, bins[-1].last, bins, beyond), "run", path)
    assert matplotlib.image.imread(path).ndim == 3


@pytest.mark.parametrize(
    "needle", [[], [_needle(9, 0.0)], [_needle(9, 0.3), _needle(20, math.nan)]]
)
def test_recall_is_drawn(tmp_path, needle):
    path = tmp_path / "a.png"
    draw_recall(_RECALL, needle, "run", path)
    height, width, _ = matplotlib.image.imread(path).shape
    assert (width > 2 * height) == bool(needle)


def test_a_task_is_drawn(tmp_path):
    scores = {n: {"accuracy": 0.5, "token_accuracy": 0.6, "loss": 0.7} for n in (8, 16)}
    path = tmp_path / "a.png"
    draw_task_by_length(scores, 8, "run", path)
    assert matplotlib.image.imread(path).ndim == 3


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, {"a": (1.5, math.nan), "b": [{"c": math.inf}], "d": None, "e": "ı"})
    content = json.loads(path.read_text("utf-8"))
    assert content == {"a": [1.5, None], "b": [{"c": None}], "d": None, "e": "ı"}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
