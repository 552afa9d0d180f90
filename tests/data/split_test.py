import hashlib

import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.split import fixed_split, hash_share, hold_out
from mmrec_jax.errors import UserError


def documents_of(texts):
    return [Document(f"d{i}", text) for i, text in enumerate(texts)]


def test_share_is_the_sha256_of_the_key_as_a_fraction():
    for key in ("", "tr-blog:00000584", "çığ"):
        expected = int(hashlib.sha256(key.encode()).hexdigest(), 16) / 2**256
        assert hash_share(key) == pytest.approx(expected, abs=1e-15)


def test_fixed_split_shares_are_ninety_five_five():
    names = [fixed_split(f"document {i}") for i in range(20_000)]
    assert names.count("validation") / 20_000 == pytest.approx(0.05, abs=0.006)
    assert names.count("test") / 20_000 == pytest.approx(0.05, abs=0.006)


def test_hold_out_keeps_documents_whole_and_loses_none():
    documents = documents_of(f"text {i}" for i in range(400))
    train, held = hold_out(documents, 0.25)
    assert sorted(train + held, key=lambda d: int(d.name[1:])) == documents
    assert len(held) / 400 == pytest.approx(0.25, abs=0.08)


def test_hold_out_puts_copies_on_one_side_and_ignores_new_documents():
    documents = documents_of(f"text {i}" for i in range(200))
    _, held = hold_out(documents, 0.2)
    texts = [document.text for document in documents]
    train_twice, held_twice = hold_out(documents_of([*texts, *texts, "new"]), 0.2)
    assert {d.text for d in held_twice} - {"new"} == {d.text for d in held}
    assert not {d.text for d in train_twice} & {d.text for d in held_twice}


def test_hold_out_always_holds_something():
    train, held = hold_out(documents_of(["bir", "iki", "üç"]), 1e-9)
    assert len(train) == 2
    assert len(held) == 1
    assert hash_share(held[0].text) == min(hash_share(t) for t in ("bir", "iki", "üç"))


def test_single_document_is_cut_at_its_end():
    text = "".join(chr(97 + i % 26) for i in range(1003))
    (train,), (held,) = hold_out([Document("one", text)], 0.1)
    assert train.text == text[: int(1003 * 0.9)]
    assert train.text + held.text == text


def test_too_small_to_hold_anything_out():
    with pytest.raises(UserError, match=r"one: 1 characters are too few .*config\.data\.valid"):
        hold_out([Document("one", "x")], 0.1)
    with pytest.raises(UserError, match="leaves none to train on"):
        hold_out(documents_of(["same", "same"]), 0.5)
