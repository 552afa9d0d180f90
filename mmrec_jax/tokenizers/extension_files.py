"""The folder of an extended tokenizer."""

import json
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import load_tokenizer
from mmrec_jax.tokenizers.byte_alphabet import unspell
from mmrec_jax.tokenizers.learning_state import require_same
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from mmrec_jax.tokenizers.superwords import followers, superword_expression
from mmrec_jax.tokenizers.vocabulary import Vocabulary

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
MERGES_FILE = "merges.tsv"
RECORD_FILE = "extension.json"


def finished(out: Path, record: dict[str, Any]) -> bool:
    """Whether the tokenizer that `record` describes is in `out`.

    Raises:
      UserError: another one is.
    """
    try:
        there = json.loads((out / RECORD_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    require_same(there, record, out)
    return True


def write_extension(out: Path, vocabulary: Vocabulary, record: dict[str, Any]) -> None:
    """Writes an extended tokenizer; `RECORD_FILE`, which comes last, says that all is there.

    `TOKENIZER_FILE` and `CONFIG_FILE` are what `AutoTokenizer` of `transformers` reads,
    `MERGES_FILE` says of every new merge when and why it was made.

    Args:
      out: the folder, which is there.
      vocabulary: what was learned.
      record: how, for `RECORD_FILE`.

    Raises:
      UserError: a file cannot be written.
    """
    base = vocabulary.base
    behind = followers(vocabulary)
    expression = superword_expression(base, behind) if behind else None
    content = base.extended(vocabulary.added_tokens(), vocabulary.added_merges(), expression)
    _check(content, vocabulary)
    try:
        replace_file(out / TOKENIZER_FILE, content)
        replace_file(out / CONFIG_FILE, _json(_loader_settings(Path(base.name))))
        replace_file(out / MERGES_FILE, _merges_table(vocabulary).encode())
        replace_file(out / RECORD_FILE, _json(record))
    except OSError as error:
        raise UserError(f"{out}: cannot write the tokenizer: {error.strerror}") from None


def _check(content: bytes, vocabulary: Vocabulary) -> None:
    """A fault here is one of this package, not of the user."""
    base = vocabulary.base
    tokenizer = load_tokenizer(content)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    assert all(ids[token] == index for token, index in (base.vocab | base.added).items())
    new = {ids[token]: token for token in vocabulary.added_tokens()}
    assert min(new) == base.next_id
    assert max(new) == base.next_id + len(new) - 1
    assert not unreachable_tokens(tokenizer, new)


def _loader_settings(base: Path) -> dict[str, Any]:
    """The settings beside the base, for a class that takes `TOKENIZER_FILE` as it is.

    The classes named after a model (`Qwen2Tokenizer`) take the vocabulary from it and bring a
    pre-tokeniser of their own.
    """
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    path = base.with_name(CONFIG_FILE)
    if path.is_file():
        try:
            settings = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path}: this is not JSON: {error}") from None
    return {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}


def _merges_table(vocabulary: Vocabulary) -> str:
    """Tab-separated: order of merging, stage, tokens in byte-level spelling, id, count, text."""
    lines = ["rank\tstage\tleft\tright\ttoken\tid\tcount\ttext"]
    for rank, each in enumerate(vocabulary.learned, len(vocabulary.base.merges)):
        left, right, token = (
            vocabulary.tokens[part] for part in (each.left, each.right, each.result)
        )
        text = json.dumps(unspell(token).decode("utf-8", "replace"), ensure_ascii=False)
        row = (rank, each.stage, left, right, token, each.result, each.count, text)
        lines.append("\t".join(map(str, row)))
    return "\n".join(lines) + "\n"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
