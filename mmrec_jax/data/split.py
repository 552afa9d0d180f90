"""Which document is trained on and which is held out, decided by a hash and by nothing else."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.errors import UserError

Split = Literal["train", "validation", "test"]


def hash_share(key: str) -> float:
    """A number in [0, 1) that depends only on `key`, uniform over keys."""
    return hashed_seed(key) / 2.0**64


def text_share(text: str) -> float:
    """`hash_share` of a text; white space around it is not looked at, as it makes no other text."""
    return hash_share(text.strip())


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
    documents: Mapping[str, Sequence[Document]], fraction: float
) -> tuple[dict[str, list[Document]], list[Document]]:
    """Splits the documents of some sources into (train by source, validation).

    Several documents are split whole, by a hash of their *text* (`text_share`): a copy of a
    document lands on the same side as the original, and new documents do not move old ones. When
    no hash falls below `fraction`, the document with the lowest one is held out. A single document
    is cut: its last `fraction` of characters is the validation text. With a fraction of 0 nothing
    is held out.

    Raises:
      UserError: either side would be empty.
    """
    every = [document for some in documents.values() for document in some]
    if len(every) == 1 and fraction:
        (document,) = every
        cut = int(len(document.text) * (1 - fraction))
        train = Document(document.name, document.text[:cut])
        held = Document(f"{document.name} (held-out end)", document.text[cut:])
        if not (train.text and held.text):
            raise UserError(
                f"{document.name}: {len(document.text)} characters are too few to hold out "
                f"config.data.validation_fraction = {fraction} of them; set config.data.validation"
            )
        return {name: [train] if some else [] for name, some in documents.items()}, [held]
    below = iter(held_out([document.text.strip() for document in every], fraction))
    split: dict[str, list[Document]] = {name: [] for name in documents}
    validation: list[Document] = []
    for name, some in documents.items():
        for document in some:
            (validation if next(below) else split[name]).append(document)
    if not any(split.values()):
        raise UserError(
            f"holding out config.data.validation_fraction = {fraction} of {len(every)} "
            "documents leaves none to train on; lower it or set config.data.validation"
        )
    return split, validation


def held_out(keys: Sequence[str], fraction: float) -> list[bool]:
    """Which of some things are held out: those whose key's hash falls below `fraction`.

    Equal keys stay together. When no hash falls below it, the lowest one is held out; with a
    fraction of 0 none is.
    """
    shares = [hash_share(key) for key in keys]
    lowest = min(shares, default=0.0)
    return [fraction > 0 and (share < fraction or share == lowest) for share in shares]
