"""What a tokenizer makes of one text, beside another tokenizer."""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.encoder import Encoder
from mmrec_jax.tokenizers.vowel_mixing import mixed_share

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_BATCH = 2_000_000  # characters


@dataclasses.dataclass
class TextScore:
    """Counts of one text.

    Attributes:
      name: of the text.
      bytes: UTF-8 bytes of its NFC form.
      characters: code points of it.
      words: what stands between white space.
      tokens: of the tokenizer.
      base_tokens: of the base.
      base_pre_tokens: pieces that the base cuts the text into before any merge; None: not known.
      sentences: how many were compared.
      changed_sentences: those whose ids are not those of the base.
      mixed: share of the tokenizer's pieces that break vowel harmony, see `mixed_share`.
      base_mixed: the same of the base.
      tokens_per_word: how many words are so many tokens, each word encoded alone behind a space.
      base_tokens_per_word: the same of the base.
    """

    name: str
    bytes: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    base_tokens: int = 0
    base_pre_tokens: int | None = 0
    sentences: int = 0
    changed_sentences: int = 0
    mixed: float | None = None
    base_mixed: float | None = None
    tokens_per_word: dict[int, int] = dataclasses.field(default_factory=dict)
    base_tokens_per_word: dict[int, int] = dataclasses.field(default_factory=dict)

    def figures(self) -> dict[str, float | None]:
        """Ratios of the counts.

        `reduction` is the share of the base's tokens that are saved; `ceiling` the share that
        would be if every pre-token of the base were one token.
        """
        ceiling = None
        if self.base_pre_tokens is not None:
            ceiling = 1 - self.base_pre_tokens / self.base_tokens
        return {
            "tokens_a_word": self.tokens / max(self.words, 1),
            "base_tokens_a_word": self.base_tokens / max(self.words, 1),
            "bytes_a_token": self.bytes / self.tokens,
            "characters_a_token": self.characters / self.tokens,
            "reduction": 1 - self.tokens / self.base_tokens,
            "ceiling": ceiling,
            "changed": self.changed_sentences / max(self.sentences, 1),
        }


def score_text(name: str, pieces: Iterable[str], tokenizer: Encoder, base: Encoder) -> TextScore:
    """Counts a text piece by piece.

    Args:
      name: of the text.
      pieces: of it, in any normal form; tokens do not reach from one into the next.
      tokenizer: the one that is measured.
      base: the one that it is compared with.

    Raises:
      UserError: there is no text.
    """
    score = TextScore(name)
    words: Counter[str] = Counter()
    pieces_seen: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for batch in _normalised(pieces):
        score.bytes += sum(len(piece.encode()) for piece in batch)
        score.characters += sum(map(len, batch))
        for encoder, seen in zip((tokenizer, base), pieces_seen, strict=True):
            for ids in encoder.encode(batch):
                seen.update(ids)
        cut = base.count_pre_tokens(batch)
        score.base_pre_tokens = None if cut is None else (score.base_pre_tokens or 0) + cut
        sentences = [each for piece in batch for each in _SENTENCE_END.split(piece) if each]
        pairs = zip(tokenizer.encode(sentences), base.encode(sentences), strict=True)
        score.sentences += len(sentences)
        score.changed_sentences += sum(ids != old for ids, old in pairs)
        for piece in batch:
            words.update(piece.split())
    score.tokens, score.base_tokens = (seen.total() for seen in pieces_seen)
    if not score.tokens:
        raise UserError(f"{name}: there is no text in this file")
    score.words = words.total()
    score.mixed, score.base_mixed = map(mixed_share, (tokenizer, base), pieces_seen)
    alone = [f" {word}" for word in words]
    for encoder, found in (
        (tokenizer, score.tokens_per_word),
        (base, score.base_tokens_per_word),
    ):
        for count, ids in zip(words.values(), encoder.encode(alone), strict=True):
            found[len(ids)] = found.get(len(ids), 0) + count
    return score


def _normalised(pieces: Iterable[str]) -> Iterator[Sequence[str]]:
    """Batches of a bounded size of NFC pieces that are not blank."""
    batch: list[str] = []
    size = 0
    for piece in pieces:
        if not piece.strip():
            continue
        batch.append(unicodedata.normalize("NFC", piece))
        size += len(piece)
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
