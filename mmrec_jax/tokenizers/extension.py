"""A tokenizer extended by tokens of a language, learned from text.

Merges are learned on top of those of the base, first inside the pre-tokens (continued BPE), then
across them (superwords). Both leave English, or texts that are given, as it was (`protection.py`).
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.files.reading import text_bytes
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tokenizers.bpe_file import BpeFile, unspell
from mmrec_jax.tokenizers.chat_template import CONFIG_FILE
from mmrec_jax.tokenizers.learning import (
    ALIGNED,
    OutOfPairs,
    Stage,
    Symbols,
    Vocabulary,
    learn_merges,
    word_symbols,
)
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.morphemes import Boundaries, token_morphemes
from mmrec_jax.tokenizers.protection import Protection, Refusal, protect_english
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from mmrec_jax.tokenizers.superwords import followers, superword_expression, superword_symbols
from mmrec_jax.tokenizers.text import Source, count_words

TOKENIZER_FILE = "tokenizer.json"
MERGES_FILE = "merges.tsv"
RECORD_FILE = "extension.json"

# A pair that occurs less often says nothing about other text.
_SUBWORD_OCCURRENCES, _SUPERWORD_OCCURRENCES = 2, 4
_UNIT = 10  # weight of a word of the file whose words count least

# A stage's name, the progress made, and the total.
OnProgress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class ExtensionPlan:
    """What to learn."""

    base: BpeFile  # the tokenizer to extend
    files: Sequence[Path]  # the text, see `text_chunks`
    vocab_size: int  # new tokens in all
    superwords: int = 0  # how many of them are superwords
    field: str = "text"  # of JSON lines
    # A file counts as the size of its text to this power. None: a word of it counts as the share of
    # its words that occur there once, which is the chance that the next one is new (Good 1953).
    # Statutes, which repeat themselves, then do not drown the rest.
    balance: float | None = None
    protection: Protection = dataclasses.field(default_factory=protect_english)
    boundaries: Boundaries | None = None  # where morphemes begin, see `token_morphemes`
    morphemes: str | None = None  # what `boundaries` are from

    def __post_init__(self) -> None:
        if self.vocab_size < 1:
            raise UserError(f"--vocab-size is {self.vocab_size}; it must be at least 1")
        if not 0 <= self.superwords < self.vocab_size:
            raise UserError(
                f"--superwords is {self.superwords}; it must be at least 0 and below "
                f"--vocab-size = {self.vocab_size}, which counts them too"
            )
        if self.balance is not None and not 0 <= self.balance <= 1:
            raise UserError(f"--balance is {self.balance}; it must be from 0 to 1")
        if self.superwords:
            superword_expression(self.base)

    def record(self) -> dict[str, Any]:
        """All that determines the result, as JSON."""
        return {
            "base_sha256": self.base.sha256,
            "text": [path.name for path in self.files],
            "text_sha256": text_sha256(self.files),
            "field": self.field,
            "vocab_size": self.vocab_size,
            "superwords": self.superwords,
            "balance": self.balance,
            **self.protection.record(),
            "morphemes": self.morphemes,
        }

    def weights(self, sources: Sequence[Source]) -> list[int]:
        """What a word of each file counts."""
        if self.balance is None:
            rates = [max(each.once, 1) / max(each.words, 1) for each in sources]
        else:
            rates = [max(each.size, 1) ** (self.balance - 1) for each in sources]
        return [round(_UNIT * rate / min(rates)) for rate in rates]


@contextlib.contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """One progress bar per stage, with the time that is left."""
    bars: dict[str, tqdm] = {}
    with contextlib.ExitStack() as closing:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                closing.close()  # the bar before
                bars[stage] = closing.enter_context(tqdm(desc=stage, total=total, unit_scale=True))
            bars[stage].update(done - bars[stage].n)

        yield report


def learn_extension(plan: ExtensionPlan, report: OnProgress) -> Vocabulary:
    """Learns the tokens of `plan`.

    Raises:
      UserError: a file is broken, or the text has too few pairs.
    """
    expression = superword_expression(plan.base) if plan.superwords else None
    tokenizer = read_library(plan.base.extended([], [], expression))
    tokenizer.encode_special_tokens = False  # all added tokens are borders, special or not
    total = sum(map(text_bytes, plan.files))  # about
    text = count_words(
        *(plan.files, plan.field, tokenizer, plan.weights),
        lambda n: report("counting words", n, total),
    )
    report("counting words", total, total)
    if not (text.order >= 0).any():
        raise UserError("--text: there is no text in it")
    vocabulary = Vocabulary(plan.base)
    subwords = plan.vocab_size - plan.superwords

    def learn(
        stage: Stage, symbols: Symbols, new_tokens: int, refuse: Refusal, at_least: int
    ) -> Symbols:
        def progress(done: int) -> None:
            report(f"{stage}s", done, new_tokens)

        return learn_merges(stage, vocabulary, symbols, new_tokens, refuse, at_least, progress)

    ids, offsets, _ = text.table.words()
    morphemes, factor = None, 1
    if plan.boundaries is not None:
        morphemes = token_morphemes(ids, offsets, vocabulary.tokens, plan.boundaries)
        factor = ALIGNED
    inside, across = plan.protection.refusals(plan.base, tokenizer, text, factor)
    symbols = word_symbols(ids, offsets, text.counts, morphemes)
    try:
        words = learn("subword", symbols, subwords, inside, _SUBWORD_OCCURRENCES * factor * _UNIT)
        if plan.superwords:
            joints = superword_symbols(words, text, vocabulary)
            learn("superword", joints, plan.superwords, across, _SUPERWORD_OCCURRENCES * _UNIT)
    except OutOfPairs:
        found = vocabulary.new_tokens
        given, most = f"--vocab-size is {plan.vocab_size}", f"{found:,} subwords"
        if found >= subwords:
            given, most = f"--superwords is {plan.superwords}", f"{found - subwords:,}"
        raise UserError(
            f"{given}; this text supports at most {most} (pairs that occur often enough): give "
            "more text or a smaller number"
        ) from None
    return vocabulary


def text_sha256(files: Iterable[Path]) -> str:
    """sha256 (hex) of the bytes of some files, in order, or a `UserError`."""
    digest = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def finished(out: Path, record: dict[str, Any]) -> bool:
    """Whether the tokenizer of `record` is in `out`; a `UserError` if another one is."""
    try:
        saved = read_json_object(out / RECORD_FILE)
    except UserError:
        return False  # none, or one that was cut off
    names = sorted(name for name in saved | record if saved.get(name) != record.get(name))
    if names:
        raise UserError(
            f"{out}: what is here was made with other settings ({', '.join(names)}); give "
            "those, or --fresh to begin anew"
        )
    return True


def write_extension(out: Path, vocabulary: Vocabulary, record: dict[str, Any]) -> None:
    """Writes an extended tokenizer into a folder; `RECORD_FILE` comes last and marks it complete.

    `TOKENIZER_FILE` and `CONFIG_FILE` are what `AutoTokenizer` of `transformers` reads,
    `MERGES_FILE` says of every new merge when and why it was made. A failure is a `UserError`.
    """
    base = vocabulary.base
    joined = followers(vocabulary)
    expression = superword_expression(base, joined) if joined else None
    content = base.extended(vocabulary.added_tokens(), vocabulary.added_merges(), expression)
    _check(content, vocabulary)
    replace_file(out / TOKENIZER_FILE, content)
    replace_file(out / CONFIG_FILE, _json(_loader_settings(Path(base.name))))
    replace_file(out / MERGES_FILE, _merges_table(vocabulary).encode())
    replace_file(out / RECORD_FILE, _json(record))


def _check(content: bytes, vocabulary: Vocabulary) -> None:
    """A failure here is a bug of this package, not a mistake of the user."""
    base = vocabulary.base
    tokenizer = read_library(content)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    assert all(ids[token] == index for token, index in (base.vocab | base.added).items())
    new = {ids[token]: token for token in vocabulary.added_tokens()}
    assert sorted(new) == list(range(base.next_id, base.next_id + len(new)))
    assert not unreachable_tokens(tokenizer, new)


def _loader_settings(base: Path) -> dict[str, Any]:
    """The settings beside the base, for a class that takes `TOKENIZER_FILE` as it is.

    The classes named after a model (`Qwen2Tokenizer`) take the vocabulary from it and bring a
    pre-tokeniser of their own.
    """
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    path = base.with_name(CONFIG_FILE)
    if path.is_file():
        settings = read_json_object(path)
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
