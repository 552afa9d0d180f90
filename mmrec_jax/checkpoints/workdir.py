"""The files of a run, by name."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.config import Config
from mmrec_jax.config_tree import from_dict, to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # gs://bucket/x, of which a Path drops a slash


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A file or folder of a run: a property with its path."""

    name: str

    def __get__(self, workdir: "Workdir", owner: type) -> Path:
        return workdir.root / self.name


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A run's folder. Everything a run writes is one of these."""

    root: Path

    def __post_init__(self) -> None:
        if _REMOTE.match(str(self.root)):
            raise UserError(
                f"{self.root}: a run's folder must be in a file system; mount the bucket (gcsfuse, "
                "rclone mount) and name the folder there, or copy the run to this machine"
            )

    config = _Entry("config.json")  # the resolved config
    tokenizer = _Entry("tokenizer")  # of the run's checkpoints
    tokenizer_cache = _Entry("tokenizer_cache")  # trained ones by a hash of their training text
    checkpoints = _Entry("checkpoints")  # one folder per checkpoint, named by its step
    model_file = _Entry("model.safetensors")  # of an exported model, instead of checkpoints
    samples = _Entry("samples")  # text written by the model at each evaluation
    inspect = _Entry("inspect")  # numbers and pictures of `mmrec inspect`
    metrics = _Entry("metrics.jsonl")  # one JSON object per line
    tensorboard = _Entry("tensorboard")
    wandb_id = _Entry("wandb_id.txt")  # which run of Weights & Biases this one is
    loss_curve = _Entry("loss.png")
    evaluations = _Entry("eval")  # what `mmrec eval` measured: numbers and pictures
    profile = _Entry("profile")  # profiler traces

    def require_own_run(self) -> None:
        """Refuses an exported model, which training would overwrite."""
        if self.model_file.exists():
            raise UserError(
                f"--workdir {self.root}: this is a model that mmrec export wrote, not a run; name "
                f"another --workdir (config.init_from={self.root} trains the model further)"
            )

    def clear(self) -> None:
        """Removes what a run wrote (the caches stay) and nothing else."""
        # Renamed first: a kill half-way must not leave checkpoints with files missing.
        removed = self.root / "checkpoints.removed"
        shutil.rmtree(removed, ignore_errors=True)
        if self.checkpoints.is_dir():
            self.checkpoints.rename(removed)
        folders = ("tokenizer", "samples", "tensorboard", "profile", "evaluations", "inspect")
        for path in (removed, *(getattr(self, name) for name in folders)):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.config, self.metrics, self.loss_curve, self.wandb_id):
            path.unlink(missing_ok=True)

    def write_config(self, config: Config, vocab_size: int) -> None:
        """Stores the config and the vocabulary that the tokenizer turned out to have."""
        content = {"config": to_dict(config), "vocab_size": vocab_size}
        replace_file(self.config, (json.dumps(content, indent=2) + "\n").encode())

    def read_config(self) -> tuple[Config, int]:
        """The stored config and vocabulary size; `UserError` if there is no run here."""
        if not self.config.exists():
            raise UserError(
                f"{self.root}: there is no run here ({self.config.name} is missing); train one "
                f"with: mmrec train tiny --workdir={self.root}"
            )
        content = read_json_object(self.config)
        config, vocab_size = content.get("config"), content.get("vocab_size")
        if not isinstance(config, dict) or type(vocab_size) is not int or vocab_size < 1:
            raise UserError(
                f"{self.config}: bad JSON: it must have config, an object, and vocab_size, a number"
            )
        try:
            return from_dict(config), vocab_size
        except UserError as error:
            raise UserError(f"{self.config}: {error}") from None
