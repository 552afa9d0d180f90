"""Byte-level BPE trained with a run: what the library makes of its file, and its extension."""

import json

import pytest
import tokenizers

from mmrec_jax.cli import main
from mmrec_jax.config import Config, TokenizerConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.tokenizers.bpe_file import ALPHABET
from mmrec_jax.tokenizers.byte_bpe import END, train_byte_bpe
from mmrec_jax.tokenizers.cache import build_tokenizer, read_tokenizer_file
from tests.small_data import refused
from tests.tokenizers.small_base import ENGLISH, QWEN_REGEX, turkish

_SIZE, _FIELD = 330, "config.tokenizer.vocab_size"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a tokenizer was trained and kept."""
    folder = tmp_path_factory.mktemp("byte_bpe")
    _build(folder)
    return folder


def _build(folder):
    config = TokenizerConfig(kind="byte_bpe", vocab_size=_SIZE)
    run = Config(tokenizer=config, model=MMRecConfig(vocab_size=500))
    return build_tokenizer(run, [turkish()], folder)


def test_it_is_trained_once_and_kept_as_a_file_of_qwens_make(folder):
    (entry,) = folder.iterdir()
    written = (entry / "tokenizer.json").read_bytes()
    kept, again = _build(folder), train_byte_bpe([turkish()], _SIZE, _FIELD)
    assert kept.content == written == again.content
    assert kept.fingerprint == again.fingerprint
    assert kept.vocab_size == _SIZE
    assert kept.bos_id == kept.eos_id == 0
    assert kept.lossless
    settings = json.loads(written)
    assert settings["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": QWEN_REGEX}
    first, *tokens = settings["model"]["vocab"]
    assert first == END
    assert set(tokens[:256]) == ALPHABET
    library = tokenizers.Tokenizer.from_str(written.decode())
    assert kept.encode("gölde 12").tolist() == library.encode("gölde 12").ids


def test_a_part_ends_behind_empty_lines():
    text = "satır\n\n" * 200
    assert "ĊĊ" in json.loads(train_byte_bpe([text], 263, _FIELD).content)["model"]["vocab"]


@pytest.mark.parametrize(
    ("texts", "size", "named"),
    [(["", ""], _SIZE, "empty"), (["a"], 256, "at least 257"), (["ab " * 3], 300, "at most 259")],
)
def test_too_little_text_or_room_is_refused(texts, size, named):
    with refused(named):
        train_byte_bpe(texts, size, _FIELD)


def test_it_is_extended_with_superwords(folder, tmp_path):
    (entry,) = folder.iterdir()
    (tmp_path / "text.txt").write_text(turkish(), "utf-8")
    options = [f"--base={entry / 'tokenizer.json'}", f"--text={tmp_path / 'text.txt'}"]
    (tmp_path / "protected.txt").write_text(ENGLISH, "utf-8")
    options += [f"--protect={tmp_path / 'protected.txt'}", f"--out={tmp_path / 'out'}"]
    main(["tokenizer", "extend", *options, "--vocab-size=80", "--superwords=10"])
    base = _build(folder)
    extended = read_tokenizer_file(tmp_path / "out" / "tokenizer.json", "x")
    assert extended.vocab_size == _SIZE + 80
    assert extended.eos_id == base.eos_id
    assert len(extended.encode(turkish())) < len(base.encode(turkish()))
    assert any(" " in extended.decode([i])[1:] for i in range(_SIZE, extended.vocab_size))
