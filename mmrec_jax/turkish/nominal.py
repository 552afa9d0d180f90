"""Number, possessive and case of a nominal."""

from collections.abc import Iterable
from typing import NamedTuple

from mmrec_jax.turkish.suffixes import Kind

_POSSESSIVES = frozenset({"P1sg", "P2sg", "P3sg", "P1pl", "P2pl", "P3pl"})
_CASES = frozenset({"Acc", "Dat", "Loc", "Abl", "Gen", "Ins"})


class Nominal(NamedTuple):
    """What the inflection of a nominal says.

    Attributes:
      number: "A3pl" with the plural suffix, else "A3sg".
      possessive: "P1sg" ... "P3pl", or "Pnon".
      case: "Acc", "Dat", "Loc", "Abl", "Gen", "Ins", or "Nom".
    """

    number: str = "A3sg"
    possessive: str = "Pnon"
    case: str = "Nom"


def nominal_of(suffixes: Iterable[tuple[str, Kind]]) -> Nominal:
    """What the suffixes of a word, as (label, kind), say behind its last derivation."""
    found = Nominal()
    for label, kind in suffixes:
        if kind == "derivation":
            found = Nominal()
        elif label == "A3pl":
            found = found._replace(number=label)
        elif label in _POSSESSIVES:
            found = found._replace(possessive=label)
        elif label in _CASES:
            found = found._replace(case=label)
    return found
