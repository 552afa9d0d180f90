"""What the loop watches: its input, Sophia's steps, its use of the device."""

import re

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.cross_entropy import weighted_nll
from mmrec_jax.train.monitor import (
    InputMonitor,
    SophiaHealth,
    joined_metrics,
    matmul_flops_per_second,
    training_flops_per_token,
)
from mmrec_jax.tree import count
from tests.models.gru import GRUConfig


class _Batches:
    """Waits for two seconds of a made-up clock for each batch."""

    def __init__(self, clock):
        self.clock, self.started = clock, False

    def start(self):
        self.started = True

    def __next__(self):
        self.clock[0] += 2.0
        return {}

    def warnings(self):
        return ["a", "b", "a"]


def test_the_share_of_time_that_was_waited(monkeypatch):
    clock = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    batches = _Batches(clock)
    monitor = InputMonitor(batches)
    assert batches.started
    next(monitor)
    clock[0] += 6.0  # the step itself
    assert monitor.metrics({"epochs": 0.5}) == {"input_wait": 0.25, "epochs": 0.5}
    monitor.begin_window()
    clock[0] += 1.0
    assert monitor.metrics({})["input_wait"] == 0
    assert [monitor.warnings(), monitor.warnings()] == [["a", "b"], []]


def test_metrics_of_several_processes():
    parts = [
        {"input_wait": 0.1, "epochs": 1.0, "epochs of a": 0.5, "ready_batches": 3, "left_out": 2},
        {"input_wait": 0.3, "epochs": 2.0, "epochs of a": 0.0, "ready_batches": 9},
    ]
    expected = {"input_wait": 0.3, "epochs": 1.5, "epochs of a": 0.25}
    assert joined_metrics(parts) == {**expected, "ready_batches": 3, "left_out": 2}
    assert joined_metrics(parts[:1]) == parts[0]


@pytest.mark.parametrize(
    ("unclipped", "rms", "remedy"),
    [
        (0.01, 0.7, r"1% .* raise config\.optim\.gamma \(now 0\.05\)"),
        (0.9, 0.7, r"90% .* lower config\.optim\.gamma"),
        (0.3, 0.01, r"root mean square is 0\.01: .* lower config\.optim\.gamma"),
        (0.3, 0.7, None),
        (None, None, None),  # another optimizer
    ],
)
def test_what_is_not_healthy_is_told_once_with_its_remedy(unclipped, rms, remedy):
    """Of a run whose curvature has averaged after 100 steps."""
    health = SophiaHealth(OptimConfig(name="sophia_g", b2=0.9, hessian_every=10))
    sophia = {"sophia_unclipped": unclipped, "sophia_update_rms": rms}
    metrics = {"loss": 1.0, **(sophia if rms else {})}
    lines = {step: health.warning(step, metrics) for step in range(1, 400)}
    told = {step: line for step, line in lines.items() if line}
    assert len(told) == bool(remedy)
    for step, line in told.items():
        assert step >= 200  # not while the curvature still grows
        assert re.search(remedy, line)


def test_operations_by_hand():
    # A write, a read and the prediction it corrects: 2 S K each, and twice more for the gradient.
    memory = MMRecConfig(num_layers=3, num_memories=2, memory_slots=5, mem_dim=7).build()
    assert training_flops_per_token(memory, 1000, 0, 64) == 6000 + 3 * 2 * (3 * 2 * 5 * 7) * 3
    attention = AttentionConfig(model_dim=16, num_layers=3, num_heads=2).build()
    # Of each token, half of the row: products of scores and of mixtures, 2 D each.
    assert training_flops_per_token(attention, 0, 0, 64) == 3 * 3 * (64 / 2) * 2 * (2 * 16)
    assert training_flops_per_token(GRUConfig().build(), 10, 1000, 64) == 4060
    assert 1e8 < matmul_flops_per_second("float32") < 1e16


def test_the_formula_is_what_the_compiler_counts_where_matrix_products_dominate():
    """One loop body stands for all layers there, so one layer is compared."""
    config = MMRecConfig(
        vocab_size=512, model_dim=128, num_layers=1, memory="none", gate="none", remat="none"
    )
    model, tokens = config.build(), jax.ShapeDtypeStruct((4, 64), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))

    def loss(params, tokens):
        return weighted_nll(model.apply(params, tokens).logits, tokens, jnp.ones(tokens.shape))

    lowered = jax.jit(jax.grad(loss)).lower(params, tokens)
    counted = lowered.cost_analysis()["flops"] / (4 * 64)
    expected = training_flops_per_token(model, count(params), 0, 64)
    assert counted == pytest.approx(expected, rel=0.25)
