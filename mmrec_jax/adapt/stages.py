"""The stages of an adaptation: each a function of the job that returns what it found, for JSON."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax import dora
from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.adapt.measure import Opened, continuations, measure, open_run
from mmrec_jax.adapt.runs import ALIGNED, INSTRUCTED, TRAINING, Rates, Runs
from mmrec_jax.adapt.text import (
    LANGUAGES,
    sample,
    split_text,
    train_folder,
    validation_documents,
)
from mmrec_jax.checkpoints.load import open_model, read_adapters, tensor_names
from mmrec_jax.checkpoints.publish import publish
from mmrec_jax.config import Config
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.samples import beginnings
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.extension import ExtensionPlan, learn_extension, write_extension
from mmrec_jax.tokenizers.report import Encoder, score_text
from mmrec_jax.train.loop import run
from mmrec_jax.train.mesh import arrange
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.turkish.scores import turkish_scores

_SAMPLE = 2_000_000  # characters of each source that tokens are counted in
_PREDICTED_ON = 1_000_000  # characters that a small extension is learned from, to predict
_CHARACTERS_A_TOKEN = 500  # of that text, for each new token
_SHARD_BYTES = 5_000_000_000
_COMPARED = 128  # tokens whose logits are compared after the export
_EQUAL = 1e-5  # of the largest logit
_CLOSE = 0.05  # nats a token, by which a model exported from few bits may differ


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
    def base(self) -> str:
        """The model that is adapted."""
        return self.config.base or str(self.folder("base"))

    @property
    def runs(self) -> Runs:
        """The configs of its training."""
        return Runs(self.config, self.root, self.base)

    def rates(self, which: str) -> Rates:
        """Tokens a byte by the tokenizer of the "base" or the extended one, "extend"."""
        stage = "extend" if which == "extend" and self.config.extends else "analyse"
        return Rates(**self.results[stage]["tokens_per_byte"])

    @property
    def final_model(self) -> str:
        """What the model that is exported is called."""
        return "instructed" if self.config.instructs else "trained"

    def length(self, stage: str) -> float:
        """Bytes that a stage of training reads."""
        size = self.results["analyse"]["texts"]["turkish"]["bytes"]
        return self.runs.size(stage, self.rates("extend"), size)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of them, and what it depends on: earlier stages, fields of the config, files."""

    name: str
    run: Callable[[Job], dict[str, Any]]
    needs: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # of the fields, those that name files


def stages(config: AdaptConfig) -> list[Stage]:
    """Those that a config asks for, in their order."""
    how = "adapters", "optim", "english_share", "seed"
    learned = "extension.vocab_size", "extension.superwords"
    rows = ("extension.method", "extension.multiple") if config.extends else ()
    measured = "evaluation"
    found = []
    if not config.base:
        found.append(Stage("base", _base, (), ("model", "pretrain", "seed")))
    split = "documents", "field", "validation_fraction", "check_language", "text", "english"
    found.append(Stage("analyse", _analyse, ("base",), (*learned, *split), ("text", "english")))
    before = "analyse"
    if config.extends:
        found += [
            Stage("extend", _extend, ("analyse",), learned),
            Stage("initialise", _initialise, ("extend",), ("adapters", *rows, measured)),
        ]
        before = "extend"
    if config.aligns:
        found.append(Stage(ALIGNED, _align, ("extend",), (ALIGNED, *rows, *how)))
        before = ALIGNED
    for name in TRAINING:
        own = name, "target_bits_per_byte", *rows, *how
        found.append(Stage(name, _training(name, before), (before,), own))
        before = name
    if config.extends and config.control:
        every = ALIGNED, *TRAINING, "target_bits_per_byte", *how
        # Lengths in tokens are of the extended tokenizer.
        counted = any(getattr(config, name).tokens for name in (ALIGNED, *TRAINING))
        needs = "extend" if counted else "analyse"
        found.append(Stage("control", _control, (needs,), every))
    if config.instructs:
        told = ("instruct", "instructions", "noise", *how)
        found.append(Stage(INSTRUCTED, _instruct, (before,), told, ("instructions",)))
        before = INSTRUCTED
    compared = [each.name for each in found if each.name in ("initialise", ALIGNED, "control")]
    found.append(Stage("evaluate", _evaluate, (before, *compared), (measured, "control")))
    found.append(Stage("export", _export, ("evaluate",)))
    return found


def _base(job: Job) -> dict[str, Any]:
    """A small decoder learns the built-in English manual."""
    return _train(job.runs.pretrain(), job.folder("base"))


def _analyse(job: Job) -> dict[str, Any]:
    """Splits the text and says what the base's tokenizer makes of it."""
    config, folder = job.config, job.folder("analyse")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = open_model(job.base)
    texts = {language: split_text(config, language, folder) for language in LANGUAGES}
    base.tokenizer.save(folder / "tokenizer")
    encoder = Encoder("base", base.tokenizer)
    scores = {
        language: score_text(language, _held_out(job, language), encoder, encoder)
        for language in LANGUAGES
    }
    found = {
        "texts": texts,
        "scores": scores,
        "tokens_per_byte": _tokens_per_byte(job, encoder),
        "predicted_reduction": _predicted(job, encoder) if config.extends else 0.0,
    }
    for language in LANGUAGES:
        text, score = texts[language], scores[language]
        ceiling = "" if score["ceiling"] is None else f", at most {score['ceiling']:.0%} fewer"
        print(
            f"{language}: {text['documents']:,} documents, {text['bytes']:,} bytes to train on, "
            f"{text['held_out']:,} held out, {text['copies']:,} copies left out; "
            f"{score['tokens_a_word']:.2f} tokens a word{ceiling} without superwords"
        )
    if config.extends:
        print(f"new tokens will save about {found['predicted_reduction']:.0%} of the Turkish ones")
    return found


def _extend(job: Job) -> dict[str, Any]:
    """Learns the new tokens from the training text."""
    plan = _plan(job, sorted(train_folder(job.folder("analyse"), "turkish").iterdir()))
    bars: dict[str, tqdm] = {}

    def report(stage: str, done: int, total: int) -> None:
        bar = bars.setdefault(stage, tqdm(desc=stage, total=total, unit_scale=True))
        bar.update(done - bar.n)

    try:
        vocabulary = learn_extension(plan, report)
    except UserError as error:
        options = {"--vocab-size": "extension.vocab_size", "--superwords": "extension.superwords"}
        message = str(error)
        for option, field in options.items():
            message = message.replace(option, f"config.{field}")
        raise UserError(message) from None
    finally:
        for bar in bars.values():
            bar.close()
    folder = job.folder("extend")
    folder.mkdir(parents=True, exist_ok=True)
    write_extension(folder, vocabulary, plan.record())
    encoder = Encoder.read(folder / "tokenizer.json", "the extended tokenizer")
    base = Encoder("base", load_tokenizer(job.folder("analyse") / "tokenizer"))
    scores = {
        language: score_text(language, _held_out(job, language), encoder, base)
        for language in LANGUAGES
    }
    reduction, changed = scores["turkish"]["reduction"], scores["english"]["changed"]
    print(
        f"{vocabulary.new_tokens:,} new tokens: {reduction:.1%} fewer for held-out Turkish; "
        f"{changed:.2%} of the English sentences have other ids"
    )
    return {
        "new_tokens": vocabulary.new_tokens,
        "scores": scores,
        "tokens_per_byte": _tokens_per_byte(job, encoder),
    }


def _initialise(job: Job) -> dict[str, Any]:
    """Measures the base, and the base with the first rows of the new tokens."""
    found = {}
    for name, extended in (("base", False), ("initialised", True)):
        found[name] = _measure(job, open_run(job.runs.untrained(extended=extended)))
        _say(name, found[name])
    return found


def _align(job: Job) -> dict[str, Any]:
    """Trains the rows of the new tokens alone."""
    size = job.length(ALIGNED)
    config = job.runs.text(ALIGNED, size, job.rates("extend"), extended=True)
    return _train(config, job.folder(ALIGNED))


def _training(name: str, before: str) -> Callable[[Job], dict[str, Any]]:
    """A stage that trains adapters and new rows, which go on from those of the stage before."""

    def train(job: Job) -> dict[str, Any]:
        previous = str(job.folder(before)) if before in (ALIGNED, *TRAINING) else ""
        rates, extends = job.rates("extend"), job.config.extends
        config = job.runs.text(name, job.length(name), rates, previous=previous, extended=extends)
        return _train(config, job.folder(name))

    return train


def _control(job: Job) -> dict[str, Any]:
    """The base without new tokens on the same bytes, with as many stages of training."""
    found, previous = {}, ""
    for name in TRAINING:
        aligned = job.length(ALIGNED) if name == TRAINING[0] and job.config.aligns else 0.0
        size = job.length(name) + aligned
        folder = job.folder("control") / name
        config = job.runs.text(name, size, job.rates("base"), previous=previous, extended=False)
        found[name] = _train(config, folder)
        previous = str(folder)
    return found


def _instruct(job: Job) -> dict[str, Any]:
    """Prompts and responses."""
    return _train(job.runs.instruct(str(job.folder(TRAINING[-1]))), job.folder(INSTRUCTED))


def _evaluate(job: Job) -> dict[str, Any]:
    """Every model on the held-out text; the base and the result write side by side."""
    models = dict(job.results.get("initialise", {}))
    own = {"aligned": ALIGNED, "trained": TRAINING[-1], "instructed": INSTRUCTED}
    opened = {"base": job.runs.untrained(extended=False)}
    for name, stage in own.items():
        if stage in job.results:
            opened[name] = _continued(job, job.folder(stage), extended=job.config.extends)
    if "control" in job.results:
        last = job.folder("control") / TRAINING[-1]
        opened["control"] = _continued(job, last, extended=False)
    written: dict[str, list[str]] = {}
    config = job.config.evaluation
    documents = validation_documents(job.folder("analyse"), "turkish")
    pairs: list[tuple[str, str]] = []
    for name, run_config in opened.items():
        model = open_run(run_config)
        if name not in models:
            models[name] = _measure(job, model)
            _say(name, models[name])
        if name == "base":
            store = TokenStore.from_documents(documents, model.tokenizer)
            pairs = beginnings(store, model.tokenizer, config.samples, config.sample_tokens)
        if name in ("base", job.final_model) and pairs:
            rates = [job.rates(which).turkish for which in ("base", "extend")]
            shorter = rates[1] / rates[0] if name != "base" else 1.0
            tokens = math.ceil(config.sample_tokens * shorter)
            prompts, references = zip(*pairs, strict=True)
            written[name] = continuations(model, prompts, tokens, job.config.seed)
            models[name] = {**models[name], "scores": turkish_scores(written[name], references)}
        del model
        jax.clear_caches()
    texts = zip(pairs, *written.values(), strict=True) if written else ()
    samples = [
        {"prompt": prompt, "reference": rest, "base": before, "adapted": after}
        for (prompt, rest), before, after in texts
    ]
    return {"models": models, "samples": samples}


def _export(job: Job) -> dict[str, Any]:
    """Writes the model, merged, and its adapters alone; reads it again and compares."""
    folder = job.folder("export")
    shutil.rmtree(folder, ignore_errors=True)
    final = job.folder(INSTRUCTED if job.config.instructs else TRAINING[-1])
    host = arrange(jax.devices("cpu"))  # where the whole model has room
    merged = open_model(final).read(host)
    files = publish(merged, folder / "model", _SHARD_BYTES)
    trained, names = read_adapters(final), tensor_names(merged.model)
    new_rows = getattr(trained.model, "new_rows", 0)
    if names is not None or not new_rows:  # `peft` knows no rows of models that it does not know
        old_rows = trained.model.vocab_size - new_rows
        dora.write_peft(folder / "adapters", trained.adapters, names, old_rows)
    document = validation_documents(job.folder("analyse"), "turkish")[0]
    again = open_model(folder / "model").read(host)
    tokens = jnp.asarray(merged.tokenizer.encode(document.text)[None, :_COMPARED])
    opened = open_run(_continued(job, final, extended=job.config.extends))
    models = [(opened.model, opened.params)]
    models += [(each.model.build(), each.params) for each in (merged, again)]
    ids = merged.tokenizer.vocab_size  # behind them is padding, which a folder does not tell apart
    evaluated, *logits = (
        np.asarray(model.apply(params, tokens).logits, np.float64)[0, :, :ids]
        for model, params in models
    )
    difference = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max())
    losses = [_nll(each, np.asarray(tokens[0])) for each in (evaluated, logits[1])]
    if difference > _EQUAL or abs(losses[0] - losses[1]) > _CLOSE:
        raise UserError(
            f"{folder}: what was read again is another model: its logits differ by {difference:g}, "
            f"its loss is {losses[1]:.4f} where {losses[0]:.4f} was trained. The disk may be faulty"
        )
    print(f"{folder}: model ({', '.join(files)}); read again, its logits are the same")
    return {"files": files, "logit_difference": difference, "losses": losses}


def _nll(logits: NDArray[np.float64], tokens: NDArray[np.int32]) -> float:
    """Nats a token."""
    shifted = logits[:-1] - logits[:-1].max(-1, keepdims=True)
    chosen = np.take_along_axis(shifted, tokens[1:, None], -1)[:, 0]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - chosen))


def _train(config: Config, folder: Path) -> dict[str, Any]:
    """Trains or goes on; the status of a signal comes as `SystemExit`."""
    status = run(config, folder)
    if status:
        raise SystemExit(status)
    lines = read_metrics(folder / "metrics.jsonl")
    steps = max((line["step"] for line in lines), default=0)
    validation = [line for line in lines if line["split"] == "validation"]
    tokens = steps * config.train.batch_size * config.data.seq_len  # and padding
    return {"steps": steps, "tokens": tokens, "validation": validation[-1] if validation else {}}


def _continued(job: Job, folder: Path, *, extended: bool) -> Config:
    """The config of a finished run's model, to be opened."""
    config = job.runs.untrained(extended=extended)
    kind = "whole" if folder.name == ALIGNED else config.adapters.kind
    adapters = dataclasses.replace(config.adapters, kind=kind, init_from=str(folder))
    return dataclasses.replace(config, adapters=adapters)


def _measure(job: Job, opened: Opened) -> dict[str, Any]:
    config = job.config.evaluation
    texts = {
        language: validation_documents(job.folder("analyse"), language) for language in LANGUAGES
    }
    found = measure(opened, texts, config.batch_size, config.seq_len)
    size = sum(len(document.text.encode()) for document in texts["turkish"])
    rate = found["turkish"]["tokens"] / size
    return {**found, "seconds_per_megabyte": rate * 1e6 / found["tokens_per_second"]}


def _say(name: str, found: Mapping[str, Any]) -> None:
    turkish, english = (found[language]["bits_per_byte"] for language in LANGUAGES)
    print(f"{name}: {turkish:.4f} bits/byte in Turkish, {english:.4f} in English")


def _held_out(job: Job, language: str) -> list[str]:
    return [each.text for each in validation_documents(job.folder("analyse"), language)]


def _tokens_per_byte(job: Job, encoder: Encoder) -> dict[str, float]:
    """Of the training text, or the beginnings of its sources."""
    found = {}
    for language in LANGUAGES:
        texts = list(sample(job.folder("analyse"), language, _SAMPLE))
        size = sum(len(text.encode()) for text in texts)
        found[language] = sum(map(len, encoder.encode(texts))) / size
    return found


def _plan(job: Job, files: list[Path]) -> ExtensionPlan:
    config = job.config.extension
    return ExtensionPlan(_bpe_file(job), files, config.vocab_size, config.superwords)


def _predicted(job: Job, base: Encoder) -> float:
    """The share of tokens that some new ones, learned from a little text, save in other text."""
    texts = list(sample(job.folder("analyse"), "turkish", _PREDICTED_ON))
    cut = max(1, len(texts) * 9 // 10)
    path = job.folder("analyse") / "sample.jsonl"
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts[:cut])
    path.write_text("".join(lines), "utf-8")
    most = sum(map(len, texts[:cut])) // _CHARACTERS_A_TOKEN
    plan = _plan(job, [path])
    plan = dataclasses.replace(plan, vocab_size=min(plan.vocab_size, max(1, most)), superwords=0)
    vocabulary = learn_extension(plan, lambda *_: None)
    folder = job.folder("analyse") / "predicted"
    folder.mkdir()
    write_extension(folder, vocabulary, plan.record())
    encoder = Encoder.read(folder / "tokenizer.json", "the predicted tokenizer")
    return float(score_text("turkish", texts[cut:] or texts, encoder, base)["reduction"])


def _bpe_file(job: Job) -> BpeFile:
    path = job.folder("analyse") / "tokenizer" / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"config.base {job.base}: its tokenizer is no byte-level BPE (tokenizer.json), which "
            "alone can be extended; set config.extension.vocab_size=0 and superwords=0, or train "
            "a base with config.tokenizer.kind=byte_bpe"
        )
    return BpeFile.read(path)
