"""All tasks by name."""

from collections.abc import Callable

from mmrec_jax.config import DataConfig
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.data.tasks.task import Task

# What makes each value of `config.data.source` that is a task.
TASKS: dict[str, Callable[[DataConfig], Task]] = {
    Parity.name: lambda config: Parity(),
}
