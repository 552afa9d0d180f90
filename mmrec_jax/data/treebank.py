"""The default corpus: sentences of the Turkish Web Treebank (Apache-2.0), from the package index.

The distribution `turkish-treebanks` holds 4,851 sentences of Wikipedia articles and of web pages,
in CoNLL-U. It writes a word as its inflectional groups, one a row; every row but its last has the
relation `ig` to the next one.

A document is all sentences whose `sent_id` agrees before `:S`. The sentences of one document were
*sampled* from it (their numbers have gaps), so they are joined by a newline, not by a space:
neighbours need not have been neighbours.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

_DISTRIBUTION = "turkish-treebanks"
_REMEDY = f'install it with "pip install {_DISTRIBUTION}"'
_FIELD = re.compile("^# (.+?) = (.*)$", re.MULTILINE)
_COLUMNS = 10
_NO_WORD = re.compile(r"\d+[-.]\d+")  # the number of a range of rows, or of an empty node


class Sentence(NamedTuple):
    """A sentence of the treebank."""

    name: str  # of its document, ":S" and its number in it
    text: str
    conllu: str  # with its annotation, for `annotated_words`

    @property
    def document(self) -> str:
        """The name of the document that it is from."""
        return self.name.rpartition(":S")[0]


def treebank_documents() -> list[Document]:
    """All documents of the treebank, sorted by name, each with its sentences in their order.

    Raises:
      UserError: the package is not installed or its files are gone.
    """
    documents: dict[str, list[Sentence]] = {}
    for sentence in treebank_sentences():
        documents.setdefault(sentence.document, []).append(sentence)

    def in_order(name: str) -> list[Sentence]:
        return sorted(documents[name], key=lambda each: int(each.name.removeprefix(f"{name}:S")))

    return [
        Document(name, "\n".join(sentence.text for sentence in in_order(name)))
        for name in sorted(documents)
    ]


def treebank_sentences() -> Iterator[Sentence]:
    """All sentences, in the order of the files; errors as of `treebank_documents`."""
    for part in ("wiki", "web"):
        for block in treebank_file(part).read_text(encoding="utf-8").split("\n\n"):
            fields = dict(_FIELD.findall(block))
            if "sent_id" in fields:
                yield Sentence(fields["sent_id"], fields["text"], block)


def treebank_file(part: Literal["wiki", "web"]) -> Path:
    """Where one part of the treebank lies, in CoNLL-U; raises as `treebank_documents`."""
    distribution = _distribution()
    path = Path(str(distribution.locate_file(f"data/{part}.conllu")))
    if not path.is_file():
        raise UserError(f"{path}: this file of {_DISTRIBUTION} is missing; re{_REMEDY}")
    return path


def treebank_version() -> str:
    """The name and version of the package, or a `UserError` where it is not installed."""
    return f"{_DISTRIBUTION} {_distribution().version}"


def _distribution() -> importlib.metadata.Distribution:
    # The package itself is never imported: it would load its protobuf schema.
    try:
        return importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the Turkish treebank needs the package {_DISTRIBUTION}, which is not installed; "
            f"{_REMEDY}, or choose another config.data.source"
        ) from None


@dataclasses.dataclass(frozen=True)
class Word:
    """A word as its inflectional groups, at least one: the columns of their rows."""

    groups: list[list[str]]

    @functools.cached_property
    def form(self) -> str:
        """As it is written."""
        return "".join(group[1] for group in self.groups)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Where its groups begin, without the first."""
        return tuple(itertools.accumulate(len(group[1]) for group in self.groups[:-1]))

    @property
    def lemma(self) -> str:
        """Of its root."""
        return self.groups[0][2]

    @property
    def part(self) -> str:
        """The part of speech of its last group, such as "NOUN"."""
        return self.groups[-1][3]

    @functools.cached_property
    def features(self) -> dict[str, str]:
        """Those of its last group; of two of one name the first: a predicate's number as a noun."""
        entries = reversed(self.groups[-1][5].split("|"))
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def annotated_words(conllu: str, name: str) -> Iterator[Word]:
    """The words of a text in CoNLL-U, in their order.

    Rows that repeat others as a range (`1-2`) and empty nodes (`1.1`) are left out, and so is a
    word that the end of its sentence breaks off. Errors name the file and the line.

    Raises:
      UserError: a row does not have ten columns.
    """
    groups: list[list[str]] = []
    for number, line in enumerate(conllu.split("\n"), 1):
        if not line or line.startswith("#"):
            groups = []
            continue
        row = line.split("\t")
        if len(row) != _COLUMNS:
            raise UserError(f"{name}:{number}: {len(row)} columns; CoNLL-U has {_COLUMNS}")
        if _NO_WORD.fullmatch(row[0]):
            continue
        groups.append(row)
        if row[7] != "ig":
            yield Word(groups)
            groups = []
