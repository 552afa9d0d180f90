import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.data.kinds.tasks import ParityConfig
from mmrec_jax.data.tasks.task import Example, Task
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.evaluation.evaluate_task import evaluate_task
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.train.step import make_eval_step
from tests.small_run import enlarged_parameters, small_model

_LENGTHS, _COUNT, _ROW = (3, 8, 21), 5, 8
_MODEL = MMRecLM(small_model(vocab_size=5, memory="decay", gate_init_scale=1.0))


class _Weighted(Task):
    """Three letters; an answer is asked for at random places, with other weights."""

    name, symbols, min_length = "parity", "abc", 1

    def example(self, rng, length):
        weights = rng.choice([0.0, 0.25, 2.0], length)
        weights[rng.integers(0, length)] = 1
        return Example(rng.integers(0, 3, length), rng.integers(0, 3, length), weights)


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setattr(ParityConfig, "make_task", lambda self: _Weighted())
    lengths = {"max_length": _ROW, "eval_lengths": _LENGTHS, "eval_sequences": _COUNT}
    return TaskDataset(ParityConfig(seq_len=_ROW, **lengths))


@pytest.fixture(scope="module")
def params():
    return enlarged_parameters(_MODEL)


def _evaluate(data, params, *, batch_size, devices=1):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("data",))
    step = jax.jit(make_eval_step(_MODEL))
    return evaluate_task(step, params, _MODEL.config, data, mesh, batch_size=batch_size)


def _by_hand(data, params):
    """Each sequence read whole and alone, float64 sums place by place."""
    whole = jax.jit(lambda tokens: _MODEL.apply({"params": params}, tokens[None])[0][0])
    result, nats_total, weight_total = {}, 0.0, 0.0
    for length in _LENGTHS:
        pieces = list(data.scoring(length, _COUNT))
        lines = {n: np.concatenate([p[0][n] for p in pieces], axis=1) for n in pieces[0][0]}
        nats = weight = 0.0
        right = final = answers = 0
        for row in range(_COUNT):
            tokens, targets, weights = (
                lines[name][row, :length] for name in ("inputs", "targets", "weights")
            )
            logits = np.asarray(whole(jnp.asarray(tokens)), np.float64)
            log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            for t in range(length):
                if weights[t] > 0:
                    nats -= weights[t] * log_p[t, targets[t]]
                    weight += weights[t]
                    answers += 1
                    said_right = log_p[t].argmax() == targets[t]
                    right += said_right
            final += said_right  # of the last answer
        result[f"loss@{length}"] = nats / weight
        result[f"accuracy@{length}"] = final / _COUNT
        result[f"token_accuracy@{length}"] = right / answers
        nats_total, weight_total = nats_total + nats, weight_total + weight
    return {"loss": nats_total / weight_total, "tokens": _COUNT * sum(_LENGTHS), **result}


@pytest.mark.parametrize(("batch_size", "devices"), [(2, 1), (8, 8)])
def test_every_number_is_that_of_whole_sequences_read_alone(data, params, batch_size, devices):
    expected = _by_hand(data, params)
    result = _evaluate(data, params, batch_size=batch_size, devices=devices)
    assert result.keys() == expected.keys()
    assert 0 < expected["token_accuracy@21"] < 1
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-5, err_msg=name)
