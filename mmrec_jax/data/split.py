"""Which document is trained on and which is held out, decided by a hash and by nothing else."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

Split = Literal["train", "validation", "test"]


def hash_share(key: str | bytes) -> float:
    """A number in [0, 1) that depends only on `key` (sha256), uniform over keys.

    `key`: text, or what it is in UTF-8.
    """
    digest = hashlib.sha256(key.encode("utf-8") if isinstance(key, str) else key).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def fixed_split(name: str) -> Split:
    """The split of a built-in document: about 90 % train, 5 % validation, 5 % test.

    A share below 0.05 is validation, below 0.10 test, the rest train; the share is `hash_share` of
    the document's name, so adding or removing other documents never moves this one.
    """
    share = hash_share(name)
    if share < 0.05:
        return "validation"
    return "test" if share < 0.10 else "train"


def hold_out(
    documents: Sequence[Document], fraction: float
) -> tuple[list[Document], list[Document]]:
    """Splits a user's documents into (train, validation).

    Several documents are split whole, by a hash of their *text*: a copy of a document lands on the
    same side as the original, and new documents do not move old ones. When no hash falls below
    `fraction`, the document with the lowest one is held out. A single document is cut: its last
    `fraction` of characters is the validation text.

    Raises:
      UserError: either side would be empty.
    """
    if len(documents) == 1:
        (document,) = documents
        cut = int(len(document.text) * (1 - fraction))
        train = [Document(document.name, document.text[:cut])]
        held = [Document(f"{document.name} (held-out end)", document.text[cut:])]
        if not (train[0].text and held[0].text):
            raise UserError(
                f"{document.name}: {len(document.text)} characters are too few to hold out "
                f"config.data.validation_fraction = {fraction} of them; set config.data.validation"
            )
        return train, held
    below = held_out([document.text for document in documents], fraction)
    train = [document for document, held_out in zip(documents, below, strict=True) if not held_out]
    held = [document for document, held_out in zip(documents, below, strict=True) if held_out]
    if not train:
        raise UserError(
            f"holding out config.data.validation_fraction = {fraction} of {len(documents)} "
            "documents leaves none to train on; lower it or set config.data.validation"
        )
    return train, held


def held_out(keys: Sequence[str], fraction: float) -> list[bool]:
    """Which of some things are held out: those whose key's hash falls below `fraction`.

    Equal keys stay together. When no hash falls below it, the lowest one is held out.
    """
    shares = [hash_share(key) for key in keys]
    lowest = min(shares)
    return [share < fraction or share == lowest for share in shares]
