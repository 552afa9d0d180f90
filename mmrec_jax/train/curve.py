"""`loss.png`: the run's loss curve."""

import matplotlib.figure

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.writer import read_metrics


def draw_loss(workdir: Workdir) -> None:
    """Draws training and validation loss against the step from `metrics.jsonl`."""
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
