"""What simpler models make of the built-in corpus: xz, and interpolated Kneser-Ney n-grams.

    python -m benchmarks.compression

Prints bits per byte of the validation split, with the definition that `mmrec_jax` reports: every
character and the end of each document are predicted, over the UTF-8 bytes of the text. xz gets the
size of training and validation text compressed together minus that of the training text alone.
"""

import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from mmrec_jax.data.kinds.registry import DATA_KINDS

_ORDER = 5
_CODE_POINTS = 0x110000  # the last resort is uniform over Unicode: no character has probability 0
_BEGIN, _END = "\N{START OF TEXT}", "\N{END OF TEXT}"


class KneserNey:
    """Interpolated Kneser-Ney over characters (Chen and Goodman 1999, one discount an order)."""

    def __init__(self, texts: Iterable[str], order: int) -> None:
        """Counts all n-grams up to `order`; lower orders count distinct left neighbours."""
        self.order = order
        counts: list[Counter[str]] = [Counter() for _ in range(order + 1)]
        for text in texts:
            padded = _BEGIN * (order - 1) + text + _END
            for end in range(order, len(padded) + 1):
                counts[order][padded[end - order : end]] += 1
        for n in range(order - 1, 0, -1):
            counts[n] = Counter(gram[1:] for gram in counts[n + 1])
        self.counts = counts
        self.totals: list[dict[str, int]] = [defaultdict(int) for _ in range(order + 1)]
        self.kinds: list[dict[str, int]] = [defaultdict(int) for _ in range(order + 1)]
        self.discounts = [0.0] * (order + 1)
        for n in range(1, order + 1):
            for gram, count in counts[n].items():
                self.totals[n][gram[:-1]] += count
                self.kinds[n][gram[:-1]] += 1
            frequency = Counter(counts[n].values())
            self.discounts[n] = frequency[1] / (frequency[1] + 2 * frequency[2])

    def probability(self, context: str, character: str) -> float:
        """P(character | context), the context cut to `order - 1` characters."""
        p = 1 / _CODE_POINTS
        for n in range(1, self.order + 1):
            history = context[len(context) - n + 1 :] if n > 1 else ""
            total = self.totals[n].get(history, 0)
            if total == 0:
                continue
            discount = self.discounts[n]
            seen = max(self.counts[n].get(history + character, 0) - discount, 0.0)
            p = (seen + discount * self.kinds[n][history] * p) / total
        return p

    def bits(self, text: str) -> float:
        """Bits of one document and its end."""
        padded = _BEGIN * (self.order - 1) + text + _END
        return -sum(
            math.log2(self.probability(padded[end - self.order + 1 : end], padded[end]))
            for end in range(self.order - 1, len(padded))
        )


def xz_bits(train: str, validation: str) -> float:
    """Bits that `xz -9e` adds for the validation text after the training text."""

    def size(text: str) -> int:
        return len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))

    return 8.0 * (size(train + validation) - size(train))


def main() -> None:
    """Prints one line a model."""
    for source in ("treebank", "manual"):
        data: Any = DATA_KINDS[source]()
        train = [document.text for document in data.load("train")]
        validation = [document.text for document in data.load("validation")]
        size = sum(len(text.encode()) for text in validation)
        joined = "\n".join(train) + "\n", "\n".join(validation) + "\n"
        print(f"{source}: xz -9e {xz_bits(*joined) / size:.3f} bits/byte")
        for order in range(3, _ORDER + 2):
            model = KneserNey(train, order)
            bits = sum(model.bits(text) for text in validation)
            print(f"{source}: Kneser-Ney {order}-gram {bits / size:.3f} bits/byte")


if __name__ == "__main__":
    main()
