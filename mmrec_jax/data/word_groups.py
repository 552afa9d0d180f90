"""Words of a treebank that splits them into inflectional groups, such as the Turkish Web Treebank.

A word is written as its groups, one a row; every row but its last has the relation `ig` to the
next one.
"""

import re
from collections.abc import Iterator

from mmrec_jax.errors import UserError

_COLUMNS = 10
_NO_WORD = re.compile(r"\d+[-.]\d+")  # the number of a range of rows, or of an empty node


def word_groups(conllu: str, name: str, first_line: int = 1) -> Iterator[list[list[str]]]:
    """The words of a text in CoNLL-U, in their order, each as the columns of its rows.

    Rows that repeat others as a range (`1-2`) and empty nodes (`1.1`) are left out, and so is a
    word that the end of its sentence breaks off. Errors name the file and the line.

    Raises:
      UserError: a row does not have ten columns.
    """
    groups: list[list[str]] = []
    for number, line in enumerate(conllu.split("\n"), first_line):
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
            yield groups
            groups = []
