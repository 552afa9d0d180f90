"""The training runs of an adaptation, as the configs that `train.py` would take."""

import dataclasses
from pathlib import Path
from typing import Any

from mmrec_jax.adapt.config import AdaptConfig, StageLength
from mmrec_jax.adapt.text import train_folder, validation_file
from mmrec_jax.config import (
    Config,
    ExtendConfig,
    NoiseConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
)
from mmrec_jax.data.kinds.instructions import InstructionsConfig, TreebankInstructionsConfig
from mmrec_jax.data.kinds.text import ManualConfig, TextConfig

TRAINING = "first", "second", "third"
ALIGNED = "align"
INSTRUCTED = "instruct"


@dataclasses.dataclass(frozen=True)
class Rates:
    """Tokens a byte of training text, by one tokenizer."""

    turkish: float
    english: float

    def weights(self, english_share: float) -> tuple[float, float]:
        """Of tokens, so that English has its share of the bytes."""
        return self.turkish * (1 - english_share), self.english * english_share

    def mixed(self, english_share: float) -> float:
        """Tokens a byte of both together."""
        return sum(self.weights(english_share))


@dataclasses.dataclass(frozen=True)
class Runs:
    """Makes the configs. Lengths are in bytes, so that every tokenizer sees the same text."""

    config: AdaptConfig
    root: Path  # each run is in the folder with its name
    base: str

    def pretrain(self) -> Config:
        """The base on the built-in English text."""
        c, own = self.config, self.config.pretrain
        train = self._train(own, steps=own.steps)
        return Config(
            model=dataclasses.replace(c.model, vocab_size=own.vocab_size),
            tokenizer=TokenizerConfig(kind="byte_bpe"),
            data=ManualConfig(seq_len=own.seq_len),
            optim=OptimConfig(lr=own.lr),
            train=train,
        )

    def text(
        self, name: str, size: float, rates: Rates, *, previous: str = "", extended: bool
    ) -> Config:
        """A stage that reads `size` bytes of text; `previous` is the run whose adapters go on."""
        c, stage = self.config, getattr(self.config, name)
        adapters = dataclasses.replace(c.adapters, init_from=previous)
        if name == ALIGNED:
            adapters = dataclasses.replace(adapters, kind="whole", dropout=0.0, init_from="")
        analysed, share = self.root / "analyse", c.english_share
        parts = ["turkish", "english"] if share else ["turkish"]
        data = TextConfig(
            train=",".join(str(train_folder(analysed, language)) for language in parts),
            validation=str(validation_file(analysed, "turkish")),
            seq_len=stage.seq_len,
            seed=c.seed,
            weights=rates.weights(share) if share else (),
        )
        length = max(1, round(size * rates.mixed(share)))
        target = c.target_bits_per_byte if name != ALIGNED else None
        return Config(
            init_from=self.base,
            model=c.model,
            extend=self.extension if extended else ExtendConfig(),
            adapters=adapters,
            data=data,
            optim=self._optim(stage),
            mesh=c.mesh,
            train=self._train(stage, tokens=length, target_bits_per_byte=target),
        )

    def instruct(self, previous: str) -> Config:
        """Prompts and responses, with noise on the embedded tokens."""
        c, stage = self.config, self.config.instruct
        data: Any = TreebankInstructionsConfig(seq_len=stage.seq_len, seed=c.seed)
        if c.instructions:
            data = InstructionsConfig(train=c.instructions, seq_len=stage.seq_len, seed=c.seed)
        length = {"epochs": stage.epochs} if stage.tokens is None else {"tokens": stage.tokens}
        return Config(
            init_from=self.base,
            model=c.model,
            extend=self.extension if c.extends else ExtendConfig(),
            adapters=dataclasses.replace(c.adapters, init_from=previous),
            data=data,
            optim=self._optim(stage),
            mesh=c.mesh,
            noise=c.noise,
            train=self._train(stage, **length),
        )

    def untrained(self, *, extended: bool) -> Config:
        """The base, with fresh adapters, which change nothing; to be evaluated."""
        return dataclasses.replace(
            self.text(TRAINING[0], 1.0, Rates(1.0, 1.0), extended=extended), noise=NoiseConfig()
        )

    @property
    def extension(self) -> ExtendConfig:
        """The new tokens, from the folder that the stage extend writes."""
        own = self.config.extension
        return ExtendConfig(str(self.root / "extend"), own.method, own.multiple)

    def size(self, name: str, rates: Rates, turkish_bytes: int) -> float:
        """Bytes that a stage reads, of both languages; `turkish_bytes` are those of an epoch."""
        stage: StageLength = getattr(self.config, name)
        share = self.config.english_share
        if stage.tokens is not None:
            return stage.tokens / rates.mixed(share)
        return stage.epochs * turkish_bytes / (1 - share)

    def _optim(self, stage: StageLength) -> OptimConfig:
        optim = self.config.optim
        return dataclasses.replace(optim, lr=optim.lr * stage.lr_factor)

    def _train(self, stage: Any, **length: Any) -> TrainConfig:
        every = getattr(stage, "eval_every", 200)
        return TrainConfig(
            seed=self.config.seed,
            batch_size=stage.batch_size,
            accumulate=getattr(stage, "accumulate", 1),
            devices=self.config.devices,
            eval_every=every,
            checkpoint_every=every,
            keep_last=1,
            sample_tokens=0,
            dashboard=False,
            writers=("jsonl",),
            **length,
        )
