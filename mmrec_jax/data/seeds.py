"""Seeds for random numbers that must be the same wherever and whenever they are drawn."""

import hashlib


def hashed_seed(*parts: str | int) -> int:
    """A 64-bit seed from what the numbers are for: other parts, however alike, another seed."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")
