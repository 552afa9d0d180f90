"""How well a task is solved, at each length."""

from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.evaluation.evaluate import EvalStep
from mmrec_jax.evaluation.tally import Tally
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.train.mesh import place_whole_batch
from mmrec_jax.train.processes import fetch


def evaluate_task(
    eval_step: EvalStep,
    params: Any,
    config: MMRecConfig,
    data: TaskDataset,
    mesh: Mesh,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Scores the fixed sequences of every length in `config.data.eval_lengths`.

    Args:
      eval_step: the compiled `make_eval_step`.
      params: the parameters.
      config: the model's.
      data: the task.
      mesh: the devices.
      batch_size: sequences at a time.

    Returns:
      `loss` (sum of weight x nats / sum of weights) and `tokens` over all lengths; and for each
      length n `loss@n`, `accuracy@n` (share of the sequences whose final answer is the most likely
      token) and `token_accuracy@n` (the same share of all answers).
    """
    whole = Tally()
    result: dict[str, float] = {}
    for length in data.config.eval_lengths:
        tally, finals, right = Tally(), 0, 0
        state = zero_state(config, batch_size)
        for batch, final in data.scoring(length, batch_size):
            predicted, state = eval_step(params, place_whole_batch(batch, mesh), state)
            on_host = fetch(predicted)
            tally.add(batch, on_host)
            finals += int(np.count_nonzero(final))
            right += int(np.count_nonzero(on_host["right"][final]))
        whole.include(tally)
        result |= {
            f"loss@{length}": tally.loss,
            f"accuracy@{length}": right / finals,
            f"token_accuracy@{length}": tally.right / tally.answers,
        }
    return {"loss": whole.loss, "tokens": whole.tokens, **result}
