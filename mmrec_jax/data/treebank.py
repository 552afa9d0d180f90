"""The default corpus: sentences of the Turkish Web Treebank (Apache-2.0), from the package index.

The distribution `turkish-treebanks` holds 4,851 sentences of Wikipedia articles and of web pages.
Of its annotations nothing is used here (`instructions/treebank_pairs.py` does), only the `# text`
lines. A document is all sentences whose `sent_id` agrees before `:S`. The sentences of one document
were *sampled* from it (their numbers have gaps), so they are joined by a newline, not by a space:
neighbours need not have been neighbours.
"""

import importlib.metadata
from pathlib import Path

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

_DISTRIBUTION = "turkish-treebanks"
_FILES = ("data/wiki.conllu", "data/web.conllu")
SENTENCE_ID = "# sent_id = "
TEXT = "# text = "


def treebank_documents() -> list[Document]:
    """All documents of the treebank, sorted by name, each with its sentences in their order.

    Raises:
      UserError: the package is not installed or its files are gone.
    """
    sentences: dict[str, list[tuple[int, str]]] = {}
    for path in treebank_files():
        identifier = ""
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.startswith(SENTENCE_ID):
                identifier = line.removeprefix(SENTENCE_ID)
            elif line.startswith(TEXT):
                name, _, number = identifier.rpartition(":S")
                sentences.setdefault(name, []).append((int(number), line.removeprefix(TEXT)))
    return [
        Document(name, "\n".join(text for _, text in sorted(sentences[name])))
        for name in sorted(sentences)
    ]


def treebank_files() -> list[Path]:
    """The files of the treebank, in the CoNLL-U format.

    Raises:
      UserError: the package is not installed or its files are gone.
    """
    # The package itself is never imported: it would load its protobuf schema.
    remedy = f'install it with "pip install {_DISTRIBUTION}" or choose another config.data.source'
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f'config.data.source "treebank" needs the package {_DISTRIBUTION}, which is not '
            f"installed; {remedy}"
        ) from None
    paths = [Path(str(distribution.locate_file(name))) for name in _FILES]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: this file of {_DISTRIBUTION} is missing; re{remedy}")
    return paths
