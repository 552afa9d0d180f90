"""The stages of an adaptation: each a function of the job that returns what it found, for JSON."""

import contextlib
import dataclasses
import functools
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmrec_jax import dora
from mmrec_jax.adapt.config import ALIGNED, INSTRUCTED, PRETRAINED, AdaptConfig
from mmrec_jax.adapt.job import BASE, CONTROL, Job
from mmrec_jax.adapt.measure import measure, open_run, task_scores
from mmrec_jax.adapt.text import (
    LANGUAGES,
    sample,
    split_text,
    train_folder,
    validation_documents,
)
from mmrec_jax.checkpoints.load import open_model, read_adapters, tensor_names
from mmrec_jax.checkpoints.publish import publish
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.evaluation.samples import beginnings, continuations
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file
from mmrec_jax.tokenizers.extension import (
    ExtensionPlan,
    learn_extension,
    progress_bars,
    write_extension,
)
from mmrec_jax.tokenizers.report import encode, score_text
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.loop import run
from mmrec_jax.train.mesh import arrange
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.turkish.scores import turkish_scores

_SAMPLE = 2_000_000  # characters of each source that tokens are counted in
_COMPARED = 128  # tokens whose logits are compared after the export
_EQUAL = 1e-5  # of the largest logit
_CLOSE = 0.05  # nats a token, by which a model exported from few bits may differ
# What fields of a run, or options of another command, are called in an adaptation.
_NAMES = {
    "config.train.devices": "config.devices",
    "config.init_from": "config.base",
    "--vocab-size": "config.extension.vocab_size",
    "--superwords": "config.extension.superwords",
    "--text": "config.text",
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of them, and what it depends on: earlier stages, fields of the config."""

    name: str
    run: Callable[[Job], dict[str, Any]]
    needs: tuple[str, ...]
    fields: tuple[str, ...] = ()


def stages(config: AdaptConfig) -> list[Stage]:
    """Those that a config asks for, in their order: what reads the text first, then what trains."""

    def training(name: str, needs: tuple[str, ...], *fields: str) -> Stage:
        return Stage(name, functools.partial(_train, stage=name), needs, fields)

    how = "adapters", "optim", "english_share", "seed"
    learned = "extension.vocab_size", "extension.superwords"
    rows = ("extension.method", "extension.multiple") if config.extends else ()
    split = "text", "english", "documents", "field", "validation_fraction", "check_language"
    found = [Stage("analyse", _analyse, (), (*learned, *split))]
    if not config.base:  # its tokenizer is made at once, to be extended before anything is trained
        found[0] = dataclasses.replace(found[0], fields=(*found[0].fields, "model.vocab_size"))
    if config.extends:
        found.append(Stage("extend", _extend, ("analyse",), learned))
    if not config.base:
        found.append(training(BASE, (), "model", PRETRAINED, "optim.lr", "seed"))
    before: tuple[str, ...] = ("extend" if config.extends else "analyse", BASE)
    start = before
    if config.extends:
        measured = "evaluation.seq_len", "evaluation.batch_size"
        found.append(Stage("initialise", _initialise, start, ("adapters", *rows, *measured)))
    for name in config.lengths:
        told: tuple[str, ...] = ("instructions", "noise") if name == INSTRUCTED else ()
        if name in config.training:
            told = ("target_bits_per_byte",)
        found.append(training(name, before, name, *told, *rows, *how))
        before = (name,)
    compared = [stage.name for stage in found if stage.name in ("initialise", ALIGNED)]
    if config.extends and config.control:
        # Lengths in tokens are of the extended tokenizer.
        counted = any(each.tokens for each in config.lengths.values())
        needs = start if counted else ("analyse", BASE)
        every = [name for name in config.lengths if name != INSTRUCTED]
        found.append(training(CONTROL, needs, *every, "target_bits_per_byte", *how))
        compared.append(CONTROL)
    found.append(Stage("evaluate", _evaluate, (*before, *compared), ("evaluation", "control")))
    found.append(Stage("export", _export, ("evaluate",)))
    return found


@contextlib.contextmanager
def own_names(config: AdaptConfig, stage: str) -> Iterator[None]:
    """What is refused in the runs of a stage names the fields of the adaptation."""
    group = PRETRAINED if stage == BASE else stage
    names = dict(_NAMES)
    for field in dataclasses.fields(getattr(config, group)):
        own = f"config.{group}.{field.name}"
        names |= {f"config.{run}.{field.name}": own for run in ("train", "data")}
    try:
        yield
    except UserError as error:
        pattern = rf"({'|'.join(map(re.escape, names))})(?![\w-])"
        raise UserError(re.sub(pattern, lambda found: names[found[0]], str(error))) from None


def _train(job: Job, stage: str) -> dict[str, Any]:
    """Trains or goes on; the status of a signal comes as `SystemExit`."""
    steps = tokens = 0
    for folder, config in job.runs(stage).items():
        with own_names(job.config, folder.name):
            status = run(config, folder)
        if status:
            raise SystemExit(status)
        done = max((line["step"] for line in read_metrics(folder / "metrics.jsonl")), default=0)
        steps += done
        tokens += done * config.train.batch_size * config.data.seq_len  # and padding
    return {"steps": steps, "tokens": tokens}


def _analyse(job: Job) -> dict[str, Any]:
    """Splits the text and says what the base's tokenizer makes of it."""
    folder = job.analysed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = {language: split_text(job.config, language, folder) for language in LANGUAGES}
    with own_names(job.config, BASE):
        tokenizer = job.base_tokenizer()
    tokenizer.save(folder / "tokenizer")
    if job.config.extends:
        _plan(job, [])  # refuses what cannot be extended
    found = {"texts": texts, **_scores(job, tokenizer, tokenizer)}
    for language in LANGUAGES:
        text, score = texts[language], found["scores"][language]
        most = score["ceiling"]  # of a tokenizer of another kind it is not known
        ceiling = "" if most is None else f", new ones save {most:.0%} at most without superwords"
        print(
            f"{language}: {text['documents']:,} documents, {text['bytes']:,} bytes to train on, "
            f"{text['held_out']:,} held out, {text['copies']:,} copies left out; "
            f"{score['tokens_a_word']:.2f} tokens a word{ceiling}"
        )
    return found


def _extend(job: Job) -> dict[str, Any]:
    """Learns the new tokens from the training text."""
    folder = job.folder("extend")
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(job, sorted(train_folder(job.analysed, "turkish").iterdir()))
    with own_names(job.config, "extension"), progress_bars() as report:
        vocabulary = learn_extension(plan, report)
    write_extension(folder, vocabulary, plan.record())
    extended = read_tokenizer_file(folder / "tokenizer.json", "the extended tokenizer")
    found = _scores(job, extended, load_tokenizer(job.analysed / "tokenizer"))
    reduction, changed = (
        found["scores"][language][name]
        for language, name in (("turkish", "reduction"), ("english", "changed"))
    )
    print(
        f"{vocabulary.new_tokens:,} new tokens: {reduction:.1%} fewer for held-out Turkish; "
        f"{changed:.2%} of the English sentences have other ids"
    )
    return {"new_tokens": vocabulary.new_tokens, **found}


def _initialise(job: Job) -> dict[str, Any]:
    """Measures the base, and the base with the first rows of the new tokens."""
    return {
        name: _measure(job, name, open_run(job.untrained(extended=extended)))
        for name, extended in (("base", False), ("initialised", True))
    }


def _evaluate(job: Job) -> dict[str, Any]:
    """Every model on the held-out text; the base and the result write side by side."""
    config, how = job.config, job.config.evaluation
    own = {"aligned": ALIGNED, "trained": config.training[-1], "instructed": INSTRUCTED}
    final = "instructed" if INSTRUCTED in config.lengths else "trained"
    runs = {"base": job.untrained(extended=False)}
    for name, stage in own.items():
        if stage in job.results:
            runs[name] = job.trained(job.folder(stage), extended=config.extends)
    if CONTROL in job.results:
        runs[CONTROL] = job.trained([*job.runs(CONTROL)][-1], extended=False)
    models = dict(job.results.get("initialise", {}))
    documents = validation_documents(job.analysed, "turkish")
    pairs: list[tuple[str, str]] = []
    written: dict[str, list[str]] = {}
    for name, run_config in runs.items():
        model = open_run(run_config)
        if name not in models:
            models[name] = _measure(job, name, model)
        if name == "base":
            tokenizer = model.data.tokenizer
            store = TokenStore.from_documents(documents, tokenizer)
            pairs = beginnings(store, tokenizer, how.samples, how.sample_tokens)
        if name in ("base", final):
            model = model.local()
            scores = task_scores(model, how) if how.tasks else {}
            if pairs:
                prompts, references = zip(*pairs, strict=True)
                rate, before = (job.weights(extended=each)[0] for each in (name != "base", False))
                tokens = math.ceil(how.sample_tokens * rate / before)
                written[name] = continuations(model, prompts, tokens)
                scores |= turkish_scores(written[name], references)
            models[name] = {**models[name], "scores": scores}
        del model
        jax.clear_caches()
    texts = zip(pairs, *written.values(), strict=True) if written else ()
    samples = [
        {"prompt": prompt, "base": before, "adapted": after} for (prompt, _), before, after in texts
    ]
    return {"models": models, "samples": samples}


def _export(job: Job) -> dict[str, Any]:
    """Writes the model, merged, and its adapters alone; reads it again and compares."""
    folder = job.folder("export")
    shutil.rmtree(folder, ignore_errors=True)
    final = job.folder([*job.config.lengths][-1])
    host = arrange(jax.devices("cpu"))  # where the whole model has room
    merged = open_model(final).read(host)
    files = publish(merged, folder / "model")
    trained, names = read_adapters(final), tensor_names(merged.model)
    new_rows = getattr(trained.model, "new_rows", 0)
    if names is not None or not new_rows:  # `peft` knows no rows of models that it does not know
        old_rows = trained.model.vocab_size - new_rows
        dora.write_peft(folder / "adapters", trained.adapters, names, old_rows)
    document = validation_documents(job.analysed, "turkish")[0]
    again = open_model(folder / "model").read(host)
    tokens = jnp.asarray(merged.tokenizer.encode(document.text)[None, :_COMPARED])
    opened = open_run(job.trained(final, extended=job.config.extends))
    models = [(opened.model, opened.params)]
    models += [(each.model.build(), each.params) for each in (merged, again)]
    ids = merged.tokenizer.vocab_size  # behind them is padding, which a folder does not tell apart
    evaluated, *logits = (
        np.asarray(model.apply(params, tokens).logits, np.float32)[0, :, :ids]
        for model, params in models
    )
    difference = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max())
    losses = [
        float(optax.softmax_cross_entropy_with_integer_labels(each[:-1], tokens[0, 1:]).mean())
        for each in (evaluated, logits[1])
    ]
    if difference > _EQUAL or abs(losses[0] - losses[1]) > _CLOSE:
        raise UserError(
            f"{folder}: what was read again is another model: its logits differ by {difference:g}, "
            f"its loss is {losses[1]:.4f} where {losses[0]:.4f} was trained. The disk may be faulty"
        )
    print(f"{folder}: model ({', '.join(files)}); read again, its logits are the same")
    return {"files": files, "logit_difference": difference, "losses": losses}


def _measure(job: Job, name: str, opened: EvaluationRequest) -> dict[str, Any]:
    texts = {language: validation_documents(job.analysed, language) for language in LANGUAGES}
    found = measure(opened, texts, job.config.evaluation)
    turkish, english = (found[language]["bits_per_byte"] for language in LANGUAGES)
    print(f"{name}: {turkish:.4f} bits/byte in Turkish, {english:.4f} in English")
    return found


def _scores(job: Job, tokenizer: Tokenizer, base: Tokenizer) -> dict[str, Any]:
    """Of the held-out text; and the tokens in a byte of the text that is trained on."""
    scores, rates = {}, {}
    for language in LANGUAGES:
        held = [each.text for each in validation_documents(job.analysed, language)]
        scores[language] = score_text(language, held, tokenizer, base)
        texts = list(sample(job.analysed, language, _SAMPLE))
        size = sum(len(text.encode()) for text in texts)
        rates[language] = sum(map(len, encode(tokenizer, texts))) / size
    return {"scores": scores, "tokens_per_byte": rates}


def _plan(job: Job, files: list[Path]) -> ExtensionPlan:
    config, path = job.config.extension, job.analysed / "tokenizer" / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"config.base {job.base}: its tokenizer is no byte-level BPE (tokenizer.json), which "
            "alone can be extended; set config.extension.vocab_size=0 and superwords=0, or train "
            "a base with config.tokenizer.kind=byte_bpe"
        )
    with own_names(job.config, "extension"):
        return ExtensionPlan(BpeFile.read(path), files, config.vocab_size, config.superwords)
