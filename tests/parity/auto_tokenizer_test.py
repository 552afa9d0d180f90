"""An extended tokenizer in `transformers`: the same ids as in `tokenizers` (extra `parity`)."""

import pytest
import tokenizers

from mmrec_jax.cli import main
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.tokenizers.extension import TOKENIZER_FILE
from tests.tokenizers.small_base import write_base

transformers = pytest.importorskip(
    "transformers", reason="needs the extra parity: pip install '.[parity]'"
)


@pytest.fixture(scope="module")
def sentences():
    """Turkish and English, 10,000 of them."""
    documents = [*treebank_documents(), *manual_documents()]
    lines = [line for document in documents for line in document.text.split("\n") if line]
    assert len(lines) > 10_000
    return lines[-10_000:] + lines[:1000]


def test_ids_are_the_same_in_both(tmp_path, sentences):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(sentences[-1000:]), "utf-8")
    sizes = ["--vocab-size=300", "--superwords=50"]
    out = tmp_path / "out"
    base = write_base(tmp_path)
    main(["tokenizer", "extend", f"--base={base}", f"--text={text}", f"--out={out}", *sizes])
    ours = tokenizers.Tokenizer.from_file(str(out / TOKENIZER_FILE))
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    expected = [each.ids for each in ours.encode_batch(sentences, add_special_tokens=False)]
    assert theirs(sentences, add_special_tokens=False)["input_ids"] == expected
    before = tokenizers.Tokenizer.from_file(str(base))
    old = [each.ids for each in before.encode_batch(sentences, add_special_tokens=False)]
    assert sum(map(len, expected)) < sum(map(len, old))
