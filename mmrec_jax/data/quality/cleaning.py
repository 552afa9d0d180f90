"""Control characters, which are no text."""

import re

from mmrec_jax.data.document import Document

# Unicode's category Cc but tab and newline.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_RETURN = re.compile(r"\r\n?")


def clean(document: Document) -> tuple[Document, int]:
    """A document without control characters, in normal form C, and how many there were.

    A carriage return, with the newline behind it if there is one, becomes a newline; all others of
    category Cc but tab and newline are left out.
    """
    if not _CONTROL.search(document.text):
        return document, 0
    text, returns = _RETURN.subn("\n", document.text)
    text, others = _CONTROL.subn("", text)
    return Document(document.name, text), returns + others
