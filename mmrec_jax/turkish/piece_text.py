"""What each id of a tokenizer spells inside a text."""

from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError

_BROKEN = "\ufffd"


def piece_texts(tokenizer: Tokenizer) -> list[str | None]:
    """The text of each id as it stands behind a letter, spaces included.

    An id alone may be decoded otherwise (a space before the first word of a text is dropped by
    some tokenizers), so each is decoded behind the id of "a".

    Returns:
      One entry an id: "" for special ids, None for ids that are parts of a character, or that the
      tokenizer does not decode alone.
    """
    try:
        anchor = [int(tokenizer.encode("a")[-1])]
    except UserError:  # a vocabulary of characters without an a
        anchor = []
    before = tokenizer.decode(anchor)
    special = (tokenizer.bos_id, tokenizer.eos_id)
    texts: list[str | None] = []
    for index in range(tokenizer.vocab_size):
        if index in special:
            texts.append("")
            continue
        both = tokenizer.decode([*anchor, index])
        whole = both.startswith(before) and _BROKEN not in both
        texts.append(both[len(before) :] if whole else None)
    return texts
