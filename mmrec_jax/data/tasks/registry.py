"""All tasks by name."""

from mmrec_jax.config import TaskConfig
from mmrec_jax.data.tasks.induction import Induction
from mmrec_jax.data.tasks.k_hop import KHop
from mmrec_jax.data.tasks.modular import Modular
from mmrec_jax.data.tasks.mqar import MultiQueryRecall
from mmrec_jax.data.tasks.needle import Needle
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.data.tasks.task import Task
from mmrec_jax.errors import UserError

# The values of `config.data.source` that are a task.
TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Parity, Modular, MultiQueryRecall, Induction, KHop, Needle)
}


def make_task(source: str, config: TaskConfig) -> Task:
    """The task called `source`.

    Raises:
      UserError: a field does not suit the task, or is set though the task does not have it.
    """
    task = TASKS[source]
    others = {name for each in TASKS.values() for name in each.fields} - set(task.fields)
    default = TaskConfig()
    for name in sorted(others):
        value, unset = getattr(config, name), getattr(default, name)
        if value != unset:
            raise UserError(
                f'config.task.{name} is {value!r}; config.data.source "{source}" does not use it: '
                f"leave it at {unset!r}"
            )
    return task.from_config(config)
