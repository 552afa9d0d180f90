"""`turkish_char_accuracy`: whether ç, ğ, ı, İ, ö, ş and ü are what they should be."""

import difflib
import unicodedata
from collections.abc import Iterator, Sequence

TURKISH_LETTERS = frozenset("çğıİöşüÇĞÖŞÜ")
_PLAIN = str.maketrans("çğıİöşüÇĞIÖŞÜâîûÂÎÛ", "cgiiosucgiosuaiuaiu")


def turkish_char_accuracy(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Kept / (kept + lost + invented), over the letters ç ğ ı İ ö ş ü and their capitals.

    Each pair of texts is aligned by its letters without marks and case (a longest matching
    alignment, words first). A Turkish letter of the reference is *kept* if the prediction has the
    same letter at that place, else *lost*; one of the prediction that stands beside another letter,
    or beside none, is *invented*.

    `turkish_char_accuracy(["cay içtiğim"], ["çay içtiğim"])`: ç and ğ of `içtiğim` are kept, ç of
    `çay` is lost: 2/3. For "ışık" read "isik" it is 0, and for "isik" read "ışık" too.

    Args:
      predictions: texts.
      references: what each should have been.

    Returns:
      A number in [0, 1]; 1 where neither side has such a letter.

    Raises:
      ValueError: the two are not of the same length.
    """
    kept = lost = invented = 0
    for prediction, reference in zip(predictions, references, strict=True):
        prediction = unicodedata.normalize("NFC", prediction)
        reference = unicodedata.normalize("NFC", reference)
        partner = dict(_aligned(prediction, reference))
        for place, letter in enumerate(reference):
            if letter in TURKISH_LETTERS:
                same = place in partner and prediction[partner[place]] == letter
                kept += same
                lost += not same
        matched = {theirs: ours for ours, theirs in partner.items()}
        for place, letter in enumerate(prediction):
            if letter in TURKISH_LETTERS:
                invented += place not in matched or reference[matched[place]] != letter
    total = kept + lost + invented
    return kept / total if total else 1.0


def _aligned(prediction: str, reference: str) -> Iterator[tuple[int, int]]:
    """Places of the reference with their places in the prediction."""
    ours, theirs = _pieces(reference), _pieces(prediction)
    matcher = difflib.SequenceMatcher(
        None, [text for _, text in theirs], [text for _, text in ours], autojunk=False
    )
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            for (start, _), (place, text) in zip(theirs[a:b], ours[c:d], strict=True):
                yield from ((place + i, start + i) for i in range(len(text)))
        elif kind == "replace":
            start, place = theirs[a][0], ours[c][0]
            inner = difflib.SequenceMatcher(
                None,
                "".join(text for _, text in theirs[a:b]),
                "".join(text for _, text in ours[c:d]),
                autojunk=False,
            )
            for block in inner.get_matching_blocks():
                for i in range(block.size):
                    yield place + block.b + i, start + block.a + i


def _pieces(text: str) -> list[tuple[int, str]]:
    """Words and what is between them, without marks and case, each with its place."""
    plain = text.translate(_PLAIN)
    plain = "".join(x.lower() if len(x.lower()) == 1 else x for x in plain)
    pieces, start = [], 0
    for place in range(1, len(plain) + 1):
        if place == len(plain) or plain[place].isalnum() != plain[start].isalnum():
            pieces.append((start, plain[start:place]))
            start = place
    return pieces
