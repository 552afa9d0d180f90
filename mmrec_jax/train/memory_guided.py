"""Memory-guided sampling: documents on which long context helps are read more often.

After every `guided.every` steps some windows of the training text are read twice, as a row is and
with the state reset every `guided.reset_every` tokens. The mean of

    w_t = min(exp(CE_short,t - CE_t), cap)

over the tokens of a document, their weight in the objective `long_range`, is the document's weight
until it is measured again (`data/guidance.py`). The windows come one after the other from an order
of their own, so that all are measured in the end. What was measured is in the checkpoint, and each
of several processes measures the same.
"""

import math

import numpy as np

from mmrec_jax.data.chunks import Chunks
from mmrec_jax.data.guidance import Guidance, documents_of
from mmrec_jax.data.packing import ROW_DTYPE, batch_of, segments_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.perplexity import Predictor
from mmrec_jax.evaluation.registry import EvaluationRequest


def measure(request: EvaluationRequest, before: Guidance | None) -> Guidance:
    """The guidance after another round.

    Args:
      request: of a run on text, without objectives.
      before: None in the first round.

    Raises:
      UserError: no training document has so many tokens that its state would be reset.
    """
    config, data = request.config.guided, request.data
    assert isinstance(data, TextDataset)  # as `check_guided` has it
    seq_len, rows = request.config.data.seq_len, request.config.train.batch_size
    before = before or Guidance(0, {}, config.reset_every)
    chunks = Chunks(data.train, seq_len)
    candidates = np.flatnonzero(chunks.lengths > config.reset_every)
    if not len(candidates):
        raise UserError(
            f"config.guided.reset_every is {config.reset_every}: no training document has as many "
            "tokens; lower it, or leave config.guided.every at 0"
        )
    order = np.random.default_rng(hashed_seed("measured", request.config.data.seed))
    begin = before.rounds * config.windows
    at = np.arange(begin, begin + min(config.windows, len(candidates))) % len(candidates)
    chosen = order.permutation(candidates)[at]

    predict, documents = Predictor(request, carry=False), documents_of(chunks)[chosen]
    sums = np.zeros((2, documents.max() + 1))  # of weights and tokens, by document
    for first in range(0, len(chosen), rows):
        numbers = chosen[first : first + rows].tolist()
        windows = [segments_row([chunks[number]], seq_len) for number in numbers]
        batch = batch_of([*windows, *[np.zeros(seq_len, ROW_DTYPE)] * (rows - len(windows))])
        real = batch["segment_ids"] > 0
        resets = np.where(real, 1 + np.arange(seq_len) // config.reset_every, 0)
        short = predict({**batch, "segment_ids": resets.astype(np.int32)})["nll"]
        gain = short.astype(np.float64) - predict(batch)["nll"]
        weight = np.exp(np.minimum(gain, math.log(config.cap)))
        for row, document in enumerate(documents[first : first + rows]):
            sums[:, document] += weight[row, real[row]].sum(), np.count_nonzero(real[row])
    measured = {int(d): float(sums[0, d] / sums[1, d]) for d in np.unique(documents)}
    return Guidance(before.rounds + 1, {**before.weights, **measured}, config.reset_every)
