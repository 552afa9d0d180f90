import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.inspect import fill, inspect_rows
from mmrec_jax.data.token_store import TokenStore


def test_rows_show_segments_pieces_and_padding(all_tokenizers):
    documents = [Document("a", "b c\n"), Document("b", "\x1bx"), Document("c", "y")]
    tokenizer = all_tokenizers["byte"]
    store = TokenStore.from_documents(documents, tokenizer)
    (batch,) = evaluation_batches(store, 2, 9, carry=False)
    assert inspect_rows(batch, tokenizer) == (
        "row 0: 2 segments, 8 tokens, 1 padding\n"
        "  [1] 5 tokens: <s>|b|\u2581|c|\\n \u2192 </s>\n"
        "  [2] 3 tokens: <s>|\\x1b|x \u2192 </s>\n"
        "row 1: 1 segments, 2 tokens, 7 padding\n"
        "  [1] 2 tokens: <s>|y \u2192 </s>"
    )
    assert inspect_rows(batch, tokenizer, max_rows=1).count("\n") == 2


def test_segments_are_runs_of_any_id_and_empty_rows_are_shown(all_tokenizers):
    batch = {
        "inputs": np.array([[97, 98, 99, 100], [0, 0, 0, 0]], np.int32),
        "targets": np.array([[98, 257, 100, 101], [0, 0, 0, 0]], np.int32),
        "segment_ids": np.array([[7, 7, 9, 9], [0, 0, 0, 0]], np.int32),
        "weights": np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.float32),
    }
    lines = inspect_rows(batch, all_tokenizers["byte"]).split("\n")
    assert lines == [
        "row 0: 2 segments, 4 tokens, 0 padding",
        "  [7] 2 tokens: a|b \u2192 </s>",
        "  [9] 2 tokens: c|d \u2192 e",
        "row 1: 0 segments, 0 tokens, 4 padding",
    ]


@pytest.mark.parametrize(
    ("targets", "weights", "expected"),
    [
        ([99, 99, 97, 0], [1, 1, 1, 0], ["  [1] 3 tokens: a|b|c", "      targets: c|c|a"]),
        ([99, 99, 97, 0], [0, 2, 0.5, 0], ["  [1] 3 tokens: a|b|c", "      targets: ·|c|a"]),
        ([98, 99, 97, 0], [0, 1, 1, 0], ["  [1] 3 tokens: a|b|c", "      targets: ·|c|a"]),
        ([98, 99, 97, 0], [1, 1, 1, 0], ["  [1] 3 tokens: a|b|c \u2192 a"]),
    ],
)
def test_targets_that_are_not_the_text_are_shown(all_tokenizers, targets, weights, expected):
    batch = {
        "inputs": np.array([[97, 98, 99, 0]], np.int32),
        "targets": np.array([targets], np.int32),
        "segment_ids": np.array([[1, 1, 1, 0]], np.int32),
        "weights": np.array([weights], np.float32),
    }
    lines = inspect_rows(batch, all_tokenizers["byte"]).split("\n")
    assert lines == ["row 0: 1 segments, 3 tokens, 1 padding", *expected]


def test_fill_is_the_share_of_tokens(all_tokenizers):
    store = TokenStore.from_documents(
        [Document("a", "şş"), Document("b", "abcdef")], all_tokenizers["byte"]
    )
    (batch,) = evaluation_batches(store, 2, 8, carry=False)
    assert fill(batch) == 0.75
