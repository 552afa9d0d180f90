import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError


def test_layout_and_counts(all_tokenizers):
    documents = [Document("a", "ş"), Document("b", ""), Document("c", "s\u0327\u00e7")]
    store = TokenStore.from_documents(documents, all_tokenizers["byte"])
    expected = [256, 0xC5, 0x9F, 257, 256, 257, 256, 0xC5, 0x9F, 0xC3, 0xA7, 257]
    assert store.tokens.tolist() == expected
    assert store.tokens.dtype == np.int32
    assert store.offsets.tolist() == [0, 4, 6, 12]
    assert store.byte_counts.tolist() == [2, 0, 4]
    assert store.character_counts.tolist() == [1, 0, 2]
    assert (store.num_documents, store.num_pairs) == (3, 9)
    assert (store.num_bytes, store.num_characters) == (6, 3)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "json file"])
def test_documents_decode_to_their_texts(all_tokenizers, documents, kind):
    tokenizer = all_tokenizers[kind]
    store = TokenStore.from_documents(documents, tokenizer)
    for number, document in enumerate(documents):
        ids = store.tokens[store.offsets[number] : store.offsets[number + 1]]
        assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
        assert tokenizer.decode(ids[1:-1]) == document.text


def test_fingerprint_sees_tokens_and_borders(all_tokenizers):
    def fingerprint(*texts):
        documents = [Document("x", text) for text in texts]
        return TokenStore.from_documents(documents, all_tokenizers["byte"]).fingerprint

    prints = [fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc")]
    assert len({*prints, fingerprint("ab", "d")}) == 4
    assert fingerprint("ab", "c") == prints[0]
    counts = np.ones(2, np.int64)
    stores = [
        TokenStore(np.arange(9, dtype=np.int32), np.array([0, border, 9]), counts, counts)
        for border in (4, 5)
    ]
    assert stores[0].fingerprint != stores[1].fingerprint


def test_errors_name_the_document(all_tokenizers):
    with pytest.raises(UserError, match=r"^f\.txt:3: character 'q' \(U\+0071\)"):
        TokenStore.from_documents([Document("f.txt:3", "q")], all_tokenizers["char"])
    with pytest.raises(UserError, match="the corpus is empty"):
        TokenStore.from_documents([], all_tokenizers["byte"])
