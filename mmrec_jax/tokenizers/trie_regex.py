"""One regular expression for many strings, in the dialect of the `tokenizers` library."""

from collections.abc import Iterable

# Oniguruma, Ruby syntax: https://github.com/kkos/oniguruma/blob/master/doc/RE
_SPECIAL = frozenset(r"\.^$|?*+()[]{}")


class _Node(dict[str, "_Node"]):
    """The characters that may follow; `ends` where a string is complete."""

    ends = False


def trie_regex(strings: Iterable[str]) -> str:
    """An expression that matches exactly `strings`, the longest one that fits first.

    Common beginnings are shared, so that a place where nothing fits is left after a few steps.
    """
    root = _Node()
    for string in sorted(strings):
        node = root
        for character in string:
            node = node.setdefault(character, _Node())
        node.ends = True
    return _write(root)


def _write(node: _Node) -> str:
    parts = [_escape(character) + _write(child) for character, child in node.items()]
    if not parts:
        return ""
    if len(parts) == 1 and not node.ends:
        return parts[0]
    return f"(?:{'|'.join(parts)}){'?' if node.ends else ''}"


def _escape(character: str) -> str:
    return "\\" + character if character in _SPECIAL else character
