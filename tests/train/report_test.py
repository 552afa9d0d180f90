import matplotlib.image
import numpy as np

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.report import draw_loss
from mmrec_jax.train.writer import JsonLines


def _picture(folder, points):
    folder.mkdir()
    place = Workdir(folder)
    writer = JsonLines(place.metrics, 0)
    for step, split, loss in points:
        writer.write(step, split, {"loss": loss})
    writer.close()
    draw_loss(place)
    assert place.loss_curve.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(place.loss_curve)


def test_the_curve_is_a_picture_that_shows_both_splits(tmp_path):
    train = [(step, "train", 5.0 / step) for step in range(1, 20)]
    without = _picture(tmp_path / "a", train)
    both = _picture(tmp_path / "b", [*train, (10, "validation", 2.0), (19, "validation", 1.0)])
    assert both.shape == without.shape == (480, 840, 4)
    assert not np.array_equal(both, without)
    assert np.std(without) > 0.05  # not a blank page


def test_there_may_be_nothing_to_draw_yet(tmp_path):
    assert _picture(tmp_path / "empty", []).shape == (480, 840, 4)
