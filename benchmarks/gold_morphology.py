"""Files of gold morphology: lemmas, rules and inflected forms of Turkish words."""

from collections.abc import Sized
from pathlib import Path

from mmrec_jax.errors import UserError
from mmrec_jax.turkish.letters import lower, words
from mmrec_jax.turkish.phonology import RULES

_PHONOLOGY = "phonology-"


def lemmas(conllu: Path) -> list[tuple[str, str]]:
    """(word, lemma) of the rows of Universal Dependencies that have a letter and a lemma."""
    found = []
    for row in _rows(conllu, 10):
        if row[0].isdigit() and row[2] != "_" and any(letter.isalpha() for letter in row[1]):
            found.append((row[1], row[2]))
    _refuse_none(conllu, found)
    return found


def rule_pairs(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """The rule after which `phonology-RULE.tsv` is named, and its (form, form after the rule).

    The files are tests of Google's Turkish morphology: a name, a form, what the rule makes of it.
    """
    rule = path.stem.removeprefix(_PHONOLOGY)
    if rule not in RULES:
        raise UserError(f"{path}: its name is not {_PHONOLOGY}RULE.tsv, RULE one of {list(RULES)}")
    pairs = [(row[1], row[2]) for row in _rows(path, 3)]
    _refuse_none(path, pairs)
    return rule, pairs


def inflected_forms(path: Path) -> list[str]:
    """The distinct words of the forms of a SIGMORPHON file, in lower case.

    Its columns are lemma, form and features (2018) or lemma, features and form (2023). Features
    have semicolons, forms have none.
    """
    found: dict[str, None] = {}
    for _, first, second in _rows(path, 3):
        form = second if ";" in first else first
        found.update(dict.fromkeys(words(lower(form))))
    _refuse_none(path, found)
    return list(found)


def read(path: Path) -> str:
    """The text of a file, or a `UserError`."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _rows(path: Path, columns: int) -> list[list[str]]:
    rows = []
    for number, line in enumerate(read(path).split("\n"), 1):
        if line and not line.startswith("#"):
            row = line.split("\t")
            if len(row) != columns:
                raise UserError(f"{path}:{number}: {len(row)} columns instead of {columns}")
            rows.append(row)
    return rows


def _refuse_none(path: Path, found: Sized) -> None:
    if not found:
        raise UserError(f"{path}: there are no words in this file")
