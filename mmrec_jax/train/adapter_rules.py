"""From `AdapterConfig` to the rules of `mmrec_jax.dora`."""

from mmrec_jax import dora
from mmrec_jax.config import AdapterConfig


def adapter_rules(config: AdapterConfig) -> tuple[dora.AdapterRule | dora.RowRule, ...]:
    """Which parameters are adapted; none where the config trains all of them."""
    if config.kind == "none":
        return ()
    kernels = dora.all_linear(config.rank, config.alpha, config.kind)
    if config.pattern != "all-linear":
        kernels = (dora.AdapterRule(config.pattern, config.rank, config.alpha, config.kind),)
    return (*kernels, *((dora.RowRule(config.row_ranges),) if config.row_ranges else ()))
