import math

import numpy as np
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.optim.schedules import learning_rate


def closed_form(config, steps, count):
    """Learning rate of the update with this count, from 0."""
    constant = config.schedule == "constant"
    warmup = config.warmup_steps if constant else min(config.warmup_steps, steps)
    if count < warmup:
        return config.lr * (count + 1) / warmup
    floor = config.lr * config.final_lr_fraction
    done = min((count - warmup) / max(steps - warmup, 1), 1.0)
    if config.schedule == "cosine":
        return floor + (config.lr - floor) * (1 + math.cos(math.pi * done)) / 2
    return config.lr + (floor - config.lr) * done if config.schedule == "linear" else config.lr


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (1, 10), (4, 20), (30, 10), (10, 10)])
def test_every_step_follows_the_closed_formula(schedule, warmup, steps):
    config = OptimConfig(lr=0.3, schedule=schedule, warmup_steps=warmup, final_lr_fraction=0.2)
    schedule = learning_rate(config, steps)
    counts = range(steps + 3)
    expected = [closed_form(config, steps, count) for count in counts]
    np.testing.assert_allclose([schedule(count) for count in counts], expected, rtol=5e-6)


def test_no_step_is_wasted_and_the_peak_is_reached():
    schedule = learning_rate(OptimConfig(lr=1.0, warmup_steps=5, schedule="cosine"), 50)
    assert float(schedule(0)) == pytest.approx(1 / 5, rel=1e-6)
    assert float(schedule(4)) == 1.0
    assert float(schedule(5)) == 1.0
    assert float(schedule(50)) == pytest.approx(0.1, rel=1e-6)
    assert float(schedule(1000)) == pytest.approx(0.1, rel=1e-6)


def test_a_constant_schedule_does_not_know_the_length():
    """Such a run may be made longer when it is resumed, in the middle of the warm-up too."""
    config = OptimConfig(lr=1e-2, schedule="constant", warmup_steps=10)
    short, long = learning_rate(config, 4), learning_rate(config, 100)
    assert [float(short(i)) for i in range(20)] == [float(long(i)) for i in range(20)]
    assert float(long(3)) == pytest.approx(4e-3)
