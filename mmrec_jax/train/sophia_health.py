"""Whether Sophia's steps stay between plain sign descent and steps too small to be felt."""

from collections.abc import Mapping

from mmrec_jax.config import OptimConfig

_LOW, _HIGH = 0.1, 0.5  # the paper's healthy share of unclipped coordinates
_LEAST_RMS = 0.1  # of the clipped steps; below it the learning rate hardly matters
_WINDOW = 100  # steps in the running mean


class SophiaHealth:
    """Watches `sophia_unclipped` and `sophia_update_rms`; warns once in a session.

    Judgement begins when the curvature has averaged over 1 / (1 - b2) estimates, which the
    learning rate's warm-up may outlast: before that, nearly every coordinate is clipped.
    """

    def __init__(self, config: OptimConfig) -> None:
        average = config.hessian_every / (1 - config.B2)
        self._from = max(config.warmup_steps, average) + _WINDOW
        self._config = config
        self._means: dict[str, float] = {}
        self._warned = False

    def warning(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Takes the metrics of one step; one line if it is the first that is not healthy."""
        if "sophia_unclipped" not in metrics:
            return None
        for name in ("sophia_unclipped", "sophia_update_rms"):
            mean = self._means.get(name, metrics[name])
            self._means[name] = mean + (metrics[name] - mean) / _WINDOW
        if self._warned or step < self._from:
            return None
        unclipped, rms = self._means["sophia_unclipped"], self._means["sophia_update_rms"]
        gamma = self._config.GAMMA
        if unclipped < _LOW:
            remedy = (
                f"nearly every coordinate is clipped, which is sign descent; raise "
                f"config.optim.gamma (now {gamma:g}) or lower config.optim.lr"
            )
        elif unclipped > _HIGH or rms < _LEAST_RMS:
            remedy = f"steps are small; lower config.optim.gamma (now {gamma:g})"
        else:
            return None
        self._warned = True
        return (
            f"step {step:,}: {unclipped:.0%} of Sophia's coordinates are unclipped (healthy: "
            f"{_LOW:.0%} to {_HIGH:.0%}), the steps' root mean square is {rms:.2f}: {remedy}"
        )
