"""An adaptation under way: its folders, what its stages found, and the runs that it trains.

Lengths are in bytes, so that every tokenizer sees the same text.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrec_jax.adapt.config import ALIGNED, INSTRUCTED, TRAINING, AdaptConfig, TrainingConfig
from mmrec_jax.adapt.text import LANGUAGES, train_folder, validation_file
from mmrec_jax.adapter_config import ExtendConfig
from mmrec_jax.checkpoints.load import open_model
from mmrec_jax.config import Config, NoiseConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.instructions import InstructionsConfig, TreebankInstructionsConfig
from mmrec_jax.data.kinds.text import ManualConfig, TextConfig
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.settings import LARGEST_SEED
from mmrec_jax.tokenizers.tokenizer import Tokenizer

BASE, CONTROL = "base", "control"
_READERS = ALIGNED, *TRAINING  # of the text


@dataclasses.dataclass(frozen=True)
class Job:
    """An adaptation: its config, its folder, and what its stages have found so far."""

    config: AdaptConfig
    root: Path
    results: Mapping[str, Mapping[str, Any]]

    def folder(self, stage: str) -> Path:
        """Of a stage."""
        return self.root / stage

    @property
    def analysed(self) -> Path:
        """Where the text is, and the base's tokenizer."""
        return self.folder("analyse")

    @property
    def base(self) -> str:
        """The model that is adapted."""
        return self.config.base or str(self.folder(BASE))

    def base_tokenizer(self) -> Tokenizer:
        """The base's; of one that is trained here as that run will make it."""
        if self.config.base:
            return open_model(self.config.base).tokenizer
        run = self._pretraining()
        return run.data.open(run, self.analysed).tokenizer

    def weights(self, *, extended: bool) -> tuple[float, float]:
        """Tokens of Turkish and of English in a byte of the text that is trained on.

        English has its share of the bytes; the tokens are the base's or those of the extension.
        """
        rates = self.results["extend" if extended else "analyse"]["tokens_per_byte"]
        share = self.config.english_share
        return rates["turkish"] * (1 - share), rates["english"] * share

    def runs(self, stage: str) -> dict[Path, Config]:
        """The trainings of a stage, in order, by their folders; none of a stage that trains not."""
        config, folder = self.config, self.folder(stage)
        if stage == BASE:
            return {folder: self._pretraining()}
        if stage in config.lengths:
            names = [*config.lengths]
            before = names[: names.index(stage)]
            previous = str(self.folder(before[-1])) if before else ""
            return {folder: self._run(stage, self._size(stage), previous, extended=config.extends)}
        found: dict[Path, Config] = {}
        if stage == CONTROL:
            # As many stages on as many bytes; those that trained the new rows go to the first.
            size, previous = self._size(ALIGNED) if ALIGNED in config.lengths else 0.0, ""
            for name in config.training:
                size += self._size(name)
                found[folder / name] = self._run(name, size, previous, extended=False)
                size, previous = 0.0, str(folder / name)
        return found

    def untrained(self, *, extended: bool) -> Config:
        """The base, with fresh adapters, which change nothing; to be evaluated."""
        return self._run(self.config.training[0], 1.0, "", extended=extended)

    def trained(self, folder: Path, *, extended: bool) -> Config:
        """The model of a finished run, to be evaluated."""
        config = self.untrained(extended=extended)
        kind = "whole" if folder.name == ALIGNED else config.adapters.kind
        adapters = dataclasses.replace(config.adapters, kind=kind, init_from=str(folder))
        return dataclasses.replace(config, adapters=adapters)

    def _size(self, stage: str) -> float:
        """Bytes of both languages that a stage reads; of prompts and responses 0."""
        length: TrainingConfig = getattr(self.config, stage)
        if stage == INSTRUCTED:
            return 0.0
        if length.tokens is not None:
            return length.tokens / sum(self.weights(extended=self.config.extends))
        turkish: int = self.results["analyse"]["texts"]["turkish"]["bytes"]
        return length.epochs * turkish / (1 - self.config.english_share)

    def _pretraining(self) -> Config:
        """The base on the built-in English text."""
        config, length = self.config, self.config.pretrain
        return Config(
            model=config.model,
            tokenizer=TokenizerConfig(kind="byte_bpe"),
            data=ManualConfig(seq_len=length.seq_len),
            optim=OptimConfig(lr=config.optim.lr * length.lr_factor),
            mesh=config.mesh,
            train=self._train(length, **_whole(length)),
        )

    def _run(self, stage: str, size: float, previous: str, *, extended: bool) -> Config:
        """A stage that reads `size` bytes of text, or prompts and responses.

        `previous` is the run whose adapters go on.
        """
        c, length, own = self.config, getattr(self.config, stage), self.config.extension
        adapters = dataclasses.replace(c.adapters, init_from=previous)
        if stage == ALIGNED:
            adapters = dataclasses.replace(adapters, kind="whole", dropout=0.0)
        units: dict[str, Any] = {}
        data: Any
        if stage == INSTRUCTED:
            units = _whole(length)
            data = TreebankInstructionsConfig(seq_len=length.seq_len, seed=c.seed)
            if c.instructions:
                files = c.instructions
                data = InstructionsConfig(train=files, seq_len=length.seq_len, seed=c.seed)
        else:
            data, units["tokens"] = self._text(stage, size, extended=extended)
            if stage != ALIGNED:
                units["target_bits_per_byte"] = c.target_bits_per_byte
        new = ExtendConfig(str(self.folder("extend")), own.method, own.multiple)
        return Config(
            init_from=self.base,
            model=c.model,
            extend=new if extended else ExtendConfig(),
            adapters=adapters,
            data=data,
            optim=dataclasses.replace(c.optim, lr=c.optim.lr * length.lr_factor),
            mesh=c.mesh,
            noise=c.noise if stage == INSTRUCTED else NoiseConfig(),
            train=self._train(length, **units),
        )

    def _text(self, stage: str, size: float, *, extended: bool) -> tuple[TextConfig, int]:
        """The text that a stage is trained on, and the tokens in `size` bytes of it."""
        share, weights = self.config.english_share, self.weights(extended=extended)
        languages = LANGUAGES if share else LANGUAGES[:1]
        data = TextConfig(
            train=",".join(str(train_folder(self.analysed, each)) for each in languages),
            validation=str(validation_file(self.analysed, "turkish")),
            seq_len=getattr(self.config, stage).seq_len,
            # In an order of its own: stages that each read a part of the text read other parts.
            seed=(self.config.seed + _READERS.index(stage)) % (LARGEST_SEED + 1),
            weights=weights if share else (),
        )
        return data, max(1, round(size * sum(weights)))

    def _train(self, length: TrainingConfig, **units: Any) -> TrainConfig:
        return TrainConfig(
            seed=self.config.seed,
            batch_size=length.batch_size,
            accumulate=length.accumulate,
            devices=self.config.devices,
            eval_every=length.eval_every,
            checkpoint_every=length.eval_every,
            keep_last=1,
            sample_tokens=0,
            dashboard=False,
            writers=("jsonl",),
            **units,
        )


def _whole(length: TrainingConfig) -> dict[str, Any]:
    """How long a run trains that decides itself what an epoch is."""
    return {"epochs": length.epochs} if length.tokens is None else {"tokens": length.tokens}
