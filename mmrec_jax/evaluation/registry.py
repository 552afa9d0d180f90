"""What is measured of a model: evaluators by name, all with one signature.

A run calls them at each evaluation, `mmrec eval NAME` on one device. Which ones apply to a run
follows from its data and its config (`train/evaluator.py`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.curves import Panel
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.objectives.api import Objective
from mmrec_jax.registry import Registry
from mmrec_jax.train.mesh import one_device, process_local


@dataclasses.dataclass(frozen=True)
class EvaluationRequest:
    """What is to be evaluated, and on what."""

    model: LanguageModel  # of a run with its wrappers
    params: Params
    data: Dataset
    config: Config
    # Those that the run minimises; an evaluation takes the means of what they give
    objectives: Mapping[str, Objective]
    mesh: Mesh  # where batches go
    step: int  # updates done
    source: str = "the validation split"  # what the data is called in texts and titles

    def local(self) -> "EvaluationRequest":
        """With a model that this process alone can compute with; all of them must ask for it."""
        model, params = process_local((self.model, self.params))
        split = any(len(leaf.devices()) > 1 for leaf in jax.tree.leaves((model, params)))
        mesh = self.mesh if split else one_device()
        return dataclasses.replace(self, model=model, params=params, mesh=mesh)

    @property
    def text(self) -> TokenStore:
        """The validation split.

        Raises:
          UserError: the data is a task, or none of its text is held out.
        """
        if self.data.validation is None:
            raise UserError(
                f'config.data.source "{self.config.data.source}" has no held-out text here (of a '
                "task: evaluate task, task_length or recall)"
            )
        return self.data.validation

    @property
    def task(self) -> TaskDataset:
        """The task.

        Raises:
          UserError: the data is text.
        """
        if "task" not in self.config.data.evaluators:
            source = self.config.data.source
            raise UserError(f'config.data.source "{source}" is no task: evaluate loss or length')
        return cast(TaskDataset, self.data)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found."""

    # Numbers for the log; integers are counts
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    text: str = ""  # for the console, and for files of samples
    # Of `mmrec eval`: every number, for a file of JSON, and what a picture shows
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    panels: Sequence[Panel] = ()
    title: str = ""  # of the picture, after the run's name


# Of a request, and of the evaluator's own options: keywords with defaults, which the options of
# `mmrec eval` of the same names set.
EvaluateFn = Callable[..., Evaluation]

EVALUATORS: Registry[EvaluateFn] = Registry(
    "evaluator",
    {
        "loss": "mmrec_jax.evaluation.perplexity:loss",
        "task": "mmrec_jax.evaluation.perplexity:task",
        "length": "mmrec_jax.evaluation.length:length",
        "task_length": "mmrec_jax.evaluation.length:task_length",
        "recall": "mmrec_jax.evaluation.recall:recall",
        "sample": "mmrec_jax.evaluation.samples:sample",
        "turkish": "mmrec_jax.evaluation.samples:turkish",
        "dashboard": "mmrec_jax.evaluation.dashboard:dashboard",
    },
)


def format_metrics(metrics: Mapping[str, float]) -> str:
    """`tokens 174,335, loss 3.1416`."""
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:,.4f}"
        for name, value in metrics.items()
    )
