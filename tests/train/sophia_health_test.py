import re

import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.train.monitor import SophiaHealth


def _warnings(unclipped, rms=0.7, steps=400):
    """Of a run whose curvature has averaged after 100 steps."""
    health = SophiaHealth(OptimConfig(name="sophia_g", b2=0.9, hessian_every=10))
    metrics = {"sophia_unclipped": unclipped, "sophia_update_rms": rms}
    lines = [(step, health.warning(step, metrics)) for step in range(1, steps + 1)]
    return [(step, line) for step, line in lines if line]


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ((0.01,), r"1% .* raise config\.optim\.gamma \(now 0\.05\)"),
        ((0.9,), r"90% .* lower config\.optim\.gamma"),
        ((0.3, 0.01), r"root mean square is 0\.01: .* lower config\.optim\.gamma"),
    ],
)
def test_what_is_not_healthy_is_told_once_with_its_remedy(metrics, remedy):
    ((step, line),) = _warnings(*metrics)
    assert step >= 200  # not while the curvature still grows
    assert re.search(remedy, line)


def test_a_healthy_run_and_another_optimizer_are_left_alone():
    assert not _warnings(0.3)
    health = SophiaHealth(OptimConfig())
    assert not any(health.warning(step, {"loss": 1.0}) for step in range(1, 2000, 100))
