"""Full fine-tuning, LoRA and DoRA beside each other, each with and without NEFTune.

    python -m benchmarks.finetuning --text 'TR.txt,EN.txt' --pairs en_tr_tatoeba.jsonl \
        --prompt-field en --response-field tr

A base model (width 128, 4 layers, a unigram vocabulary of 2,000) is trained on the text, and then
fine-tuned on one epoch of 8,000 pairs by every method from the same base. Each method
has the same pairs, epochs and batches, and the same number of learning rates tried, at seed 0 and
without NEFTune; its best one is used for all its runs. Reported are the bits per byte of the
held-out responses, end of turn included, and chrF of 200 responses that are generated greedily.

Prints Markdown; every finished run is a line of --log and is not done again, so the same command
continues what was interrupted. Needs sacrebleu.
"""

import argparse
import dataclasses
import hashlib
import importlib.util
import shutil
import time
from pathlib import Path
from typing import Any

import mmrec_jax
from benchmarks.finetuning_table import methods_table
from benchmarks.quality import best_rate, rates_table
from benchmarks.run_log import Record, RunLog
from benchmarks.translation_pairs import write_pairs
from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.config_file import read_config
from mmrec_jax.data.conversations.dataset import read_conversations
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics

_CONFIG = str(Path(__file__).parents[1] / "configs" / "finetune.py")
_NEFTUNE_ALPHA = 5.0
_VOCABULARY = 2000


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to fine-tune: the fields that it changes."""

    kind: str
    rank: int = 0

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.kind}, rank {self.rank}" if self.rank else self.kind

    @property
    def fields(self) -> dict[str, Any]:
        """Of the config."""
        if not self.rank:
            return {"adapters.kind": "none"}
        alpha = 2.0 * self.rank
        return {"adapters.kind": self.kind, "adapters.rank": self.rank, "adapters.alpha": alpha}


def main() -> int:
    """Trains the base and all others; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        log = RunLog(options.log)
        print("\n".join(["", *Finetuning(options, log).table(), ""]), flush=True)
        return 0


class Finetuning:
    """The runs of this benchmark over one log."""

    def __init__(self, options: argparse.Namespace, log: RunLog) -> None:
        self._options = options
        self._log = log
        shapes = options.prompt_field, options.response_field
        self._train, self._held_out = write_pairs(
            options.pairs, shapes, options.count, options.held_out, options.workdir
        )
        # The name says what is in it, since runs are known by names (`run_log.py`).
        text = b"".join(path.read_bytes() for path in find_files(options.text, "--text"))
        digest = hashlib.sha256(text).hexdigest()[:8]
        self._base = options.workdir / f"base_{options.base_tokens}_{digest}"
        rank = options.rank
        self._methods = [
            Method("full"),
            Method("lora", rank),
            Method("dora", rank),
            Method("dora", rank // 2),
        ]

    def table(self) -> list[str]:
        """Every run, and what came of it."""
        self._train_base()
        rates = {method: self._rates(method) for method in self._methods}
        sweeps = {
            method: [self._run(method, rate, 0, neftune=False) for rate in rates[method]]
            for method in self._methods
        }
        runs = {
            (method.name, neftune): [
                self._run(method, best_rate(sweep), seed, neftune=neftune)
                for seed in range(self._options.seeds)
            ]
            for method, sweep in sweeps.items()
            for neftune in (False, True)
        }
        named = {method.name: sweep for method, sweep in sweeps.items()}
        return [*methods_table(runs), "", *rates_table(named)]

    def config(self, method: Method, rate: float, seed: int, *, neftune: bool) -> Config:
        """One fine-tuning run, as the command line would have it."""
        fields = {
            "init_from": self._base,
            "model.vocab_size": _VOCABULARY,
            "data.source": "instructions",
            "data.train": self._train,
            "data.validation": self._held_out,
            "data.seed": seed,
            "train.seed": seed,
            "optim.lr": rate,
            "train.batch_size": 8,
            "train.eval_every": 10**9,
            "train.sample_tokens": 0,
            "train.checkpoint_every": 10**9,
            "noise.alpha": _NEFTUNE_ALPHA if neftune else 0.0,
            **method.fields,
        }
        return read_config(_CONFIG, [f"--config.{name}={x}" for name, x in fields.items()])

    def _rates(self, method: Method) -> list[float]:
        return self._options.adapter_rates if method.rank else self._options.full_rates

    def _train_base(self) -> None:
        _finish(base_config(self._options.text, self._options.base_tokens), self._base)

    def _run(self, method: Method, rate: float, seed: int, *, neftune: bool) -> Record:
        # All that is not in the config, so that other options are other runs.
        name = f"{method.name}{' + NEFTune' if neftune else ''}, chrF of {self._options.generated}"
        config = self.config(method, rate, seed, neftune=neftune)
        found = self._log.find(name, config)
        if found is not None:
            return found
        workdir = self._options.workdir / "run"
        shutil.rmtree(workdir, ignore_errors=True)
        begin = time.process_time()
        _finish(config, workdir)
        seconds = time.process_time() - begin
        scores = [x for x in read_metrics(workdir / "metrics.jsonl") if x["split"] == "validation"]
        last = max((workdir / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
        result = {
            "metrics": {
                "bits_per_byte": scores[-1]["bits_per_byte"],
                "bits_per_byte_before": scores[0]["bits_per_byte"],
                "chrf": self._chrf(workdir),
            },
            "steps": scores[-1]["step"],
            "cpu_seconds": round(seconds, 1),
            "checkpoint_bytes": sum(x.stat().st_size for x in last.rglob("*") if x.is_file()),
        }
        return self._log.append(name, config, result)

    def _chrf(self, workdir: Path) -> float:
        """Of greedy responses to the first held-out prompts, a reference each."""
        import sacrebleu

        pairs = read_conversations(str(self._held_out))
        chosen = {pair.prompt: pair.response for pair in reversed(pairs)}
        prompts = list(reversed(chosen))[: self._options.generated]
        model, params, tokenizer = mmrec_jax.load(workdir, "last")
        written = [
            mmrec_jax.reply(
                model,
                params,
                tokenizer,
                prompt,
                max_tokens=64,
                sampling=Sampling(temperature=0.0),
            )[0]
            for prompt in prompts
        ]
        score = sacrebleu.corpus_chrf(written, [[chosen[prompt] for prompt in prompts]])
        return round(float(score.score), 2)


def base_config(text: str, tokens: int) -> Config:
    """The run that all others begin from."""
    return Config(
        model=MMRecConfig(
            vocab_size=_VOCABULARY, model_dim=128, num_layers=4, num_memories=4, context=1024
        ),
        data=TextConfig(train=text, validation_fraction=0.01, seq_len=256),
        train=TrainConfig(tokens=tokens, batch_size=8, eval_every=1000, sample_tokens=0),
    )


def _finish(config: Config, workdir: Path) -> None:
    """Trains to the end, or goes on where it stopped; a signal ends the whole benchmark."""
    status = run(config, workdir)
    if status:
        raise SystemExit(status)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--text", required=True, help="files for the base, comma-separated")
    add("--pairs", required=True, help="JSON lines, one pair each")
    add("--prompt-field", default="prompt")
    add("--response-field", default="completion")
    add("--base-tokens", type=int, default=4_000_000, help="to train the base on")
    add("--count", type=int, default=8000, help="pairs to fine-tune on")
    add("--held-out", type=int, default=1000, help="pairs to score")
    add("--generated", type=int, default=200, help="responses to generate for chrF")
    add("--rank", type=int, default=16, help="of LoRA and DoRA; DoRA is tried at half of it too")
    add("--full-rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3], metavar="LR")
    add("--adapter-rates", type=float, nargs="+", default=[2e-3, 5e-3, 1e-2], metavar="LR")
    add("--seeds", type=int, default=2, help="runs of each method at its best rate")
    add("--log", type=Path, default=Path("benchmarks/logs/finetuning.jsonl"))
    add("--workdir", type=Path, default=Path("runs/finetuning"))
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: a number or a file that cannot be right, before the first run."""
    for name in ("base_tokens", "count", "held_out", "generated", "seeds"):
        if getattr(options, name) < 1:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} is {getattr(options, name)}; it must be at least 1")
    if options.rank < 2:
        raise UserError(f"--rank is {options.rank}; it must be at least 2: half of it is tried too")
    find_files(options.text, "--text")
    for rate in (*options.full_rates, *options.adapter_rates):
        OptimConfig(lr=rate)
    if importlib.util.find_spec("sacrebleu") is None:
        raise UserError('chrF needs sacrebleu; install it with "pip install sacrebleu"')


if __name__ == "__main__":
    raise SystemExit(main())
