import dataclasses
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.kinds.tasks import Example, TaskConfig
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.perplexity import (
    compiled_eval_step,
    loss,
    perplexity,
    task,
)
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.mesh import arrange
from tests.families import small, whole

_TEXTS = ["Işık ve göl.", "ağaç", "a", "Köprünün altından çok sular aktı; çiçekler açtı."]
_ROW = 16


def _request(family, data, *, devices=1, objectives=None, seq_len=_ROW, **train):
    """`data`: what the evaluator reads of a `Dataset`."""
    mesh = arrange(jax.devices(), devices)
    train = SimpleNamespace(**{"batch_size": 2, "eval_batches": None, "eval_carry": False} | train)
    config = SimpleNamespace(
        train=train, data=SimpleNamespace(seq_len=seq_len, evaluators=("loss", "task"))
    )
    return EvaluationRequest(*family, data, config, objectives or {}, mesh, 0)


def _log_p(family, ids):
    logits = whole(*family, ids)[0].astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# Of every kind of state: one of a size, none, and one that grows.
@pytest.fixture(scope="module", params=["gru", "attention", "transformer"])
def family(request):
    return small(request.param)


@pytest.fixture(scope="module")
def data():
    documents = [Document(str(i), text) for i, text in enumerate(_TEXTS)]
    return SimpleNamespace(validation=TokenStore.from_documents(documents, ByteTokenizer()))


def _nll(family, carry):
    """-log p of each token of the texts themselves: no store, no batches."""
    found = []
    for text in _TEXTS:
        ids = [256, *text.encode("utf-8"), 257]
        window = len(ids) if carry else _ROW
        for i in range(0, len(ids) - 1, window):
            end = min(i + window, len(ids) - 1)
            log_p = _log_p(family, ids[i:end])
            found += [-log_p[t, target] for t, target in enumerate(ids[i + 1 : end + 1])]
    return found


@pytest.mark.parametrize("carry", [True, False])
def test_every_number_is_that_of_the_definition(family, data, carry):
    expected = _nll(family, carry)
    result = loss(_request(family, data, eval_carry=carry)).metrics
    total, text = sum(expected), "".join(_TEXTS)
    assert result["tokens"] == len(expected) == len(text.encode()) + len(_TEXTS)
    np.testing.assert_allclose(result["loss"], total / result["tokens"], rtol=1e-5)
    np.testing.assert_allclose(result["perplexity"], math.exp(result["loss"]), rtol=1e-9)
    assert perplexity(1e4) == math.inf
    bits = total / math.log(2)
    np.testing.assert_allclose(result["bits_per_byte"], bits / len(text.encode()), rtol=1e-5)
    np.testing.assert_allclose(result["bits_per_character"], bits / len(text), rtol=1e-5)
    assert abs(total - sum(_nll(family, not carry))) > 1e-2


@pytest.mark.parametrize(("name", "carry"), [("mmrec", True), ("gru", False)])
def test_batch_size_padding_and_devices_change_nothing(data, name, carry):
    family = small(name)
    expected = loss(_request(family, data, eval_carry=carry)).metrics
    # With a carried state the length of the rows changes nothing either.
    for rows, devices, seq_len in ((1, 1, 5 if carry else _ROW), (8, 8, _ROW)):
        options = {"batch_size": rows, "devices": devices, "seq_len": seq_len}
        request = _request(family, data, eval_carry=carry, **options)
        result = loss(request).metrics
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(("carry", "devices"), [(True, 2), (False, 1)])
def test_one_compiled_step_reads_a_split(data, carry, devices):
    request = _request(small("gru"), data, eval_carry=carry, devices=devices, seq_len=9)
    before = compiled_eval_step()._cache_size()
    loss(request)
    loss(request)
    assert compiled_eval_step()._cache_size() == before + 1


def test_a_byte_that_no_token_spells_costs_eight_bits(data):
    lossy = SimpleNamespace(validation=dataclasses.replace(data.validation, unspelled_bytes=7))
    plain, found = (loss(_request(small("gru"), each)).metrics for each in (data, lossy))
    size = data.validation.num_bytes
    np.testing.assert_allclose(found["bits_per_byte"], plain["bits_per_byte"] + 56 / size)
    assert (found["unspelled"], "unspelled" in plain) == (7 / size, False)


def test_part_of_a_split_has_no_bits_per_byte(data):
    request = _request(small("gru"), data, eval_carry=True, eval_batches=1)
    part = loss(request).metrics
    assert set(part) == {"loss", "perplexity", "tokens"}
    assert part["tokens"] == 2 * _ROW


class _Vowels:
    """An objective that gives the probability of "a" where the input is one of some letters."""

    def __init__(self, letters):
        self.letters = jnp.array([ord(letter) for letter in letters])

    def positions(self, output, batch):
        chance = jax.nn.softmax(output.logits)[..., ord("a")]
        return {"vowels": (chance, jnp.isin(batch["inputs"], self.letters))}


def test_means_of_objectives_are_over_where_they_count(data):
    gru, chances = small("gru"), []
    for text in _TEXTS:
        ids = [256, *text.encode("utf-8")]
        rows = np.exp(_log_p(gru, ids))[:, ord("a")]
        chances += [p for p, byte in zip(rows, ids, strict=True) if byte in (97, 101)]
    result, none = (
        loss(_request(gru, data, eval_carry=True, objectives={"vowels": _Vowels(letters)})).metrics
        for letters in ("ae", "0")
    )
    np.testing.assert_allclose(result["vowels"], np.mean(chances), rtol=1e-5)
    assert "vowels" not in none


_LENGTHS, _COUNT, _SHORT = (3, 8, 21), 5, 8


class _Weighted(TaskConfig):
    """Three letters; an answer is asked for at random positions, with other weights."""

    source, num_symbols = "parity", 3

    def example(self, rng, length):
        weights = rng.choice([0.0, 0.25, 2.0], length)
        weights[rng.integers(0, length)] = 1
        return Example(rng.integers(0, 3, length), rng.integers(0, 3, length), weights)


_scoring = TaskDataset(_Weighted(seq_len=_SHORT, eval_sequences=_COUNT)).scoring


def _task_by_hand(family):
    """Each sequence read whole and alone, float64 sums position by position."""
    result, nll_total, weight_total = {}, 0.0, 0.0
    for length in _LENGTHS:
        parts = [batch for batch, _ in _scoring(length, _COUNT)]
        lines = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}
        nll = weight = 0.0
        right = final = answers = 0
        for row in range(_COUNT):
            tokens, targets, weights = (
                lines[name][row, :length] for name in ("inputs", "targets", "weights")
            )
            log_p = _log_p(family, tokens)
            for t in np.flatnonzero(weights):
                nll -= weights[t] * log_p[t, targets[t]]
                weight += weights[t]
                answers += 1
                said_right = log_p[t].argmax() == targets[t]
                right += said_right
            final += said_right  # of the last answer
        result[f"loss@{length}"] = nll / weight
        result[f"accuracy@{length}"] = final / _COUNT
        result[f"token_accuracy@{length}"] = right / answers
        nll_total, weight_total = nll_total + nll, weight_total + weight
    return {"loss": nll_total / weight_total, "tokens": _COUNT * sum(_LENGTHS), **result}


@pytest.mark.parametrize(("name", "rows", "devices"), [("gru", 2, 2), ("attention", 8, 8)])
def test_a_task_is_scored_as_whole_sequences_read_alone(name, rows, devices):
    family = small(name, vocab_size=5)
    task_config = SimpleNamespace(eval_lengths=_LENGTHS)
    data = SimpleNamespace(config=task_config, scoring=_scoring, validation=None)
    expected = _task_by_hand(family)
    result = task(_request(family, data, batch_size=rows, devices=devices)).metrics
    assert result.keys() == expected.keys()
    assert 0 < expected["token_accuracy@21"] < 1
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-5, err_msg=name)
