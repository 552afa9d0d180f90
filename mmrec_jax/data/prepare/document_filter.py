"""Which documents are kept, by what can be seen of one document alone."""

import functools
import re
from collections import Counter

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from datatrove.utils.word_tokenizers import WordTokenizer
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.errors import UserError

_WORD = re.compile(r"\w+")
_STRETCH = 100  # characters that the language is told from, at four places of a document


class Words(WordTokenizer):
    """Words as runs of letters and digits: datatrove's own splitter of Turkish needs spaCy."""

    def word_tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """No step of ours asks for sentences."""
        raise NotImplementedError

    span_tokenize = sent_tokenize


class DocumentFilter:
    """Says why documents are left out.

    Attributes:
      languages: how many documents came to be asked for their language, by what it was.
    """

    def __init__(self, settings: PrepareSettings) -> None:
        """Loads what the settings need; raises as `language_identifier`."""
        self.languages: Counter[str] = Counter()
        self._settings = settings
        self._identifier = language_identifier(settings.language) if settings.language else None
        self._quality: BaseFilter | None = None
        if settings.quality == "repetition":
            self._quality = GopherRepetitionFilter(language=Words())
        elif settings.quality == "fineweb":
            self._quality = FineWebQualityFilter(language=Words())

    def refuse(self, text: str, broken: int) -> str | None:
        """Why a text with so many `broken_characters` is left out; None: it is kept.

        That is "empty", "too_short", "too_long", "broken", "language", or the name of the quality
        filter and its own reason. A text without words is no business of a quality filter.
        """
        settings = self._settings
        length = len(text.strip())
        if not length:
            return "empty"
        if length < settings.min_chars:
            return "too_short"
        if settings.max_chars and length > settings.max_chars:
            return "too_long"
        if broken > settings.max_broken * length:
            return "broken"
        if self._identifier is not None:
            language = self._identifier.classify(_stretches(text))[0]
            self.languages[language] += 1
            if settings.language not in ("any", language):
                return "language"
        if self._quality is not None and _WORD.search(text):
            kept, reason = get_filter_result(self._quality.filter(Document(text, "")))
            if not kept:
                return f"{settings.quality}_{reason}"
        return None


@functools.cache
def _load_identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def language_identifier(language: str) -> LanguageIdentifier:
    """What tells languages apart, `language` among them.

    Raises:
      UserError: it does not know `language`, and that is not "any".
    """
    identifier = _load_identifier()
    if language not in ("any", *identifier.labels):
        known = ", ".join(sorted(identifier.labels))
        raise UserError(f"--language is {language!r}; it must be any, or one of {known}")
    return identifier


def _stretches(text: str) -> str:
    """The text, or of a long one its beginning, its end and two stretches between."""
    if len(text) <= 4 * _STRETCH:
        return text
    starts = ((len(text) - _STRETCH) * third // 3 for third in range(4))
    return " ".join(text[start : start + _STRETCH] for start in starts)
