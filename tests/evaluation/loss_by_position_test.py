import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import cut_windows
from mmrec_jax.evaluation.loss_by_position import longest_pieces, loss_by_position
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.train.step import make_eval_step
from tests.small_run import enlarged_parameters, small_model

_LENGTHS = (23, 1, 9, 31, 2)  # predicted tokens of each document
_RESET = 6
_MODEL = MMRecLM(small_model(vocab_size=50, gate="none", memory="decay"))


@pytest.fixture(scope="module")
def store():
    offsets = np.concatenate([[0], np.cumsum(np.array(_LENGTHS) + 1)])
    tokens = np.random.default_rng(0).integers(0, 50, offsets[-1]).astype(np.int32)
    counts = np.array(_LENGTHS, np.int64)
    return TokenStore(tokens, offsets.astype(np.int64), counts, counts)


@pytest.fixture(scope="module")
def params():
    return enlarged_parameters(_MODEL)


@pytest.fixture(scope="module")
def nats(store, params):
    """(document, position, carried, reset) of every token; documents and windows run apart."""

    @jax.jit
    def log_p(tokens):
        logits, _, _ = _MODEL.apply({"params": params}, tokens[None])
        return jax.nn.log_softmax(logits[0])

    def read(ids):
        padded = np.zeros(40, np.int32)
        padded[: len(ids) - 1] = ids[:-1]
        table = np.asarray(log_p(jnp.asarray(padded)), np.float64)
        return [-table[i, target] for i, target in enumerate(ids[1:])]

    rows = []
    for d in range(len(_LENGTHS)):
        ids = store.tokens[store.offsets[d] : store.offsets[d + 1]]
        carried = read(ids)
        reset = [x for i in range(0, len(ids) - 1, _RESET) for x in read(ids[i : i + _RESET + 1])]
        rows += [(d, p, carried[p], reset[p]) for p in range(len(carried))]
    return rows


def _measure(store, params, **options):
    pieces = cut_windows(store, options.pop("max_length", 1000))
    options = {"reset_every": _RESET, "rows": 2, "piece_length": 8, **options}
    step = jax.jit(make_eval_step(_MODEL))
    return loss_by_position(step, params, _MODEL.config, store, pieces, **options)


def _by_hand(rows, column):
    """Mean, and the standard error over documents, in loops; column 2 is the profit."""
    value = {0: lambda r: r[2], 1: lambda r: r[3], 2: lambda r: r[3] - r[2]}[column]
    mean = sum(map(value, rows)) / len(rows)
    documents = {row[0] for row in rows}
    if len(documents) == 1:
        return mean, None
    total = 0.0
    for document in documents:
        total += sum(value(row) - mean for row in rows if row[0] == document) ** 2
    total *= len(documents) / (len(documents) - 1)
    return mean, total**0.5 / len(rows)


def _check(measured, rows):
    assert measured.tokens == len(rows)
    assert measured.documents == len({row[0] for row in rows})
    for column, estimate in enumerate((measured.carried, measured.reset, measured.profit)):
        mean, error = _by_hand(rows, column)
        assert estimate.mean == pytest.approx(mean, abs=2e-6)
        if error is None:
            assert estimate.error is None
        else:
            assert estimate.error == pytest.approx(error, abs=2e-6)


def test_every_bin_is_that_of_documents_read_one_by_one(store, params, nats):
    result = _measure(store, params)
    borders = [(each.first, each.last) for each in result.bins]
    assert borders == [(1, 1), (2, 2), (3, 3), (4, 6), (7, 12), (13, 24), (25, 31)]
    for each in result.bins:
        _check(each, [row for row in nats if each.first <= row[1] + 1 <= each.last])
    assert (result.reset_every, result.longest) == (_RESET, 31)
    _check(result.beyond, [row for row in nats if row[1] >= _RESET])


def test_within_the_reset_length_both_are_the_same_and_beyond_they_differ(store, params):
    result = _measure(store, params)
    for each in result.bins:
        if each.last <= _RESET:
            assert each.profit.mean == pytest.approx(0, abs=1e-6)
        else:
            assert abs(each.profit.mean) > 1e-4


def test_rows_and_pieces_change_nothing(store, params):
    read = []
    expected = _measure(store, params)
    other = _measure(store, params, rows=4, piece_length=5, on_read=read.append)
    assert sum(read) == sum(_LENGTHS)
    for a, b in zip(expected.bins, other.bins, strict=True):
        assert (a.first, a.last, a.tokens, a.documents) == (b.first, b.last, b.tokens, b.documents)
        assert a.profit.mean == pytest.approx(b.profit.mean, abs=2e-6)
        assert a.carried.mean == pytest.approx(b.carried.mean, abs=2e-6)


def test_nothing_lies_beyond_what_is_too_short(store, params):
    result = _measure(store, params, reset_every=40)
    assert result.beyond is None
    assert result.bins[-1].last == 31


def test_the_longest_pieces_come_first_up_to_the_number_of_tokens(store):
    def lengths(*limits):
        return longest_pieces(store, *limits).lengths.tolist()

    assert lengths(10, 1000) == [10, 10, 10, 10, 10, 9, 3, 2, 1, 1]
    assert lengths(10, 29) == [10, 10]
    assert lengths(100, 5) == [31]
    kept = longest_pieces(store, 10, 50)
    # Cut from the beginning of a document, each border shared by two pieces.
    assert kept.documents.tolist() == [0, 0, 3, 3, 3]
    assert kept.starts.tolist() == [0, 10, *(store.offsets[3] + np.array([0, 10, 20]))]
