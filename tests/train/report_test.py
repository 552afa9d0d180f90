import itertools

import matplotlib.image
import numpy as np

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.report import draw_loss
from mmrec_jax.train.writer import open_json_lines


def test_the_curve_is_a_picture_that_shows_both_splits(tmp_path):
    """Also where there is nothing to draw yet."""
    train = [(step, "train", 5.0 / step) for step in range(1, 20)]
    validation = [(10, "validation", 2.0), (19, "validation", 1.0)]
    pictures = []
    for number, points in enumerate(([], train, train + validation)):
        run = Workdir(tmp_path / str(number))
        run.root.mkdir()
        writer = open_json_lines(run.metrics, 0)
        for step, split, loss in points:
            writer.write(step, split, {"loss": loss})
        writer.close()
        draw_loss(run)
        pictures.append(matplotlib.image.imread(run.loss_curve))
    for before, after in itertools.pairwise(pictures):
        assert not np.array_equal(before, after)
