"""What a run says on the terminal, from its first line to what to type next; its loss curve."""

import importlib.util
import resource
import shlex
import sys
import time

import jax
import matplotlib.figure
from tqdm import tqdm

from mmrec_jax import dora
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.processes import is_process_zero
from mmrec_jax.train.setup import Setup
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import count


def opening(p: Setup, parameters: int) -> None:
    """Data, model and devices, before the wait for the compiler."""
    config = p.config
    others = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    _say(f"data: {p.data.describe()}")
    axes = [f"{name} {size}" for name, size in p.mesh.shape.items() if size > 1]
    split = f" ({' x '.join(axes)})" if len(axes) > 1 else ""
    _say(
        f"model: {parameters:,} parameters; {p.mesh.size} {jax.default_backend()} device(s)"
        f"{split}{others}; "
        f"{p.steps:,} steps of {config.train.batch_size} x {config.data.seq_len} tokens"
    )
    if p.base is not None:
        _say(f"begins with step {p.base['step']:,} of {p.base['run']}")
    if config.adapters.used:
        trained, found = count(p.state.params), dora.nodes(p.state.params).values()
        adapted = sum(isinstance(node, dora.Adapter) for node in found)
        kind, rank = config.adapters.kind, config.adapters.rank
        what = [f"{kind} of rank {rank} on {adapted} parameters"] if adapted else []
        what += [f"{len(found) - adapted} in part or whole"] if len(found) > adapted else []
        _say(
            f"adapters: {' and '.join(what)}; "
            f"{trained:,} numbers are trained, {trained / parameters:.2%} of the model's"
        )
    if p.start:
        _say(f"continuing from the checkpoint of step {p.start:,}")


def compiled(seconds: float, since_start: float) -> None:
    """After the first compilation."""
    _say(f"compiled in {seconds:.1f} s, {since_start:.1f} s after the start")


def evaluated(bar: tqdm, step: int, validation: dict[str, float], sample: str) -> None:
    """One line per evaluation, and a sample of the model's text."""
    bar.clear()
    if validation:
        _say(f"step {step:,}: validation {_summary(validation)}")
    if sample:
        _say("  writes: " + " ".join(sample.split()))
    bar.refresh()


def warned(bar: tqdm, line: str) -> None:
    """Something that does not stop the run, and its remedy; of any process."""
    bar.clear()
    print(f"warning: {line}", flush=True)
    bar.refresh()


def interrupted(signal_name: str, step: int) -> None:
    """After a signal and the save that followed it."""
    _say(f"{signal_name}: saved at step {step:,}. Type the same command to continue.")


def closing(p: Setup, step: int, validation: dict[str, float], *, begin: float) -> None:
    """The result, its files, and what to type next."""
    if not is_process_zero():
        return
    draw_loss(p.workdir)
    root = p.workdir.root
    # Linux counts in KiB, macOS in bytes.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    best = p.checkpointer.best_step()
    _say(
        f"done: step {step:,}, validation {_summary(validation)}; "
        f"{time.perf_counter() - begin:.0f} s in this session, peak memory {peak:.2f} GiB"
    )
    lines = read_metrics(p.workdir.metrics)
    for before in (x for x in lines if x["step"] == 0 and x["split"] == "validation"):
        numbers = {name: x for name, x in before.items() if name not in ("step", "split")}
        _say(f"  before training: validation {_summary(numbers)}")
    _say(f"  {root}: loss.png, metrics.jsonl, samples/, checkpoints/ (best: step {best})")
    _say("next:")
    style = p.data.config.prompt_style
    if style == "none":
        _say(f"  mmrec eval length --workdir={root}")
    else:
        # A prompt that the run's tokenizer is known to spell.
        prompt = shlex.quote(p.config.train.sample_prompt)
        mode, file = ("--chat ", "jsonl") if style == "chat" else ("", "txt")
        _say(f"  mmrec generate --workdir={root} {mode}--prompt {prompt}")
        _say(f"  mmrec eval loss --workdir={root} --data=YOUR_FILE.{file}")
    if "tensorboard" in p.config.train.writers:
        missing = importlib.util.find_spec("tensorboard") is None
        install = "pip install tensorboard && " if missing else ""
        _say(f"  {install}tensorboard --logdir={root}/tensorboard")


def draw_loss(workdir: Workdir) -> None:
    """Draws `loss.png`: training and validation loss against the step from `metrics.jsonl`."""
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    metrics = read_metrics(workdir.metrics)
    for split, style in (("train", "-"), ("validation", "o-")):
        points = [(m["step"], m["loss"]) for m in metrics if m["split"] == split]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=split, linewidth=1, markersize=4)
    axes.set(xlabel="step", ylabel="loss (nats/token)", title=workdir.root.name)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(workdir.loss_curve, dpi=120)


_KNOWN = {"step", "split", "loss", "perplexity", "tokens", "bits_per_byte", "bits_per_character"}


def _summary(validation: dict[str, float]) -> str:
    if not validation:
        return "not evaluated yet"
    parts = [f"loss {validation['loss']:.4f} nats/token"]
    if "perplexity" in validation:
        parts.append(f"perplexity {validation['perplexity']:.2f}")
    if "bits_per_byte" in validation:
        parts.append(
            f"{validation['bits_per_byte']:.4f} bits/byte, "
            f"{validation['bits_per_character']:.4f} bits/character"
        )
    for name, share in validation.items():
        kind, _, length = name.partition("@")
        if kind == "accuracy":
            answers = validation[f"token_accuracy@{length}"]
            parts.append(f"{name} {share:.2%} ({answers:.2%} of all answers)")
        elif not length and name not in _KNOWN:  # what an objective says of the text
            parts.append(f"{name} {share:.4f}")
    return ", ".join(parts)


def _say(line: str) -> None:
    """Once for all processes."""
    if is_process_zero():
        print(line, flush=True)
