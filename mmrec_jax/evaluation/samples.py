"""Text that a model writes at an evaluation, and the scores of such text."""

from collections.abc import Sequence

from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest, format_metrics
from mmrec_jax.inference.chat import reply
from mmrec_jax.inference.generate import generate
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.turkish.scores import turkish_scores

_PROMPT_WORDS = 8


def sample(request: EvaluationRequest) -> Evaluation:
    """The continuation of `train.sample_prompt`, or the response to it, after the prompt."""
    train, data = request.config.train, request.data
    chat = data.config.prompt_style == "chat"
    text = (reply if chat else generate)(
        request.model,
        request.params,
        data.tokenizer,
        train.sample_prompt,
        max_tokens=train.sample_tokens,
        seed=train.seed,
    )[0]
    # A response has a line of its own.
    return Evaluation(text=train.sample_prompt + ("\n" if chat else "") + text)


def turkish(request: EvaluationRequest, *, samples: int | None = None) -> Evaluation:
    """The metrics (`turkish/scores.py`) of one continuation each of some validation documents.

    `samples`: how many; None: as `config.turkish.scored_samples` says. A document could go on in
    many ways: all metrics but the vowel harmony compare with the one way that it went, and are for
    comparing runs. There are none where no document is long enough, or none is held out.
    """
    train, data = request.config.train, request.data
    if data.validation is None:
        return Evaluation()
    pairs = beginnings(
        data.validation,
        data.tokenizer,
        request.config.turkish.scored_samples if samples is None else samples,
        train.sample_tokens,
    )
    if not pairs:
        return Evaluation()
    written = continuations(request, [prompt for prompt, _ in pairs], train.sample_tokens)
    scores = turkish_scores(written, [reference for _, reference in pairs])
    return Evaluation(scores, text=f"scored: {format_metrics(scores)}")


def continuations(request: EvaluationRequest, prompts: Sequence[str], max_tokens: int) -> list[str]:
    """What the model writes after each prompt."""
    model = request.model, request.params, request.data.tokenizer
    seed = request.config.train.seed
    return [generate(*model, each, max_tokens=max_tokens, seed=seed)[0] for each in prompts]


def beginnings(
    store: TokenStore, tokenizer: Tokenizer, count: int, tokens: int
) -> list[tuple[str, str]]:
    """The first words of `count` documents, and up to `tokens` tokens of the text after each.

    They are the first documents with more than twice those words; perhaps fewer than `count`.
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
