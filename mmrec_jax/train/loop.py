"""The loop: batch, update, and now and then evaluate, save, report."""

import contextlib
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from mmrec_jax import dora
from mmrec_jax.chat import reply
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.dashboard.observer import Observer
from mmrec_jax.dashboard.summary import histograms, scalars, summarise
from mmrec_jax.data.instructions.instruction_dataset import InstructionDataset
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.errors import NotFiniteError, UserError
from mmrec_jax.generation import generate
from mmrec_jax.nn.model import count_parameters
from mmrec_jax.train import report
from mmrec_jax.train.compiled_steps import CompiledSteps
from mmrec_jax.train.evaluate import evaluate
from mmrec_jax.train.evaluate_task import evaluate_task
from mmrec_jax.train.flops import matmul_flops_per_second, training_flops_per_token
from mmrec_jax.train.input_monitor import InputMonitor
from mmrec_jax.train.interrupt import Interrupt
from mmrec_jax.train.mesh import place_batch
from mmrec_jax.train.prepare import Prepared, prepare
from mmrec_jax.train.sophia_health import SophiaHealth
from mmrec_jax.train.step import make_eval_step
from mmrec_jax.train.turkish_samples import score_samples
from mmrec_jax.train.writer import MetricsWriter

# Terms whose value must be finite, in the order in which they are blamed.
_TERMS = ("loss", "uboo", "grad_norm")

# What the dashboard reads at each evaluation, at most.
_OBSERVED_ROWS, _OBSERVED_TOKENS = 4, 1024


def run(config: Config, workdir: Path, *, fresh: bool = False) -> int:
    """Trains until the run's length, its target loss, or a signal; continues what was begun.

    Args:
      config: the run.
      workdir: where it lives; a checkpoint found there is continued.
      fresh: forget what is there and start anew.

    Returns:
      The exit status: 0, or 128 + the number of the signal that stopped it.

    Raises:
      UserError: wrong input (before any compilation), a failed save, or a loss that is not finite.
    """
    begin = time.perf_counter()
    try:
        prepared = prepare(config, workdir, fresh=fresh)
        with contextlib.closing(prepared.checkpointer), Interrupt() as interrupt:
            loop = _Loop(prepared, begin)
            with contextlib.closing(loop.writer), contextlib.closing(prepared.batches):
                loop.run(interrupt)
    except OSError as error:  # a full disk, say, met outside a save
        raise UserError(
            f"{error.filename or workdir}: {error.strerror or error}. Training stops; the last "
            "complete checkpoint is intact and the same command continues from it"
        ) from error
    return interrupt.exit_status


class _Loop:
    """One session of a run."""

    def __init__(self, prepared: Prepared, begin: float) -> None:
        self.p = prepared
        self.begin = begin
        self.writer = MetricsWriter(prepared.workdir, resume_step=prepared.start)
        self.validation: dict[str, float] = (prepared.meta or {}).get("validation") or {}
        self.state = prepared.state
        self.tracing = False
        self.health = SophiaHealth(prepared.config.optim)

    def run(self, interrupt: Interrupt) -> None:
        p, train = self.p, self.p.config.train
        trained = count_parameters(self.state.params)
        frozen = 0 if self.state.base is None else count_parameters(self.state.base.params)
        report.opening(p, frozen or trained)
        if p.start >= p.steps or self._reached_target():
            report.closing(p, p.start, self.validation, begin=self.begin)
            return
        self.input = InputMonitor(p.batches)
        self._compile()
        self.flops = training_flops_per_token(p.model.config, trained, frozen)
        self.peak_flops = matmul_flops_per_second(p.config.model.dtype) * p.mesh.size
        step = p.start
        bar = tqdm(
            total=p.steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 15,
        )
        with bar:
            if train.eval_first and not step:
                self._evaluate(step, bar)
            self._begin_window()
            previous: dict[str, jax.Array] | None = None
            for step in range(p.start + 1, p.steps + 1):
                self._profile(step)
                batch = place_batch(next(self.input), p.mesh)
                self.state, metrics = self.train_step(step, self.state, batch)
                # The update runs in the background: meanwhile look at the one before.
                if previous is not None:
                    self._take(step - 1, previous, bar)
                previous = metrics
                p.checkpointer.check()
                last = step == p.steps or interrupt.received is not None
                evaluates = step % train.eval_every == 0 or step == p.steps
                if last or evaluates or step % train.checkpoint_every == 0:
                    self._take(step, previous, bar)
                    previous = None
                    if evaluates:
                        self._stop_trace()  # of steps alone
                        self.validation = self._evaluate(step, bar)
                    self._save(step, evaluated=evaluates)
                    self._begin_window()
                if last or self._reached_target():
                    break
            self._stop_trace()
        p.checkpointer.wait()
        if interrupt.received is not None and step < p.steps and not self._reached_target():
            report.interrupted(interrupt.received.name, step)
        else:
            report.closing(p, step, self.validation, begin=self.begin)

    def _compile(self) -> None:
        p = self.p
        start = time.perf_counter()
        self.train_step = CompiledSteps(p)
        self.eval_step = jax.jit(make_eval_step(p.model, p.harmony))
        self.observer = Observer(p.model)
        self.apply_adapters = jax.jit(dora.apply)
        now = time.perf_counter()
        report.compiled(now - start, now - self.begin)

    def _profile(self, step: int) -> None:
        """Traces `profile_steps` updates from the third of this session on."""
        first, count = self.p.start + 3, self.p.config.train.profile_steps
        if count and step == first:
            jax.profiler.start_trace(str(self.p.workdir.profile))
            self.tracing = True
        if step == first + count:
            self._stop_trace()

    def _stop_trace(self) -> None:
        if self.tracing:
            jax.profiler.stop_trace()
            self.tracing = False

    def _begin_window(self) -> None:
        """Throughput is measured over training alone: not over evaluations and saves."""
        self.window_start, self.window_tokens = time.perf_counter(), 0
        self.input.begin_window()

    def _take(self, step: int, metrics: dict[str, jax.Array], bar: tqdm) -> None:
        """Waits for the metrics of one update, checks them, and reports them when it is time."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for term in _TERMS:
            self._require_finite(step, term, values.get(term, 0.0))
        self.window_tokens += int(values.pop("tokens"))
        bar.update(1)
        warning = self.health.warning(step, values)
        if warning:
            report.warned(bar, warning)
        for line in self.input.warnings():
            report.warned(bar, line)
        if step % self.p.config.train.log_every and step != self.p.steps:
            return
        rate = self.window_tokens / max(time.perf_counter() - self.window_start, 1e-9)
        bar.set_postfix_str(f"loss {values['loss']:.3f}, {rate:,.0f} tokens/s", refresh=False)
        values |= {
            "tokens_per_second": rate,
            "flop_utilisation": rate * self.flops / self.peak_flops,
            **self.input.metrics(),
        }
        self.writer.write(step, "train", values)

    def _require_finite(self, step: int, term: str, value: float) -> None:
        if math.isfinite(value):
            return
        good = self.p.checkpointer.latest_step()
        kept = f"the checkpoint of step {good} is intact" if good else "nothing was saved"
        raise NotFiniteError(
            f"step {step}: {term} is {value}, training stops ({kept}). Lower config.optim.lr, "
            "lengthen config.optim.warmup_steps or lower config.optim.clip_norm, and start with "
            "--fresh"
        )

    def _evaluate(self, step: int, bar: tqdm) -> dict[str, float]:
        """Scores the validation split, and writes and tells all that there is to say of a step."""
        p, config = self.p, self.p.config
        params, base = self.state.params, self.state.base
        if base is not None:
            params = self.apply_adapters(base.params, params)
        with_model = (self.eval_step, params, p.model.config)
        rows = config.train.batch_size
        if isinstance(p.data, TaskDataset):
            validation = evaluate_task(*with_model, p.data, p.mesh, batch_size=rows)
        else:
            validation = evaluate(
                *with_model,
                p.data.validation,
                p.mesh,
                batch_size=rows,
                seq_len=config.data.seq_len,
                carry=config.train.eval_carry,
                max_batches=config.train.eval_batches,
            )
        self._require_finite(step, "validation loss", validation["loss"])
        self._observe(step, params)
        self.writer.write(step, "validation", validation)
        sample = self._sample(step, params)
        report.evaluated(bar, step, validation, sample)
        self._score(step, bar, params)
        return validation

    def _observe(self, step: int, params: Any) -> None:
        """What the memories do, on the longest rows of the validation split."""
        p = self.p
        if not p.config.train.dashboard:
            return
        rows = min(p.config.train.batch_size, _OBSERVED_ROWS)
        batch = p.data.longest(rows, min(p.config.data.seq_len, _OBSERVED_TOKENS))
        params = jax.device_put(params, jax.local_devices()[0])
        summary = summarise(self.observer(params, batch["inputs"], batch["segment_ids"]))
        self.writer.write(step, "recurrence", scalars(summary))
        self.writer.write_histograms(step, "recurrence", histograms(summary))

    def _score(self, step: int, bar: tqdm, params: Any) -> None:
        """Metrics of Turkish text on continuations of validation documents."""
        p, train = self.p, self.p.config.train
        count = p.config.turkish.scored_samples
        if not count:  # of running text alone: `prepare` refuses it elsewhere
            return
        assert not isinstance(p.data, TaskDataset)
        scores = score_samples(
            p.model,
            jax.device_put(params, jax.local_devices()[0]),
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
        params = jax.device_put(params, jax.local_devices()[0])
        write = reply if isinstance(p.data, InstructionDataset) else generate
        text = write(
            p.model,
            params,
            p.data.tokenizer,
            train.sample_prompt,
            max_tokens=train.sample_tokens,
            seed=train.seed,
        )[0]
        p.workdir.samples.mkdir(exist_ok=True)
        path = p.workdir.samples / f"step_{step:07d}.txt"
        # A response begins a line of its own.
        text = train.sample_prompt + ("\n" if write is reply else "") + text
        path.write_text(text + "\n", "utf-8")
        return text

    def _save(self, step: int, *, evaluated: bool) -> None:
        p = self.p
        p.checkpointer.save(
            self.state,
            data=p.batches.get_state(),
            meta={
                "config": to_dict(p.config),
                "tokenizer": p.data.tokenizer.fingerprint,
                "validation": self.validation or None,
                "base": p.base,
            },
            validation_loss=self.validation["loss"] if evaluated else None,
        )

    def _reached_target(self) -> bool:
        target = self.p.config.train.target_loss
        return target is not None and self.validation.get("loss", math.inf) <= target
