"""All that is done at an evaluation of a run: scores, what the memories do, and a sample."""

import math
from typing import Any

import jax
from tqdm import tqdm

from mmrec_jax import dora
from mmrec_jax.evaluation.evaluate import evaluate
from mmrec_jax.evaluation.evaluate_task import evaluate_task
from mmrec_jax.evaluation.turkish_samples import score_samples
from mmrec_jax.inference.chat import reply
from mmrec_jax.inference.generate import generate
from mmrec_jax.models.mmrec.dashboard.observer import Observer
from mmrec_jax.models.mmrec.dashboard.summary import histograms, scalars, summarise
from mmrec_jax.train import report
from mmrec_jax.train.prepare import Prepared
from mmrec_jax.train.processes import is_process_zero, local_copy
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import make_eval_step
from mmrec_jax.train.writer import Writer

# What the dashboard reads at each evaluation, at most.
_OBSERVED_ROWS, _OBSERVED_TOKENS = 4, 1024


class Evaluator:
    """Evaluates the states of one run. Every process does the same work; the first one writes."""

    def __init__(self, p: Prepared, writer: Writer) -> None:
        """Nothing is compiled before the first evaluation."""
        self.p, self.writer = p, writer
        self._eval_step = jax.jit(make_eval_step(p.model, p.harmony))
        self._observer = Observer(p.model)
        self._apply_adapters = jax.jit(dora.apply)

    def __call__(self, step: int, state: TrainState, bar: tqdm) -> dict[str, float]:
        """Scores the validation split, and writes and tells all that there is to say of a step.

        Returns:
          What `evaluate` or `evaluate_task` does. Where the loss is not finite, nothing is written.
        """
        params = state.params
        if state.base is not None:
            params = self._apply_adapters(state.base.params, params)
        validation = self._validate(params)
        if not math.isfinite(validation["loss"]):
            return validation
        own = local_copy(params)
        self._observe(step, own)
        self.writer.write(step, "validation", validation)
        sample = self._sample(step, own)
        report.evaluated(bar, step, validation, sample)
        self._score(step, bar, own)
        return validation

    def _validate(self, params: Any) -> dict[str, float]:
        p, config = self.p, self.p.config
        with_model = (self._eval_step, params, p.model.config)
        rows = config.train.batch_size
        if "task" in p.data.config.evaluators:
            task: Any = p.data
            return evaluate_task(*with_model, task, p.mesh, batch_size=rows)
        assert p.data.validation is not None
        return evaluate(
            *with_model,
            p.data.validation,
            p.mesh,
            batch_size=rows,
            seq_len=config.data.seq_len,
            carry=config.train.eval_carry,
            max_batches=config.train.eval_batches,
        )

    def _observe(self, step: int, params: Any) -> None:
        """What the memories do, on the longest rows of the validation split."""
        p = self.p
        if not p.config.train.dashboard:
            return
        rows = min(p.config.train.batch_size, _OBSERVED_ROWS)
        batch = p.data.longest(rows, min(p.config.data.seq_len, _OBSERVED_TOKENS))
        summary = summarise(self._observer(params, batch["inputs"], batch["segment_ids"]))
        self.writer.write(step, "recurrence", scalars(summary))
        self.writer.write_histograms(step, "recurrence", histograms(summary))

    def _score(self, step: int, bar: tqdm, params: Any) -> None:
        """Metrics of Turkish text on continuations of validation documents."""
        p, train = self.p, self.p.config.train
        count = p.config.turkish.scored_samples
        if not count:  # of running text alone: `DataConfig.check` refuses it elsewhere
            return
        assert p.data.validation is not None
        scores = score_samples(
            p.model,
            params,
            p.data.validation,
            p.data.tokenizer,
            count=count,
            tokens=train.sample_tokens,
            seed=train.seed,
        )
        if scores:
            self.writer.write(step, "turkish", scores)
            report.scored(bar, scores)

    def _sample(self, step: int, params: Any) -> str:
        p, train = self.p, self.p.config.train
        if not train.sample_tokens:
            return ""
        write = reply if p.data.config.prompt_style == "chat" else generate
        text = write(
            p.model,
            params,
            p.data.tokenizer,
            train.sample_prompt,
            max_tokens=train.sample_tokens,
            seed=train.seed,
        )[0]
        # A response begins a line of its own.
        text = train.sample_prompt + ("\n" if write is reply else "") + text
        if is_process_zero():
            p.workdir.samples.mkdir(exist_ok=True)
            path = p.workdir.samples / f"step_{step:07d}.txt"
            path.write_text(text + "\n", "utf-8")
        return text
