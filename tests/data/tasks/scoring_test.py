import numpy as np
import pytest

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.data.tasks.scoring import scoring_pieces
from mmrec_jax.data.tasks.task import Example, Task

_FIRST = 2


def _joined(pieces, batch_size, length, seq_len):
    """Whole sequences: a list of (inputs, targets, segment_ids, weights, final), each [length]."""
    pieces = list(pieces)
    per_group = -(-length // seq_len)
    assert len(pieces) % per_group == 0
    sequences = []
    for start in range(0, len(pieces), per_group):
        group = pieces[start : start + per_group]
        arrays = [np.concatenate([batch[n] for batch, _ in group], axis=1) for n in DTYPES]
        arrays.append(np.concatenate([final for _, final in group], axis=1))
        for row in range(batch_size):
            assert not any(array[row, length:].any() for array in arrays)
            if arrays[2][row].any():
                sequences.append([array[row, :length] for array in arrays])
            else:
                assert not any(array[row].any() for array in arrays)
    return sequences


@pytest.mark.parametrize(
    ("length", "count", "batch_size", "seq_len"),
    [(10, 5, 2, 4), (8, 3, 4, 8), (1, 4, 4, 16), (33, 7, 3, 32)],
)
def test_every_sequence_once_in_pieces_of_one_shape(length, count, batch_size, seq_len):
    pieces = list(scoring_pieces(Parity(), length, count, batch_size, seq_len, _FIRST))
    for batch, final in pieces:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in (*batch.values(), final)} == {(batch_size, seq_len)}
    sequences = _joined(pieces, batch_size, length, seq_len)
    assert len(sequences) == count
    for number, (inputs, targets, segment_ids, weights, final) in enumerate(sequences):
        np.testing.assert_array_equal(targets - _FIRST, np.cumsum(inputs - _FIRST) % 2)
        assert (weights == 1).all()
        assert final.nonzero()[0].tolist() == [length - 1]
        # One id a group of rows, another one for the next: that is what begins a sequence.
        assert set(segment_ids.tolist()) == {number // batch_size + 1}


def test_the_sequences_depend_on_the_length_alone():
    def inputs(length, count, batch_size, seq_len):
        pieces = scoring_pieces(Parity(), length, count, batch_size, seq_len, _FIRST)
        return [each[0].tolist() for each in _joined(pieces, batch_size, length, seq_len)]

    assert inputs(20, 6, 6, 20) == inputs(20, 6, 4, 7)
    assert inputs(20, 3, 6, 20) == inputs(20, 6, 6, 20)[:3]
    assert inputs(19, 1, 6, 20)[0] != inputs(20, 1, 6, 20)[0][:19]
    assert len({tuple(each) for each in inputs(40, 64, 8, 40)}) == 64


class _AsksInTheMiddle(Task):
    name, symbols, min_length = "middle", "ab", 3

    def example(self, rng, length):
        weights = np.zeros(length)
        weights[[0, length // 2]] = 0.5
        return Example(rng.integers(0, 2, length), np.ones(length, int), weights)


def test_the_final_answer_is_the_last_one_with_a_weight():
    (sequence,) = _joined(scoring_pieces(_AsksInTheMiddle(), 9, 1, 1, 4, _FIRST), 1, 9, 4)
    assert sequence[-1].nonzero()[0].tolist() == [4]
    assert sequence[3].tolist() == [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0]
