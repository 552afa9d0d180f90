"""Lines of a Markdown table."""

from collections.abc import Sequence


def header(names: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [row(names), row(["---"] * len(names))]


def row(entries: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(entries)} |"
