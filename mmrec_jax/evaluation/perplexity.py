"""How well every token is predicted: the loss of a split, and how well a task is solved."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.objectives.api import Objective
from mmrec_jax.train.mesh import by_row, shard_whole_batch
from mmrec_jax.train.processes import fetch
from mmrec_jax.train.step import make_eval_step


def loss(request: EvaluationRequest) -> Evaluation:
    """A full pass over the validation split, which predicts every token once.

    With `train.eval_carry` the state is handed from row to row of a document; without it each row's
    windows begin from nothing, as in training. `train.eval_batches` stops early; bits per byte and
    per character are left out then, since the bytes of half a document are not known.

    Returns:
      `loss` (sum of weight x nll / sum of weights), `perplexity`, `tokens`, for a whole split
      `bits_per_byte` (the whole nll, end tokens included, over the UTF-8 bytes of the NFC text; of
      conversations that of the responses over theirs; a byte that no token spells costs 8 bits) and
      `bits_per_character`, and `unspelled`, the share of such bytes, if there are any; and the
      means that the objectives give.
    """
    train, store = request.config.train, request.text
    batches = evaluation_batches(
        store, train.batch_size, request.config.data.seq_len, carry=train.eval_carry
    )
    sums, predict = MetricSums(), _Predictor(request, carry=train.eval_carry)
    complete = True
    for index, batch in enumerate(batches):
        if index == train.eval_batches:
            complete = False
            break
        sums.add(batch, predict(batch))
    result = {"loss": sums.loss, "perplexity": perplexity(sums.loss), "tokens": sums.tokens}
    result |= {name: total / count for name, (total, count) in sums.means.items() if count}
    if complete:
        bits = sums.nll / math.log(2) + 8 * store.unspelled_bytes
        result["bits_per_byte"] = bits / max(store.num_bytes, 1)
        result["bits_per_character"] = bits / max(store.num_characters, 1)
        if store.unspelled_bytes:
            result["unspelled"] = store.unspelled_bytes / store.num_bytes
    return Evaluation(result)


def task(request: EvaluationRequest) -> Evaluation:
    """Scores the fixed sequences of every length in `config.data.eval_lengths`.

    Returns:
      `loss` (sum of weight x nll / sum of weights) and `tokens` over all lengths; and for each
      length n `loss@n`, `accuracy@n` (share of the sequences whose final answer is the most likely
      token) and `token_accuracy@n` (the same share of all answers).
    """
    data = request.task
    whole = MetricSums()
    result: dict[str, float] = {}
    for length in data.config.eval_lengths:
        sums, finals, right = MetricSums(), 0, 0
        predict = _Predictor(request, carry=True)
        for batch, final in data.scoring(length, request.config.train.batch_size):
            predicted = predict(batch)
            for each in (sums, whole):
                each.add(batch, predicted)
            finals += int(np.count_nonzero(final))
            right += int(np.count_nonzero(predicted["right"][final]))
        result |= {
            f"loss@{length}": sums.loss,
            f"accuracy@{length}": right / finals,
            f"token_accuracy@{length}": sums.right / sums.answers,
        }
    return Evaluation({"loss": whole.loss, "tokens": whole.tokens, **result})


def perplexity(loss: float) -> float:
    """`exp(loss)`, infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


@dataclasses.dataclass
class MetricSums:
    """Sums over the tokens of some batches, in float64 on the host."""

    tokens: int = 0  # read, padding not counted
    weight: float = 0.0  # sum of all weights
    nll: float = 0.0  # sum of weight x -log p(target), in nats
    answers: int = 0  # targets whose weight is above 0
    right: int = 0  # those of them that were the most likely token
    # Of each name that the objectives give, the sum of its values and their number
    means: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)

    def add(self, batch: Batch, predicted: Mapping[str, Any]) -> None:
        """Adds a batch and what the evaluation step said of it, [B, T] each."""
        counts = batch["weights"] > 0
        weights = batch["weights"][counts].astype(np.float64)
        self.tokens += int(np.count_nonzero(batch["segment_ids"]))
        self.weight += float(weights.sum())
        self.nll += float(np.dot(weights, predicted["nll"][counts]))
        self.answers += len(weights)
        self.right += int(np.count_nonzero(predicted["right"][counts]))
        for name, (values, counted) in predicted["means"].items():
            total, count = self.means.get(name, (0.0, 0))
            total += float(values[counted].sum(dtype=np.float64))
            self.means[name] = total, count + int(np.count_nonzero(counted))

    @property
    def loss(self) -> float:
        """Nats per unit of weight."""
        return self.nll / self.weight


class _Predictor:
    """What the model says of one batch after another, on the host."""

    def __init__(self, request: EvaluationRequest, *, carry: bool) -> None:
        """With `carry` each row of a batch continues that row of the batch before."""
        self._request, self._carry = request, carry
        self._model = with_state(request.model) if carry else request.model
        self._state: State = None
        self._step = compiled_eval_step(request.objectives.values())

    def __call__(self, batch: Batch) -> dict[str, Any]:
        if self._carry:
            self._state = self._sharded_state(*batch["inputs"].shape)
        sharded = shard_whole_batch(batch, self._request.mesh)
        predicted, after = self._step(self._model, self._request.params, sharded, self._state)
        self._state = after if self._carry else None
        on_host: dict[str, NDArray[Any]] = fetch(predicted)
        return on_host

    def _sharded_state(self, rows: int, length: int) -> State:
        """The state before the next batch, laid out alike each time: one program serves all."""
        model, mesh = self._model, self._request.mesh
        layout = jax.tree.map(lambda axis: by_row(mesh, axis), model.state_batch_axes)
        if self._state is None:
            start = jax.jit(lambda: model.initial_state(rows), out_shardings=layout)
            self._state = start()
        return jax.device_put(with_room(self._state, length), layout)


def long_rows_nll(
    model: LanguageModel, params: Params, batch: Batch, *, chunk_length: int = 256
) -> NDArray[np.float64]:
    """-log p of every target [B, N] of rows of any length, each from the zero state, in nats.

    They are read `chunk_length` tokens at a time, so that one program serves every length and the
    memory is that of a chunk and a state; `params` are on one device, or all of them on each.
    """
    model, predict = with_state(model), compiled_eval_step()
    rows, length = batch["inputs"].shape
    state, parts = colocate(params, model.initial_state(rows)), []
    tokens = int(np.count_nonzero(batch["segment_ids"]))
    bar = tqdm(total=tokens, unit=" tokens", unit_scale=True, leave=False)
    for begin in range(0, length, chunk_length):
        chunk = {name: x[:, begin : begin + chunk_length] for name, x in batch.items()}
        padding = (0, 0), (0, chunk_length - chunk["inputs"].shape[1])
        chunk = {name: np.pad(x, padding) for name, x in chunk.items()}
        predicted, state = predict(model, params, chunk, with_room(state, chunk_length))
        parts.append(np.asarray(predicted["nll"], np.float64))
        bar.update(int(np.count_nonzero(chunk["segment_ids"])))
    bar.close()
    return np.concatenate(parts, axis=1)[:, :length]


def compiled_eval_step(objectives: Iterable[Objective] = ()) -> Any:
    """`make_eval_step`, compiled once for each model and shape, however often it is asked for."""
    return _compiled(tuple(objectives))


@functools.lru_cache(maxsize=4)
def _compiled(objectives: tuple[Objective, ...]) -> Any:
    return jax.jit(make_eval_step({str(i): each for i, each in enumerate(objectives)}))
