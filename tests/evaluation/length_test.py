import matplotlib.image
import numpy as np
import pytest

from mmrec_jax.curves import draw_panels
from mmrec_jax.data.chunks import Chunks
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation import length as length_module
from mmrec_jax.evaluation.length import longest_windows, loss_by_position, loss_panels
from tests.families import small, whole

_LENGTHS = (23, 1, 9, 31, 2)  # predicted tokens of each document
_RESET = 6


@pytest.fixture(scope="module")
def store():
    offsets = np.concatenate([[0], np.cumsum(np.array(_LENGTHS) + 1)])
    tokens = np.random.default_rng(0).integers(0, 50, offsets[-1]).astype(np.int32)
    counts = np.array(_LENGTHS, np.int64)
    return TokenStore(tokens, offsets.astype(np.int64), counts, counts)


@pytest.fixture(scope="module", params=["mmrec", "transformer"])
def family(request):
    return small(request.param, vocab_size=50)


def _nll(store, family):
    """(document, position, carried, reset) of every token; documents and windows read apart."""

    def read(ids):
        logits = whole(*family, ids[:-1])[0].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return [-log_p[i, target] for i, target in enumerate(ids[1:])]

    rows = []
    for d in range(len(_LENGTHS)):
        ids = store.tokens[store.offsets[d] : store.offsets[d + 1]]
        carried = read(ids)
        reset = [x for i in range(0, len(ids) - 1, _RESET) for x in read(ids[i : i + _RESET + 1])]
        rows += [(d, p, carried[p], reset[p]) for p in range(len(carried))]
    return rows


def _measure(store, family=None, **options):
    windows = list(map(Chunks([store], 1000).__getitem__, range(len(_LENGTHS))))
    options = {"reset_every": _RESET, "rows": 2, "chunk_length": 8, **options}
    return loss_by_position(*(family or small("gru", vocab_size=50)), windows, **options)


def _by_hand(rows, column):
    """Mean, and the standard error over documents, in loops; column 2 is the far gain."""
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
    # Losses are float32: differences of large ones are as coarse as they are.
    spacing = 2e-6 + float(np.spacing(np.float32(max(max(row[2:]) for row in rows))))
    assert measured.documents == len({row[0] for row in rows})
    for column, estimate in enumerate((measured.carried, measured.reset, measured.far_gain)):
        mean, error = _by_hand(rows, column)
        assert estimate.mean == pytest.approx(mean, abs=spacing)
        if error is None:
            assert estimate.error is None
        else:
            assert estimate.error == pytest.approx(error, abs=spacing)


def test_every_bin_is_that_of_documents_read_one_by_one(store, family, monkeypatch):
    monkeypatch.setattr(length_module, "_BORDERS", (12, 24, 48))
    result, nll = _measure(store, family), _nll(store, family)
    borders = [(each.first, each.last) for each in result.bins]
    assert borders == [(1, 6), (7, 12), (13, 24), (25, 31)]
    for each in result.bins:
        _check(each, [row for row in nll if each.first <= row[1] + 1 <= each.last])
    assert (result.reset_every, result.longest) == (_RESET, 31)
    _check(result.beyond, [row for row in nll if row[1] >= _RESET])
    for each in result.bins:  # within the reset length both are the same, beyond they differ
        assert (abs(each.far_gain.mean) < 1e-6) == (each.last <= _RESET)


def test_rows_and_chunks_change_nothing(store):
    expected, other = _measure(store), _measure(store, rows=4, chunk_length=5)
    for a, b in zip(expected.bins, other.bins, strict=True):
        assert (a.first, a.last, a.tokens, a.documents) == (b.first, b.last, b.tokens, b.documents)
        assert a.far_gain.mean == pytest.approx(b.far_gain.mean, abs=2e-6)
        assert a.carried.mean == pytest.approx(b.carried.mean, abs=2e-6)


def test_nothing_lies_beyond_what_is_too_short(store, tmp_path):
    result = _measure(store, reset_every=40)
    assert result.beyond is None
    assert result.bins[-1].last == 31
    draw_panels(loss_panels(result), "run", tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").ndim == 3


def test_the_longest_windows_come_first_up_to_the_number_of_tokens(store):
    def lengths(*limits):
        return [window.length for window in longest_windows(store, *limits)]

    assert lengths(10, 1000) == [10, 10, 10, 10, 10, 9, 3, 2, 1, 1]
    assert lengths(10, 29) == [10, 10]
    assert lengths(100, 5) == [31]
    # Cut from the beginning of a document, each border shared by two windows.
    starts = [0, 10, *(store.offsets[3] + np.array([0, 10, 20]))]
    for window, start in zip(longest_windows(store, 10, 50), starts, strict=True):
        np.testing.assert_array_equal(window.tokens, store.tokens[start : start + 11])
