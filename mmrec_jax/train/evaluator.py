"""The evaluations of a run: which evaluators apply, and where what they find goes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from mmrec_jax.config import Config
from mmrec_jax.evaluation.registry import EVALUATORS, Evaluation, EvaluationRequest
from mmrec_jax.train import report
from mmrec_jax.train.processes import is_process_zero
from mmrec_jax.train.state import TrainState

if TYPE_CHECKING:
    from mmrec_jax.train.setup import Setup
    from mmrec_jax.train.writer import Writer

_SPLITS = {"dashboard": "recurrence"}  # of the log; the others are called as the evaluator


class Evaluator:
    """Evaluates the states of one run. Every process does the same work; the first one writes."""

    def __init__(self, setup: "Setup", writer: "Writer") -> None:
        """Nothing is compiled before the first evaluation."""
        self._setup, self._writer = setup, writer

    def __call__(self, step: int, state: TrainState, bar: tqdm) -> dict[str, float]:
        """Runs every evaluator, and writes and prints what they find.

        Returns:
          The metrics of the validation split, none where nothing is held out. Where the loss is not
          finite, nothing is written.
        """
        s = self._setup
        # As it is trained: a frozen base is neither copied nor, if it is quantised, dequantised.
        request = EvaluationRequest(
            s.model, state.params, s.data, s.config, s.objectives, s.mesh, step
        )
        validation: dict[str, float] = {}
        for name in s.data.evaluators:
            validation |= EVALUATORS[name](request).metrics
        if not math.isfinite(validation.get("loss", 0.0)):
            return validation
        if validation:
            self._writer.write(step, "validation", validation)

        asked = config_evaluators(s.config)
        if asked:  # several processes gather the parameters for it
            request = request.local()
        found = {name: EVALUATORS[name](request) for name in asked}
        for name, result in found.items():
            if result.metrics:
                self._writer.write(step, _SPLITS.get(name, name), result.metrics)
        sample = found.pop("sample", Evaluation()).text
        first = is_process_zero()
        if sample and first:
            _write_sample(s.workdir.samples / f"step_{step:07d}.txt", sample)
        report.evaluated(bar, step, validation, sample)
        if first:
            for text in (result.text for result in found.values() if result.text):
                bar.clear()
                print(f"  {text}", flush=True)
                bar.refresh()
        return validation


def config_evaluators(config: Config) -> tuple[str, ...]:
    """The evaluators that a run's config asks for, beside those of its data."""
    asked = {
        "dashboard": config.train.dashboard,
        "sample": config.train.sample_tokens,
        "turkish": config.turkish.scored_samples,
    }
    own = tuple(name for name, wanted in asked.items() if wanted)
    return tuple(dict.fromkeys((*own, *config.train.evaluators)))


def check_evaluators(config: Config) -> None:
    """Refuses names that no evaluator has.

    Raises:
      UserError: names the field.
    """
    for name in config.train.evaluators:
        known = name in EVALUATORS
        config.train.require(known, "evaluators", f"names of: {', '.join(EVALUATORS)}")


def _write_sample(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n", "utf-8")
