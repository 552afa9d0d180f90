import hypothesis
import numpy as np
from hypothesis import strategies

from mmrec_jax.data.windows import cut_windows


def test_hand_made_cut(make_store):
    windows = cut_windows(make_store([3, 4, 9, 1]), 4)
    # Documents begin at 0, 4, 9 and 19; the third is cut into 4 + 4 + 1 pairs.
    assert windows.starts.tolist() == [0, 4, 9, 13, 17, 19]
    assert windows.lengths.tolist() == [3, 4, 4, 4, 1, 1]
    assert windows.documents.tolist() == [0, 1, 2, 2, 2, 3]
    assert len(windows) == 6


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), min_size=1, max_size=30),
    seq_len=strategies.integers(1, 17),
)
def test_every_token_but_the_begin_tokens_is_a_target_once(make_store, lengths, seq_len):
    store = make_store(lengths)
    windows = cut_windows(store, seq_len)
    targets = [
        store.tokens[start + 1 : start + 1 + length]
        for start, length in zip(windows.starts, windows.lengths, strict=True)
    ]
    expected = np.delete(store.tokens, store.offsets[:-1])
    np.testing.assert_array_equal(np.sort(np.concatenate(targets)), np.sort(expected))
    assert windows.lengths.max() <= seq_len
    ends = windows.starts + windows.lengths
    assert (ends < store.offsets[windows.documents + 1]).all()
    assert (windows.starts >= store.offsets[windows.documents]).all()
