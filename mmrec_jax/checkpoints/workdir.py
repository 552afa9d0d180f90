"""The files of a run, by name."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.config_tree import complete_stored, from_config_dict, to_dict
from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A run's folder. Everything a run writes is one of these."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved config, JSON."""
        return self.root / "config.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer of the run's checkpoints."""
        return self.root / "tokenizer"

    @property
    def tokenizer_cache(self) -> Path:
        """Trained tokenizers by a hash of their training text."""
        return self.root / "tokenizer_cache"

    @property
    def checkpoints(self) -> Path:
        """One folder a checkpoint, named by its step."""
        return self.root / "checkpoints"

    @property
    def model_file(self) -> Path:
        """The parameters of an exported model, which has this instead of checkpoints."""
        return self.root / "model.safetensors"

    @property
    def samples(self) -> Path:
        """Text written by the model at each evaluation."""
        return self.root / "samples"

    @property
    def inspect(self) -> Path:
        """Numbers and pictures of `mmrec inspect`."""
        return self.root / "inspect"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard events."""
        return self.root / "tensorboard"

    @property
    def loss_curve(self) -> Path:
        """The loss curve, PNG."""
        return self.root / "loss.png"

    @property
    def evaluations(self) -> Path:
        """What `mmrec eval` measured: numbers and pictures."""
        return self.root / "eval"

    @property
    def compile_cache(self) -> Path:
        """Compiled programs, for a quick start when the run continues."""
        return self.root / "compile_cache"

    @property
    def profile(self) -> Path:
        """Profiler traces."""
        return self.root / "profile"

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
        for path in (self.config, self.metrics, self.loss_curve):
            path.unlink(missing_ok=True)

    def write_config(self, config: Config, vocab_size: int) -> None:
        """Stores the config and the vocabulary that the tokenizer turned out to have."""
        content = {"config": to_dict(config), "vocab_size": vocab_size}
        replacement = self.config.with_suffix(".partial")
        replacement.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        replacement.replace(self.config)

    def read_config(self) -> tuple[Config, int]:
        """The stored config and vocabulary.

        Raises:
          UserError: there is no run here, or its config cannot be read.
        """
        try:
            content: dict[str, Any] = json.loads(self.config.read_text("utf-8"))
            return from_config_dict(complete_stored(content["config"])), content["vocab_size"]
        except OSError:
            raise UserError(
                f"{self.root}: there is no run here ({self.config.name} is missing); train one "
                f"with: python train.py --config=configs/tiny.py --workdir={self.root}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.config}: this file is damaged") from None
