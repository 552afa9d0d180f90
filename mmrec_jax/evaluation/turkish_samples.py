"""Continuations of validation documents, scored by the metrics of Turkish text."""

from typing import Any

from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.inference.generate import generate
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.turkish.scores import turkish_scores

_PROMPT_WORDS = 8


def beginnings(
    store: TokenStore, tokenizer: Tokenizer, count: int, tokens: int
) -> list[tuple[str, str]]:
    """Prompts, and how their documents go on.

    Args:
      store: the documents.
      tokenizer: theirs.
      count: how many, at most: the first documents that are long enough.
      tokens: length of what follows the prompt, at most.

    Returns:
      (the first words of a document, its text behind them); fewer than `count` where the split has
      fewer documents with more than twice so many words.
    """
    found: list[tuple[str, str]] = []
    for start, stop in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        if len(found) == count:
            break
        text = tokenizer.decode(store.tokens[start + 1 : stop - 1])
        words = text.split(" ")
        if len(words) <= 2 * _PROMPT_WORDS:
            continue
        prompt = " ".join(words[:_PROMPT_WORDS])
        rest = tokenizer.encode(text.removeprefix(prompt))
        # A character of which only the first bytes are within the length is left out.
        found.append((prompt, tokenizer.decode(rest[:tokens]).rstrip("\ufffd")))
    return found


def score_samples(
    model: MMRecLM,
    params: Any,
    store: TokenStore,
    tokenizer: Tokenizer,
    *,
    count: int,
    tokens: int,
    seed: int,
) -> dict[str, float]:
    """The metrics (`turkish/scores.py`) of one continuation each of `count` documents.

    A document could go on in many ways: all metrics but the vowel harmony compare with the one way
    that it went, and are for comparing runs.

    Returns:
      Each metric by its name; empty where no document is long enough.
    """
    pairs = beginnings(store, tokenizer, count, tokens)
    if not pairs:
        return {}
    written = [
        generate(model, params, tokenizer, prompt, max_tokens=tokens, seed=seed)[0]
        for prompt, _ in pairs
    ]
    return turkish_scores(written, [reference for _, reference in pairs]).as_dict()
