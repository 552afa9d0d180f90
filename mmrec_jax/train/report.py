"""What a run says on the terminal, from its first line to what to type next; its loss curve."""

import importlib.util
import shlex
import time
from pathlib import Path

import jax
from tqdm import tqdm

from mmrec_jax import dora
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.curves import Curve, Panel, draw_panels
from mmrec_jax.evaluation.registry import format_metrics
from mmrec_jax.memory import peak_memory
from mmrec_jax.train.processes import is_process_zero
from mmrec_jax.train.setup import Setup
from mmrec_jax.train.stages import Stage
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
    for stage in p.stages[1:]:
        batch_size, _, seq_len = stage.shape
        _say(f"  stage {stage.number} from step {stage.begin:,}: {batch_size} x {seq_len} tokens")
    if p.base is not None:
        _say(f"begins with step {p.base['step']:,} of {p.base['run']}")
    if config.adapters.used:
        params = p.abstract.params
        trained, found = count(params), dora.nodes(params).values()
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


def progress(p: Setup, step: int) -> str:
    """Before the bar: the step, and the stage where there are several."""
    stage = f", stage {p.stage.number}/{len(p.stages) - 1}" if p.config.stages else ""
    return f"step {step:,}/{p.steps:,}{stage}: "


def entered(bar: tqdm, p: Setup, stage: Stage, step: int) -> None:
    """What is different in the stage that begins after `step`."""
    batch_size, _, seq_len = stage.shape
    bar.clear()
    _say(
        f"step {step:,}: stage {stage.number} of {len(p.stages) - 1} begins, {batch_size} x "
        f"{seq_len} tokens, learning rate x {stage.lr_factor:g}"
    )
    bar.refresh()


def compiled(seconds: float, since_start: float) -> None:
    """After the first compilation."""
    _say(f"compiled in {seconds:.1f} s, {since_start:.1f} s after the start")


def evaluated(bar: tqdm, step: int, validation: dict[str, float], sample: str) -> None:
    """One line per evaluation, and a sample of the model's text."""
    bar.clear()
    if validation:
        _say(f"step {step:,}: validation {format_metrics(validation)}")
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
    """The result and its files."""
    if not is_process_zero():
        return
    draw_loss(p.workdir)
    root = p.workdir.root
    peak = peak_memory() / 2**30
    best = p.checkpointer.best_step()
    _say(
        f"done: step {step:,}, validation {format_metrics(validation) or 'not evaluated yet'}; "
        f"{time.perf_counter() - begin:.0f} s in this session, peak memory {peak:.2f} GiB"
    )
    lines = read_metrics(p.workdir.metrics)
    for before in (x for x in lines if x["step"] == 0 and x["split"] == "validation"):
        numbers = {name: x for name, x in before.items() if name not in ("step", "split")}
        _say(f"  before training: validation {format_metrics(numbers)}")
    _say(f"  {root}: loss.png, metrics.jsonl, samples/, checkpoints/ (best: step {best})")


def suggest(config: Config, root: Path) -> None:
    """After a run that was typed: what to type next."""
    _say("next:")
    style = config.data.prompt_style
    if style == "none":
        _say(f"  mmrec eval length --workdir={root}")
    else:
        # A prompt that the run's tokenizer is known to spell.
        prompt = shlex.quote(config.train.sample_prompt)
        mode, file = ("--chat ", "jsonl") if style == "chat" else ("", "txt")
        _say(f"  mmrec generate --workdir={root} {mode}--prompt {prompt}")
        _say(f"  mmrec eval loss --workdir={root} --data=YOUR_FILE.{file}")
    if "tensorboard" in config.train.writers:
        missing = importlib.util.find_spec("tensorboard") is None
        install = "pip install tensorboard && " if missing else ""
        _say(f"  {install}tensorboard --logdir={root}/tensorboard")


def draw_loss(workdir: Workdir) -> None:
    """Draws `loss.png`: training and validation loss against the step from `metrics.jsonl`."""
    curves: dict[str, Curve] = {}
    for split in ("train", "validation"):
        lines = [line for line in read_metrics(workdir.metrics) if line["split"] == split]
        if lines:
            curves[split] = [x["step"] for x in lines], [x["loss"] for x in lines], None
    panel = Panel("step", "loss (nats/token)", curves, octaves=False)
    draw_panels([panel], workdir.root.name, workdir.loss_curve)


def _say(line: str) -> None:
    """Once for all processes."""
    if is_process_zero():
        print(line, flush=True)
