"""What a tokenizer is worth beside another, measured on texts: as numbers, Markdown, picture."""

import dataclasses
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
from mmrec_jax.tokenizers.bpe_file import ALPHABET
from mmrec_jax.tokenizers.cache import read_tokenizer_file
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from mmrec_jax.tokenizers.text import batched
from mmrec_jax.turkish.letters import FRONT, LETTERS, VOWELS, lower

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_BATCH = 2_000_000  # characters
_MOST_DRAWN = 8  # tokens of a word; longer words are drawn as of so many
_COLUMNS = 3


class Encoder:
    """A `tokenizer.json` or a sentencepiece `.model` that encodes many texts at once."""

    def __init__(self, path: Path, option: str) -> None:
        """Reads a file; the `UserError` about a bad one names `option`."""
        self.name = str(path)
        self.tokenizer = read_tokenizer_file(path, option)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of NFC texts."""
        if isinstance(self.tokenizer, HuggingFaceTokenizer):
            return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        return [self.tokenizer.encode(text).tolist() for text in texts]

    def count_pre_tokens(self, texts: Sequence[str]) -> int | None:
        """How many pre-tokens the texts are split into; None if that is not known."""
        if not isinstance(self.tokenizer, HuggingFaceTokenizer):
            return None
        return sum(len(set(each.word_ids)) for each in self.tokenizer.encode_batch(texts))

    def byte_level_tokens(self) -> dict[int, str] | None:
        """The tokens that stand for bytes, by id; None if the tokenizer has no such."""
        if not isinstance(self.tokenizer, HuggingFaceTokenizer):
            return None
        library = self.tokenizer.library
        added = {token.content for token in library.get_added_tokens_decoder().values()}
        vocab = library.get_vocab(with_added_tokens=True)
        tokens = {index: token for token, index in vocab.items() if token not in added}
        return tokens if ALPHABET.issuperset("".join(tokens.values())) else None

    def unreachable(self, tokens: Mapping[int, str]) -> list[str]:
        """Those of `byte_level_tokens` that no text gives."""
        assert isinstance(self.tokenizer, HuggingFaceTokenizer)  # else there are no such tokens
        return [tokens[index] for index in unreachable_tokens(self.tokenizer.library, tokens)]

    def token_texts(self, text: str) -> list[str]:
        """What each token of a short text adds to it; "" for one that ends inside a character."""
        ids = self.tokenizer.encode(text)
        seen, found = "", []
        for count in range(1, len(ids) + 1):
            decoded = self.tokenizer.decode(ids[:count])
            whole = decoded if "\ufffd" not in decoded else seen
            found.append(whole[len(seen) :])
            seen = whole
        return found

    def mixed_share(self, counts: Mapping[int, int]) -> float | None:
        """The share of tokens that break palatal harmony.

        Of the tokens with two or more vowels in one word, those with front and back vowels in one
        word; None if there are none. `counts`: how often each id occurs.
        """
        mixed = several = 0
        for index, count in counts.items():
            text = self.tokenizer.decode([index]).replace("\ufffd", "")
            vowels = [[x in FRONT for x in lower(y) if x in VOWELS] for y in LETTERS.findall(text)]
            if any(len(found) > 1 for found in vowels):
                several += count
                mixed += count * any(len(set(found)) == 2 for found in vowels)
        return mixed / several if several else None


@dataclasses.dataclass
class TextScore:
    """Counts of one text."""

    name: str  # of the text
    bytes: int = 0  # UTF-8 bytes of its NFC form
    characters: int = 0  # code points of it
    words: int = 0  # separated by white space
    tokens: int = 0  # of the tokenizer
    base_tokens: int = 0  # of the base
    base_pre_tokens: int | None = 0  # pre-tokens of the base; None: not known
    sentences: int = 0  # how many were compared
    changed_sentences: int = 0  # those whose ids are not those of the base
    mixed: float | None = None  # see `Encoder.mixed_share`
    base_mixed: float | None = None  # the same of the base
    # number of words by number of tokens, each word encoded alone after a space
    tokens_per_word: dict[int, int] = dataclasses.field(default_factory=dict)
    # the same of the base
    base_tokens_per_word: dict[int, int] = dataclasses.field(default_factory=dict)

    def figures(self) -> dict[str, float | None]:
        """Ratios of the counts.

        `reduction` is the share of the base's tokens that are saved; `ceiling` the share that
        would be if every pre-token of the base were one token.
        """
        pre_tokens = self.base_pre_tokens
        return {
            "tokens_a_word": self.tokens / max(self.words, 1),
            "base_tokens_a_word": self.base_tokens / max(self.words, 1),
            "bytes_a_token": self.bytes / self.tokens,
            "characters_a_token": self.characters / self.tokens,
            "reduction": 1 - self.tokens / self.base_tokens,
            "ceiling": None if pre_tokens is None else 1 - pre_tokens / self.base_tokens,
            "changed": self.changed_sentences / max(self.sentences, 1),
        }


def score_text(name: str, chunks: Iterable[str], tokenizer: Encoder, base: Encoder) -> TextScore:
    """Measures a text in chunks, in any normal form; a `UserError` if it is blank."""
    score = TextScore(name)
    words: Counter[str] = Counter()
    counts: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    normalised = (unicodedata.normalize("NFC", chunk) for chunk in chunks if chunk.strip())
    for batch in batched(normalised, _BATCH):
        score.bytes += sum(len(chunk.encode()) for chunk in batch)
        score.characters += sum(map(len, batch))
        for encoder, count in zip((tokenizer, base), counts, strict=True):
            for ids in encoder.encode(batch):
                count.update(ids)
        more = base.count_pre_tokens(batch)
        score.base_pre_tokens = None if more is None else (score.base_pre_tokens or 0) + more
        sentences = [each for chunk in batch for each in _SENTENCE_END.split(chunk) if each]
        pairs = zip(tokenizer.encode(sentences), base.encode(sentences), strict=True)
        score.sentences += len(sentences)
        score.changed_sentences += sum(ids != old for ids, old in pairs)
        for chunk in batch:
            words.update(chunk.split())
    score.tokens, score.base_tokens = (count.total() for count in counts)
    if not score.tokens:
        raise UserError(f"{name}: there is no text in this file")
    score.words = words.total()
    score.mixed, score.base_mixed = tokenizer.mixed_share(counts[0]), base.mixed_share(counts[1])
    score.tokens_per_word = _tokens_per_word(words, tokenizer)
    score.base_tokens_per_word = _tokens_per_word(words, base)
    return score


def _tokens_per_word(words: Mapping[str, int], encoder: Encoder) -> dict[int, int]:
    lengths: Counter[int] = Counter()
    alone = encoder.encode([f" {word}" for word in words])
    for count, ids in zip(words.values(), alone, strict=True):
        lengths[len(ids)] += count
    return dict(lengths)


@dataclasses.dataclass(frozen=True)
class BoundaryScore:
    """Counts over distinct words that have a morpheme boundary inside."""

    words: int  # how many there were
    piece_boundaries: int  # borders between tokens
    morpheme_boundaries: int  # gold borders
    both: int  # borders of both kinds
    whole_words: int  # words that are one token, and so have no border

    @property
    def precision(self) -> float:
        """The share of borders between tokens that are morpheme boundaries."""
        return self.both / max(self.piece_boundaries, 1)

    @property
    def recall(self) -> float:
        """The share of morpheme boundaries at which a token begins."""
        return self.both / max(self.morpheme_boundaries, 1)


def score_boundaries(encoder: Encoder, gold: Mapping[str, Collection[int]]) -> BoundaryScore:
    """Compares the tokens of words, each after a space, with gold boundaries.

    `gold` has the offsets (characters) at which a morpheme begins, without the first; words without
    any are not counted.
    """
    words = borders = morphemes = both = whole = 0
    for word, expected in gold.items():
        if not expected:
            continue
        ends = list(itertools.accumulate(map(len, encoder.token_texts(f" {word}"))))
        shift = ends[-1] - len(word)  # 0 where the tokens do not spell the space
        found = {end - shift for end in ends} - {0, len(word)}
        words += 1
        borders += len(found)
        morphemes += len(expected)
        both += len(found & set(expected))
        whole += not found
    return BoundaryScore(words, borders, morphemes, both, whole)


@dataclasses.dataclass(frozen=True)
class ReportCard:
    """All that was measured of a tokenizer and of its base."""

    tokenizer: str  # its path
    base: str  # that of the base
    vocabulary: int  # how many ids it has
    new_tokens: int | None  # how many tokens the base lacks; None if they cannot be compared so
    unreachable: Sequence[str] | None  # the new tokens that no text gives
    texts: Sequence[TextScore]  # one score per text
    # tokens against gold morphology, by "tokenizer" and "base"; may be empty
    boundaries: Mapping[str, BoundaryScore]

    def record(self) -> dict[str, Any]:
        """Everything, as JSON."""
        content = dataclasses.asdict(self)
        for text, score in zip(content["texts"], self.texts, strict=True):
            text.update(score.figures())
        for name, each in self.boundaries.items():
            content["boundaries"][name] |= {"precision": each.precision, "recall": each.recall}
        return content

    def markdown(self) -> str:
        """Two tables and a few lines."""
        new = ""
        if self.new_tokens is not None and self.unreachable is not None:
            new = f" New tokens: {self.new_tokens:,}, unreachable: {len(self.unreachable):,}."
        header = (
            "text, words, tokens/word, base, bytes/token, characters/token, fewer tokens, ceiling, "
            "sentences changed, mixed vowels, base"
        )
        rows = []
        for text in self.texts:
            of = text.figures()
            ratios = ("tokens_a_word", "base_tokens_a_word", "bytes_a_token", "characters_a_token")
            shares = (of["reduction"], of["ceiling"], of["changed"], text.mixed, text.base_mixed)
            numbers = (f"{of[name]:.3f}" for name in ratios)
            rows.append([text.name, f"{text.words:,}", *numbers, *map(_percent, shares)])
        lines = [f"# {self.tokenizer}", "", f"Beside `{self.base}`. {self.vocabulary:,} ids.{new}"]
        lines += [
            *_table(header, rows),
            "",
            "Fewer tokens: the share of the base's tokens that is saved. Ceiling: what would be "
            "saved if every pre-token of the base were one token. Changed: other ids than the "
            "base's. Mixed vowels: tokens with front and back vowels in one word, of those with "
            "two or more vowels.",
        ]
        if self.boundaries:
            scores = [
                [
                    *(name, f"{each.precision:.2%}", f"{each.recall:.2%}"),
                    f"{each.whole_words:,} of {each.words:,}",
                ]
                for name, each in self.boundaries.items()
            ]
            header = "tokens against gold morphemes, precision, recall, words of one token"
            lines += _table(header, scores)
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Writes `report.json`, `.md` and `.png`, or raises a `UserError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps(self.record(), indent=1) + "\n"
            replace_file(folder / "report.json", content.encode())
            replace_file(folder / "report.md", self.markdown().encode())
            draw_tokens_per_word(self.texts, self.tokenizer, folder / "report.png")
        except OSError as error:
            raise UserError(f"{folder}: cannot write the report: {error.strerror}") from None


def make_card(
    encoder: Encoder,
    base: Encoder,
    texts: Mapping[Path, Iterable[str]],
    gold: Mapping[str, Collection[int]],
) -> ReportCard:
    """Measures a tokenizer beside another: on texts in chunks, and on words with boundaries."""
    mine, others = encoder.byte_level_tokens(), base.byte_level_tokens()
    new = None
    if mine is not None and others is not None:
        old = set(others.values())
        new = {index: token for index, token in mine.items() if token not in old}
    return ReportCard(
        tokenizer=encoder.name,
        base=base.name,
        vocabulary=encoder.tokenizer.vocab_size,
        new_tokens=None if new is None else len(new),
        unreachable=None if new is None else encoder.unreachable(new),
        texts=[score_text(path.name, chunks, encoder, base) for path, chunks in texts.items()],
        boundaries={
            name: score_boundaries(each, gold)
            for name, each in (("tokenizer", encoder), ("base", base))
            if gold
        },
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _table(header: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, after an empty one."""
    names = header.split(", ")
    lines = [" | ".join(row) for row in (names, *rows)]
    table = [f"| {line} |" for line in lines]
    return ["", table[0], "|" + "---|" * len(names), *table[1:]]


def draw_tokens_per_word(texts: Sequence[TextScore], title: str, path: Path) -> None:
    """Writes a PNG: for each text the shares of its words by number of tokens, and the base's."""
    import matplotlib.figure  # slow to import
    from matplotlib.ticker import PercentFormatter

    rows = -(-len(texts) // _COLUMNS)
    columns = min(len(texts), _COLUMNS)
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(4 * columns, 2.8 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for text, axes in zip(texts, panels.flat, strict=False):
        for counts, label, shift in (
            (text.base_tokens_per_word, "base", -0.2),
            (text.tokens_per_word, "tokenizer", 0.2),
        ):
            shares = [0.0] * (_MOST_DRAWN + 1)
            for number, count in counts.items():
                shares[min(number, _MOST_DRAWN)] += count / sum(counts.values())
            bars = [number + shift for number in range(1, _MOST_DRAWN + 1)]
            axes.bar(bars, shares[1:], width=0.4, label=label)
        axes.set_title(text.name, fontsize="small")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", alpha=0.3)
    labels = [str(number) for number in range(1, _MOST_DRAWN)] + [f"{_MOST_DRAWN}+"]
    panels.flat[0].set_xticks(range(1, _MOST_DRAWN + 1), labels)
    panels.flat[0].legend(fontsize="small")
    figure.supxlabel("tokens of a word", fontsize="small")
    figure.suptitle(title)
    for axes in panels.flat[len(texts) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=100)
