"""Checkpoints on disk (orbax): written in the background, chosen only when complete.

One checkpoint is a folder named by its step with four items: `params` (arrays), `training`
(optimizer state, step, key and the carried state, if any: arrays), `data` (the data iterator,
JSON) and `meta` (format version, config, tokenizer fingerprint, validation loss: JSON). Orbax
writes into a temporary folder and renames it when all four are there, so a process killed at any
moment leaves the previous checkpoint as the newest one.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
    PreservationPolicy,
)

from mmrec_jax.errors import UserError
from mmrec_jax.train.processes import barrier, is_process_zero
from mmrec_jax.train.state import TrainState
from mmrec_jax.tree import leaf_names, map_named

FORMAT_VERSION = 1
_ITEMS = ("params", "training", "data", "meta")
_COMMITTED = "commit_success.txt"  # orbax writes it last into each folder
_METRIC = "validation_loss"


class Checkpointer:
    """Saves and restores checkpoints under one directory."""

    def __init__(
        self, directory: Path, *, keep_last: int = 2, keep_best: int = 1, read_only: bool = False
    ) -> None:
        """Opens `directory`, keeping the newest and the best checkpoints by validation loss.

        With `read_only` nothing is created, saved or removed: a run may be writing there.
        """
        # orbax reports each save, and each failure of one, at length; `_explained` needs one line.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        policies: list[PreservationPolicy] = [LatestN(keep_last)]
        if keep_best:
            policies.append(
                BestN(
                    get_metric_fn=lambda metrics: metrics[_METRIC],
                    reverse=True,  # the policy keeps the end of the list: the smallest loss
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self.directory = directory.resolve()
        if not read_only:
            if is_process_zero():
                self._remove_incomplete()
            barrier("incomplete checkpoints removed")
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(policies),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                read_only=read_only,
                enable_async_checkpointing=not read_only,
                best_fn=lambda metrics: metrics[_METRIC],
                best_mode="min",
            ),
            item_names=_ITEMS,
        )

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss; the newest if none has one."""
        best = self._manager.best_step()
        return best if best is not None and self._complete(best) else self.latest_step()

    def all_steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        # Asked of the disk: orbax's own list already has the step whose save is still running and
        # lacks those that it is about to remove.
        names = (path.name for path in self.directory.glob("*"))
        return sorted(int(name) for name in names if name.isdecimal() and self._complete(int(name)))

    def save(
        self,
        state: TrainState,
        *,
        data: dict[str, Any],
        meta: dict[str, Any],
        validation_loss: float | None,
    ) -> None:
        """Starts a save in the background, waiting for the one before.

        Raises:
          UserError: this or an earlier save failed (a full disk, say).
        """
        step = int(state.step)
        with self._explained():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    training=ocp.args.StandardSave(_training(state)),
                    data=ocp.args.JsonSave(data),
                    meta=ocp.args.JsonSave({"format": FORMAT_VERSION, "step": step, **meta}),
                ),
                metrics=None if validation_loss is None else {_METRIC: validation_loss},
            )

    def check(self) -> None:
        """Raises `UserError` if a background save has failed."""
        with self._explained():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Returns when the last save is complete on disk; raises `UserError` if it failed."""
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits for the last save and lets go of the directory."""
        self.wait()
        self._manager.close()

    def read_meta(self, step: int) -> dict[str, Any]:
        """The `meta` item of one checkpoint.

        Raises:
          UserError: it was written in another format.
        """
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        found = meta["meta"].get("format")
        if found != FORMAT_VERSION:
            raise UserError(
                f"{self.directory / str(step)}: checkpoint format {found}; this version of "
                f"mmrec_jax reads {FORMAT_VERSION}"
            )
        return meta["meta"]

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The training state, shaped and sharded like `abstract`, and the data iterator's."""
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                training=ocp.args.StandardRestore(_training(abstract)),
                data=ocp.args.JsonRestore(),
            ),
        )
        training = restored["training"]
        if abstract.carried is not None:
            training["carried"] = _restore_empty(training["carried"], abstract.carried)
        return TrainState(params=restored["params"], **training), restored["data"]

    def restore_params(self, step: int, abstract: Any) -> Any:
        """The parameters alone."""
        args = ocp.args.Composite(params=ocp.args.StandardRestore(abstract))
        return self._manager.restore(step, args=args)["params"]

    def _complete(self, step: int) -> bool:
        """Whether a step's folder has the marks that orbax writes last, one for each item."""
        folder = self.directory / str(step)
        return all((folder / item / _COMMITTED).is_file() for item in (".", *_ITEMS))

    def _remove_incomplete(self) -> None:
        """Removes steps that lack files (a copy or removal was cut off): they block a new save."""
        for folder in self.directory.glob("*"):
            if folder.name.isdecimal() and not self._complete(int(folder.name)):
                shutil.rmtree(folder)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns a failed save into one line that says which checkpoint is still good."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # orbax and tensorstore raise many kinds
            good = self.latest_step()
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            last = f"the checkpoint of step {good} is intact" if good else "there is no earlier one"
            raise UserError(
                f"{self.directory}: saving a checkpoint failed ({reason}); {last}"
            ) from error


def _training(state: TrainState) -> dict[str, Any]:
    parts = {"step": state.step, "opt_state": state.opt_state, "key": state.key}
    if state.carried is None:
        return parts
    # By name, without the memory of a model that has none: orbax refuses arrays without entries.
    named = zip(leaf_names(state.carried), jax.tree.leaves(state.carried), strict=True)
    return parts | {"carried": {name: leaf for name, leaf in named if leaf.size}}


def _restore_empty(saved: dict[str, jax.Array], abstract: Any) -> Any:
    """The carried state, shaped like `abstract`, from its arrays with entries by name."""

    def leaf(name: str, like: jax.ShapeDtypeStruct) -> jax.Array:
        return saved[name] if like.size else jnp.zeros(like.shape, like.dtype, device=like.sharding)

    return map_named(leaf, abstract)


def abstract_on(tree: Any, sharding: Any) -> Any:
    """Shapes and dtypes of `tree`, to be restored on any mesh.

    Args:
      tree: arrays, or anything with a shape and a dtype.
      sharding: where they go: one sharding, or a tree of them that `tree` begins like.
    """

    def place(sharding: jax.sharding.Sharding, part: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part
        )

    return jax.tree.map(place, sharding, tree)
