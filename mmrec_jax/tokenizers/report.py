"""What a tokenizer is worth beside another, measured on texts: as JSON and Markdown."""

import contextlib
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from mmrec_jax.tokenizers.text import batched
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.turkish.letters import FRONT, LETTERS, VOWELS, lower

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_BATCH = 2_000_000  # characters

# The columns of the Markdown, their format, and where their numbers stand in the score of a text.
_COLUMNS = (
    ("text", "", "name"),
    ("words", ",", "words"),
    ("tokens/word", ".3f", "tokens_a_word"),
    ("base", ".3f", "base_tokens_a_word"),
    ("bytes/token", ".3f", "bytes_a_token"),
    ("characters/token", ".3f", "characters_a_token"),
    ("fewer tokens", ".2%", "reduction"),
    ("ceiling", ".2%", "ceiling"),
    ("sentences changed", ".2%", "changed"),
    ("mixed vowels", ".2%", "mixed"),
    ("base", ".2%", "base_mixed"),
)
_LEGEND = (
    "Fewer tokens: the share of the base's tokens that is saved. Ceiling: what would be saved if "
    "every pre-token of the base were one token. Changed: other ids than the base's. Mixed vowels: "
    "tokens with front and back vowels in one word, of those with two or more vowels."
)
_BOUNDARY_COLUMNS = ("tokens against gold morphemes", "precision", "recall", "words of one token")


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of NFC texts, in parallel where the library can."""
    if isinstance(tokenizer, HuggingFaceTokenizer):
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    return [tokenizer.encode(text).tolist() for text in texts]


def count_pre_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """How many pre-tokens the texts are split into; 0 if that is not known."""
    if not isinstance(tokenizer, HuggingFaceTokenizer):
        return 0
    return sum(len(set(each.word_ids)) for each in tokenizer.encode_batch(texts))


def token_texts(tokenizer: Tokenizer, text: str) -> list[str]:
    """What each token of a short text adds to it; "" for one that ends inside a character."""
    ids = tokenizer.encode(text)
    seen, found = "", []
    for count in range(1, len(ids) + 1):
        decoded = tokenizer.decode(ids[:count])
        whole = decoded if "\ufffd" not in decoded else seen
        found.append(whole[len(seen) :])
        seen = whole
    return found


def mixed_share(tokenizer: Tokenizer, counts: Mapping[int, int]) -> float | None:
    """The share of tokens that break palatal harmony.

    Of the tokens with two or more vowels in one word, those with front and back vowels in one
    word; None if there are none. `counts`: how often each id occurs.
    """
    mixed = several = 0
    for index, count in counts.items():
        text = tokenizer.decode([index]).replace("\ufffd", "")
        vowels = [[x in FRONT for x in lower(y) if x in VOWELS] for y in LETTERS.findall(text)]
        if any(len(found) > 1 for found in vowels):
            several += count
            mixed += count * any(len(set(found)) == 2 for found in vowels)
    return mixed / several if several else None


def score_text(
    name: str, chunks: Iterable[str], tokenizer: Tokenizer, base: Tokenizer
) -> dict[str, Any]:
    """The counts of a text in chunks, brought to NFC, and their ratios.

    Words are separated by white space. `reduction` is the share of the base's tokens that are
    saved; `words_by_tokens` the share of words, each after a space, that are so many tokens;
    `ceiling` the share that would be if every pre-token of the base were one token (None
    where these are not known); `changed` the share of sentences with other ids than the base's.

    Raises:
      UserError: the text is blank, or a character that a tokenizer refuses.
    """
    counts, base_counts = Counter[int](), Counter[int]()
    words = Counter[str]()
    size = characters = pre_tokens = sentences = changed = 0
    normalised = (unicodedata.normalize("NFC", chunk) for chunk in chunks if chunk.strip())
    for batch in batched(normalised, _BATCH):
        size += sum(len(chunk.encode()) for chunk in batch)
        characters += sum(map(len, batch))
        words.update(itertools.chain.from_iterable(map(str.split, batch)))
        counts.update(itertools.chain.from_iterable(encode(tokenizer, batch)))
        base_counts.update(itertools.chain.from_iterable(encode(base, batch)))
        pre_tokens += count_pre_tokens(base, batch)
        parts = [each for chunk in batch for each in _SENTENCE_END.split(chunk) if each]
        pairs = zip(encode(tokenizer, parts), encode(base, parts), strict=True)
        sentences += len(parts)
        changed += sum(ids != old for ids, old in pairs)
    tokens, base_tokens = counts.total(), base_counts.total()
    if not tokens:
        raise UserError(f"{name}: there is no text in this file")
    return {
        "name": name,
        "bytes": size,
        "characters": characters,
        "words": words.total(),
        "tokens": tokens,
        "base_tokens": base_tokens,
        "base_pre_tokens": pre_tokens or None,
        "sentences": sentences,
        "changed_sentences": changed,
        "mixed": mixed_share(tokenizer, counts),
        "base_mixed": mixed_share(base, base_counts),
        "tokens_a_word": tokens / words.total(),
        "base_tokens_a_word": base_tokens / words.total(),
        "words_by_tokens": _words_by_tokens(words, tokenizer),
        "base_words_by_tokens": _words_by_tokens(words, base),
        "bytes_a_token": size / tokens,
        "base_bytes_a_token": size / base_tokens,
        "characters_a_token": characters / tokens,
        "reduction": 1 - tokens / base_tokens,
        "ceiling": 1 - pre_tokens / base_tokens if pre_tokens else None,
        "changed": changed / sentences,
    }


def _words_by_tokens(words: Mapping[str, int], tokenizer: Tokenizer) -> dict[int, float]:
    shares = Counter[int]()
    for batch in batched((f" {word}" for word in words), _BATCH):
        for word, ids in zip(batch, encode(tokenizer, batch), strict=True):
            shares[len(ids)] += words[word[1:]]
    return {number: count / shares.total() for number, count in sorted(shares.items())}


def score_boundaries(tokenizer: Tokenizer, gold: Mapping[str, Collection[int]]) -> dict[str, float]:
    """Compares the tokens of distinct words, each after a space, with gold boundaries.

    `gold` has the offsets (characters) at which a morpheme begins, without the first; words without
    any are not counted. `precision` is the share of borders between tokens that are morpheme
    boundaries, `recall` the share of these at which a token begins; `whole_words` are one token.
    """
    words = borders = morphemes = both = whole = 0
    for word, expected in gold.items():
        if not expected:
            continue
        ends = list(itertools.accumulate(map(len, token_texts(tokenizer, f" {word}"))))
        shift = ends[-1] - len(word)  # 0 where the tokens do not spell the space
        found = {end - shift for end in ends} - {0, len(word)}
        words += 1
        borders += len(found)
        morphemes += len(expected)
        both += len(found & set(expected))
        whole += not found
    return {
        "words": words,
        "piece_boundaries": borders,
        "morpheme_boundaries": morphemes,
        "both": both,
        "whole_words": whole,
        "precision": both / max(borders, 1),
        "recall": both / max(morphemes, 1),
    }


def make_report(
    tokenizer: Tokenizer,
    base: Tokenizer,
    texts: Mapping[Path, Iterable[str]],
    gold: Mapping[str, Collection[int]],
) -> dict[str, Any]:
    """Measures a tokenizer beside another: on texts in chunks, and on words with boundaries.

    `new_tokens` and `unreachable` (those of them that no text gives) are None unless both are
    byte-level BPE.
    """
    new = unreachable = None
    with contextlib.suppress(UserError):
        mine, old = (BpeFile.from_content(each.content, "") for each in (tokenizer, base))
        new = {index: token for token, index in mine.vocab.items() if token not in old.vocab}
        ids = unreachable_tokens(read_library(tokenizer.content), new)
        unreachable = [new[index] for index in ids]
    scored = (("tokenizer", tokenizer), ("base", base)) if gold else ()
    return {
        "vocabulary": tokenizer.vocab_size,
        "new_tokens": None if new is None else len(new),
        "unreachable": unreachable,
        "texts": [score_text(path.name, chunks, tokenizer, base) for path, chunks in texts.items()],
        "boundaries": {name: score_boundaries(each, gold) for name, each in scored},
    }


def markdown(report: Mapping[str, Any]) -> str:
    """A report of `make_report`, with what `tokenizer` and `base` are called, as Markdown."""
    about = f"Beside `{report['base']}`. {report['vocabulary']:,} ids."
    if report["new_tokens"] is not None:
        unreachable = len(report["unreachable"])
        about += f" New tokens: {report['new_tokens']:,}, unreachable: {unreachable:,}."
    rows = [
        ["" if text[key] is None else format(text[key], style) for _, style, key in _COLUMNS]
        for text in report["texts"]
    ]
    names = [name for name, _, _ in _COLUMNS]
    lines = [f"# {report['tokenizer']}", "", about, *_table(names, rows), "", _LEGEND]
    if report["boundaries"]:
        scores = [
            [
                *(name, f"{each['precision']:.2%}", f"{each['recall']:.2%}"),
                f"{each['whole_words']:,} of {each['words']:,}",
            ]
            for name, each in report["boundaries"].items()
        ]
        lines += _table(_BOUNDARY_COLUMNS, scores)
    return "\n".join(lines) + "\n"


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Writes `report.json` and `report.md`, or raises a `UserError`."""
    replace_file(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    replace_file(folder / "report.md", markdown(report).encode())


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, after an empty one."""
    header, *table = (f"| {' | '.join(row)} |" for row in (names, *rows))
    return ["", header, "|" + "---|" * len(names), *table]
