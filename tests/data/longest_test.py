import numpy as np

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.document import Document
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.token_store import TokenStore

_TEXTS = ["abc", "abcdefgh", "xy", "hgfedcba", "z"]


def _store():
    documents = [Document(str(i), text) for i, text in enumerate(_TEXTS)]
    return TokenStore.from_documents(documents, ByteTokenizer())


def test_the_longest_come_first_each_from_its_beginning():
    tokenizer = ByteTokenizer()
    batch = longest_documents(_store(), rows=3, length=100)
    for row, text in enumerate(["abcdefgh", "hgfedcba", "abc"]):
        ids = [tokenizer.bos_id, *text.encode(), tokenizer.eos_id]
        count = len(ids) - 1
        assert batch["inputs"][row, :count].tolist() == ids[:-1]
        assert batch["targets"][row, :count].tolist() == ids[1:]
        expected = (np.arange(9) < count).tolist()
        assert batch["segment_ids"][row].tolist() == expected
        assert batch["weights"][row].tolist() == expected


def test_rows_and_tokens_are_at_most_those_asked_for():
    assert longest_documents(_store(), rows=9, length=4)["inputs"].shape == (5, 4)
    assert longest_documents(_store(), rows=1, length=9)["inputs"].shape == (1, 9)
