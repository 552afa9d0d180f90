"""One regular expression for many strings, in the dialect of the `tokenizers` library."""

from collections.abc import Mapping

# Oniguruma, Ruby syntax: https://github.com/kkos/oniguruma/blob/master/doc/RE
_SPECIAL = frozenset(r"\.^$|?*+()[]{}")


class _Node(dict[str, "_Node"]):
    """The characters that may follow; `end` is what must hold where a string is complete."""

    end: str | None = None


def trie_regex(strings: Mapping[str, str]) -> str:
    """An expression that matches the longest of some strings whose condition holds behind it.

    Common beginnings are shared, so that a place where nothing fits is left after a few steps.

    Args:
      strings: not empty, each with its condition: an expression that matches the empty string.
    """
    root = _Node()
    for string in sorted(strings):
        node = root
        for character in string:
            node = node.setdefault(character, _Node())
        node.end = strings[string]
    return _write(root)


def _write(node: _Node) -> str:
    parts = [_escape(character) + _write(child) for character, child in node.items()]
    if node.end is not None:
        parts.append(node.end)  # the last one: a longer string comes first
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _escape(character: str) -> str:
    return "\\" + character if character in _SPECIAL else character
