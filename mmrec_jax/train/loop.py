"""The loop: batch, update, and now and then evaluate, save, report."""

import contextlib
import math
import sys
import time
from pathlib import Path

import jax
from tqdm import tqdm

from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.train_iterator import joined_state
from mmrec_jax.errors import NotFiniteError, UserError, explain_out_of_memory
from mmrec_jax.train import report
from mmrec_jax.train.compiled_steps import CompiledSteps
from mmrec_jax.train.evaluator import Evaluator, check_evaluators
from mmrec_jax.train.interrupt import Interrupt
from mmrec_jax.train.mesh import memory_remedy, shard_batch
from mmrec_jax.train.monitor import (
    InputMonitor,
    SophiaHealth,
    matmul_flops_per_second,
    training_flops_per_token,
)
from mmrec_jax.train.processes import all_reduce_max, gather, is_process_zero
from mmrec_jax.train.setup import Setup, set_up
from mmrec_jax.train.stages import Stage
from mmrec_jax.train.state import to_items
from mmrec_jax.train.writer import check_writers, open_writers, require_workdir
from mmrec_jax.tree import count


def run(
    config: Config, workdir: Path, *, fresh: bool = False, resume_step: int | None = None
) -> int:
    """Trains until the run's length, its target loss, or a signal.

    A checkpoint in `workdir` is continued, the newest or that of `resume_step`, unless `fresh`.

    Returns:
      The exit status: 0, or 128 + the number of the signal that stopped it.

    Raises:
      UserError: wrong input (before any compilation), a failed save, or a loss that is not finite.
    """
    begin = time.perf_counter()
    check_writers(config.train.writers)
    check_evaluators(config)
    try:
        with explain_out_of_memory(memory_remedy(config)):
            return _run(config, workdir, begin, fresh=fresh, resume_step=resume_step)
    except OSError as error:  # a full disk, say, met outside a save
        if not workdir.is_dir():
            raise UserError(
                f"{workdir}: the folder was moved or deleted while the run was writing in it; "
                "training stops"
            ) from error
        raise UserError(
            f"{error.filename or workdir}: {error.strerror or error}. Training stops; the last "
            "complete checkpoint is intact and the same command continues from it"
        ) from error
    finally:
        unlock_folder(workdir)


def _run(
    config: Config, workdir: Path, begin: float, *, fresh: bool, resume_step: int | None
) -> int:
    setup = set_up(config, workdir, fresh=fresh, resume_step=resume_step)
    with contextlib.closing(setup.checkpointer):
        interrupt = Interrupt()
        loop = _Loop(setup, begin)
        with contextlib.closing(loop):
            loop.run(interrupt)
    return interrupt.exit_status


class _Loop:
    """One session of a run."""

    def __init__(self, setup: Setup, begin: float) -> None:
        self.p = setup
        self.begin = begin
        self.writer = open_writers(setup.config, setup.workdir, resume_step=setup.start)
        self.validation: dict[str, float] = (setup.meta or {}).get("validation") or {}
        self.tracing = False
        self.health = SophiaHealth(setup.config.optim)

    def close(self) -> None:
        """Ends what works in the background."""
        self.p.batches.close()
        self.writer.close()

    def run(self, interrupt: Interrupt) -> None:
        p = self.p
        own = p.abstract.params
        trained = count(own)
        unwrapped = jax.eval_shape(lambda model, own: model.unwrap(own)[1], p.model, own)
        whole = count(unwrapped)
        report.opening(p, whole)
        if p.start >= p.steps or self._reached_target():
            report.closing(p, p.start, self.validation, begin=self.begin)
            return
        self.sizes = trained, 0 if trained == whole else whole
        if following := self._following(p.start):
            self.state = p.state
            self._enter(following)
        self.input = InputMonitor(p.batches)
        self._compile()
        if not following:
            self.state = p.state
        with interrupt:  # there is something to save only now
            self._train(interrupt)

    def _following(self, step: int) -> Stage | None:
        """The stage that begins after `step`."""
        stages, number = self.p.stages, self.p.stage.number
        begun = max(stage.number for stage in stages if stage.begin <= step)
        if self._reached(self.p.stage.target_loss):
            begun = max(begun, number + 1)
        return stages[begun] if number < begun < len(stages) else None

    def _enter(self, stage: Stage) -> None:
        """Goes on in a stage, on whose evaluations its target waits."""
        self.state = self.p.enter(stage, self.state)
        self.validation = {}

    def _cross_border(self, stage: Stage, step: int, bar: tqdm) -> None:
        """Enters a stage after `step`, all of whose metrics have been told."""
        self._stop_trace()
        report.entered(bar, self.p, stage, step)
        self._enter(stage)
        self.input = InputMonitor(self.p.batches)
        self.train_step.enter(stage)

    def _train(self, interrupt: Interrupt) -> None:
        p, train = self.p, self.p.config.train
        dtype = getattr(p.config.model, "dtype", "float32")
        self.peak_flops = matmul_flops_per_second(dtype) * p.mesh.size
        step = p.start
        bar = tqdm(
            total=p.steps,
            initial=step,
            bar_format="{desc}{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 15,
            disable=not is_process_zero(),
        )
        with bar:
            if train.eval_first and not step:
                self._evaluate(step, bar)
            self._begin_window()
            previous: tuple[dict[str, jax.Array], dict[str, float]] | None = None
            for step in range(p.start + 1, p.steps + 1):
                if (following := self._following(step - 1)) is not None:
                    if previous is not None:
                        self._take(step - 1, *previous, bar)
                        previous = None
                    self._cross_border(following, step - 1, bar)
                    self._begin_window()
                self._profile(step)
                batch = shard_batch(next(self.input), p.mesh)
                read = p.batches.metrics()  # of this batch: the next one is taken before it is told
                self.state, metrics = self.train_step(step, self.state, batch)
                # The update runs in the background: meanwhile look at the one before.
                if previous is not None:
                    self._take(step - 1, *previous, bar)
                previous = metrics, read
                p.checkpointer.check()
                last = step == p.steps or self._is_asked_to_stop(step, interrupt)
                evaluates = step % train.eval_every == 0 or step == p.steps
                if last or evaluates or step % train.checkpoint_every == 0:
                    self._take(step, *previous, bar)
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

    def _is_asked_to_stop(self, step: int, interrupt: Interrupt) -> bool:
        """Whether a signal has come: to any of several processes, which all stop at one step."""
        if jax.process_count() > 1:
            if step % self.p.config.train.log_every:  # the question waits for the update
                return False
            # What comes while this one waits counts the next time: the others do not know of it.
            number = all_reduce_max(interrupt.received or 0)
            interrupt.agree(number)
            return bool(number)
        return interrupt.received is not None

    def _compile(self) -> None:
        p = self.p
        start = time.perf_counter()
        self.train_step = CompiledSteps(p)
        self.evaluator = Evaluator(p, self.writer)
        now = time.perf_counter()
        report.compiled(now - start, now - self.begin)

    def _profile(self, step: int) -> None:
        """Traces `profile_steps` updates from the third of this session on."""
        first, count = self.p.start + 3, self.p.config.train.profile_steps
        if count and step == first and is_process_zero():
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

    def _take(
        self, step: int, metrics: dict[str, jax.Array], read: dict[str, float], bar: tqdm
    ) -> None:
        """Waits for the metrics of one update, checks them, and reports them when it is time."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for term in (*self.p.objectives, "loss", "grad_norm"):
            self._require_finite(step, term, values.get(term, 0.0))
        self.window_tokens += int(values.pop("tokens"))
        stage = self.p.stage
        bar.set_description_str(report.progress(self.p, step), refresh=False)
        bar.update(1)
        warning = self.health.warning(step, values)
        if warning and is_process_zero():
            report.warned(bar, warning)
        if step % self.p.config.train.log_every and step != self.p.steps:
            return
        rate = self.window_tokens / max(time.perf_counter() - self.window_start, 1e-9)
        bar.set_postfix_str(f"loss {values['loss']:.3f}, {rate:,.0f} tokens/s", refresh=False)
        flops = training_flops_per_token(
            self.p.model_of(stage), *self.sizes, stage.config.data.seq_len
        )
        values |= {
            "tokens_per_second": rate,
            "flop_utilisation": rate * flops / self.peak_flops,
            **self.input.metrics(read),
        }
        if self.p.config.stages:
            values["stage"] = stage.number
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
        validation = self.evaluator(step, self.state, bar)
        self._require_finite(step, "validation loss", validation.get("loss", 0.0))
        return validation

    def _save(self, step: int, *, evaluated: bool) -> None:
        p = self.p
        require_workdir(p.workdir)
        p.checkpointer.save(
            step,
            to_items(self.state),
            data=joined_state(gather(p.batches.get_state())),
            meta={
                "config": to_dict(p.config),
                "tokenizer": p.data.tokenizer.fingerprint,
                "validation": self.validation or None,
                "base": p.base,
                "stages": {"begun": p.stage.number, "read": p.read},
            },
            validation_loss=self.validation.get("loss") if evaluated else None,
        )

    def _reached_target(self) -> bool:
        """Whether the run ends here: at its own target, or at that of the last stage."""
        p, train = self.p, self.p.config.train
        own = train.target_loss, p.stage.target_loss if p.stage == p.stages[-1] else None
        reached = self._reached(train.target_bits_per_byte, "bits_per_byte")
        return reached or any(map(self._reached, own))

    def _reached(self, target: float | None, name: str = "loss") -> bool:
        return target is not None and self.validation.get(name, math.inf) <= target
