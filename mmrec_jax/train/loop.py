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
        with contextlib.closing(loop.writer), contextlib.closing(setup.batches):
            loop.run(interrupt)
    return interrupt.exit_status


class _Loop:
    """One session of a run."""

    def __init__(self, setup: Setup, begin: float) -> None:
        self.p = setup
        self.begin = begin
        self.writer = open_writers(setup.config, setup.workdir, resume_step=setup.start)
        self.validation: dict[str, float] = (setup.meta or {}).get("validation") or {}
        self.state = setup.state
        self.tracing = False
        self.health = SophiaHealth(setup.config.optim)

    def run(self, interrupt: Interrupt) -> None:
        p = self.p
        trained = count(self.state.params)
        unwrapped = jax.eval_shape(lambda model, own: model.unwrap(own)[1], p.model, p.state.params)
        whole = count(unwrapped)
        report.opening(p, whole)
        if p.start >= p.steps or self._reached_target():
            report.closing(p, p.start, self.validation, begin=self.begin)
            return
        self.input = InputMonitor(p.batches)
        self._compile()
        frozen = 0 if trained == whole else whole
        with interrupt:  # there is something to save only now
            self._train(interrupt, trained, frozen)

    def _train(self, interrupt: Interrupt, trained: int, frozen: int) -> None:
        p, train = self.p, self.p.config.train
        self.flops = training_flops_per_token(p.model, trained, frozen, p.config.data.seq_len)
        dtype = getattr(p.config.model, "dtype", "float32")
        self.peak_flops = matmul_flops_per_second(dtype) * p.mesh.size
        step = p.start
        bar = tqdm(
            total=p.steps,
            initial=step,
            unit="step",
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
        bar.update(1)
        warning = self.health.warning(step, values)
        if warning and is_process_zero():
            report.warned(bar, warning)
        if step % self.p.config.train.log_every and step != self.p.steps:
            return
        rate = self.window_tokens / max(time.perf_counter() - self.window_start, 1e-9)
        bar.set_postfix_str(f"loss {values['loss']:.3f}, {rate:,.0f} tokens/s", refresh=False)
        values |= {
            "tokens_per_second": rate,
            "flop_utilisation": rate * self.flops / self.peak_flops,
            **self.input.metrics(read),
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
            },
            validation_loss=self.validation.get("loss") if evaluated else None,
        )

    def _reached_target(self) -> bool:
        train = self.p.config.train
        targets = {"loss": train.target_loss, "bits_per_byte": train.target_bits_per_byte}
        return any(
            target is not None and self.validation.get(name, math.inf) <= target
            for name, target in targets.items()
        )
