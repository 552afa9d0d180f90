"""A full pass over a split: loss, perplexity, bits per byte and per character."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.tally import Tally
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.train.mesh import place_whole_batch
from mmrec_jax.train.processes import fetch

EvalStep = Callable[[Any, Any, Any], tuple[dict[str, jax.Array], Any]]


def evaluate(
    eval_step: EvalStep,
    params: Any,
    config: MMRecConfig,
    store: TokenStore,
    mesh: Mesh,
    *,
    batch_size: int,
    seq_len: int,
    carry: bool,
    max_batches: int | None = None,
) -> dict[str, float]:
    """Predicts every token of `store` once.

    Args:
      eval_step: the compiled `make_eval_step`.
      params: the parameters.
      config: the model's.
      store: the split.
      mesh: the devices.
      batch_size: rows at a time.
      seq_len: tokens in a row.
      carry: True hands the state from row to row of a document; False starts each row's windows
        from the zero state, as training does.
      max_batches: stop early; bits per byte and per character are left out then, since the bytes
        of half a document are not known.

    Returns:
      `loss` (sum of weight x nats / sum of weights), `perplexity`, `tokens`, and for a whole split
      `bits_per_byte` (all nats, end tokens included, over the UTF-8 bytes of the NFC text; of
      conversations those of the responses over theirs) and `bits_per_character`; if the step
      measures the `vowel_harmony` objective, its mean and that of `word_continuing`
      (`objectives/vowel_harmony.py`).
    """
    tally = Tally()
    fresh = zero_state(config, batch_size)
    state = fresh
    complete = True
    for index, batch in enumerate(evaluation_batches(store, batch_size, seq_len, carry=carry)):
        if index == max_batches:
            complete = False
            break
        predicted, after = eval_step(params, place_whole_batch(batch, mesh), state)
        state = after if carry else fresh
        tally.add(batch, fetch(predicted))
    result = {"loss": tally.loss, "perplexity": perplexity(tally.loss), "tokens": tally.tokens}
    if tally.counted:
        result["vowel_harmony"] = tally.vowel_harmony / tally.counted
        result["word_continuing"] = tally.word_continuing / tally.counted
    if complete:
        bits = tally.nats / math.log(2)
        result["bits_per_byte"] = bits / max(store.num_bytes, 1)
        result["bits_per_character"] = bits / max(store.num_characters, 1)
    return result


def perplexity(loss: float) -> float:
    """`exp(loss)`, infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf
