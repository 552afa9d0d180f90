"""A run on prompts and responses, from the command to the files, in this process."""

import contextlib
import dataclasses
import io
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import load_data, set_up
from mmrec_jax.train.step import make_train_step
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import count
from tests.small_run import CONFIG_FILE, LINEAR, ROOT, flags

_WORDS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "deniz", "yol", "kuş")
_LENGTH = 96
_FIELDS = {
    **LINEAR,
    "model__dropout": 0.0,
    "model__model_dim": 16,
    "model__num_layers": 1,
    "model__time_chunk": 64,
    "data__source": "instructions",
    "data__seq_len": _LENGTH,
    "data__validation_fraction": 0.2,
    "train__devices": 1,
    "train__dashboard": False,
    "train__steps": 6,
    "train__eval_first": True,
    "train__eval_every": 3,
    "train__checkpoint_every": 2,
    "train__sample_prompt": "göl",
    "optim__schedule": "constant",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two words and their plurals, a line each; one prompt is longer than a row."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = [{"prompt": f"{a} {b}", "completion": f"{b}ler {a}lar"} for a in _WORDS for b in _WORDS]
    lines.append({"prompt": "z" * 120, "completion": "y"})
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


@pytest.fixture(scope="module")
def config_of(pairs):
    def read(**overrides):
        fields = {"data__train": pairs, **_FIELDS, **overrides}
        return read_config(str(CONFIG_FILE), flags(**fields))

    return read


@pytest.fixture(scope="module")
def finished(config_of, tmp_path_factory):
    """The run's folder, and what it said at the end; it was stopped twice."""
    folder, out = tmp_path_factory.mktemp("instructions") / "run", io.StringIO()
    folder.mkdir()
    # What a session leaves that was cut off before its first checkpoint.
    (folder / "metrics.jsonl").write_text('{"step": 0, "split": "validation", "loss": 1.0}\n')
    assert run(config_of(train__steps=4), folder) == 0
    with contextlib.redirect_stdout(out):
        assert run(config_of(), folder) == 0
    return folder, out.getvalue()


@pytest.fixture(scope="module")
def begun(config_of, tmp_path_factory):
    """The same run before its first step."""
    return set_up(config_of(), tmp_path_factory.mktemp("begun"), fresh=False)


def _validation(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [line for line in lines if line["split"] == "validation"]


def _response_begins(ids):
    """Where the response stands, found by its header alone."""
    header = list(b"Cevap:\n")
    (place,) = (i for i in range(len(ids)) if ids[i : i + len(header)] == header)
    return place + len(header)


def _examples(store):
    for begin, end in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        ids = store.tokens[begin:end].tolist()
        yield ids, _response_begins(ids)


@pytest.fixture(scope="module")
def reference(begun):
    """From examples, each read on its own, to the nats of their responses and the gradient."""

    @jax.jit
    @jax.value_and_grad
    def nats(params, tokens, counted):
        log_p = jax.nn.log_softmax(begun.model.apply(params, tokens[:, :-1]).logits)
        targets = tokens[:, 1:, None]
        return -jnp.sum(jnp.take_along_axis(log_p, targets, axis=-1)[..., 0] * counted)

    def of(examples):
        tokens = np.zeros((32, _LENGTH + 1), np.int32)
        counted = np.zeros((32, _LENGTH), np.float32)
        for row, (ids, first) in enumerate(examples):
            tokens[row, : len(ids)] = ids
            counted[row, first - 1 : len(ids) - 1] = 1
        value, gradient = nats(begun.state.params, jnp.asarray(tokens), jnp.asarray(counted))
        return float(value), gradient, counted.sum()

    return of


def test_responses_are_scored_before_and_after(finished, begun, reference):
    scores = _validation(finished[0])
    assert [line["step"] for line in scores] == [0, 3, 4, 6]
    assert scores[0]["bits_per_byte"] > scores[-1]["bits_per_byte"]
    examples = list(_examples(begun.data.validation))
    nats, _, tokens = reference(examples)
    size = sum(len(bytes(ids[first:-1])) for ids, first in examples)
    assert size > 100
    np.testing.assert_allclose(scores[0]["loss"], nats / tokens, rtol=1e-5)
    np.testing.assert_allclose(scores[0]["bits_per_byte"], nats / math.log(2) / size, rtol=1e-5)


def test_the_gradient_is_that_of_the_responses_of_each_example(begun, reference):
    batch = next(begun.data.batches(8))
    assert batch["segment_ids"].max() > 1  # several in a row
    keeps_gradients = optax.trace(decay=0.0)
    state = dataclasses.replace(begun.state, opt_state=keeps_gradients.init(begun.state.params))
    step = jax.jit(make_train_step(keeps_gradients, begun.objectives))
    after, metrics = step(begun.model, state, batch)

    examples = []
    for row in range(len(batch["inputs"])):
        ids = batch["segment_ids"][row]
        for segment in range(1, ids.max() + 1):
            example = [*batch["inputs"][row][ids == segment].tolist(), 257]
            examples.append((example, _response_begins(example)))
    nats, gradient, tokens = reference(examples)
    np.testing.assert_allclose(metrics["loss"], nats / tokens, rtol=1e-5)
    found = jax.tree.leaves(after.opt_state.trace)
    for a, b in zip(found, jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b / tokens, rtol=1e-4, atol=1e-7)


def test_what_is_said_and_the_template_that_is_kept(finished, capsys):
    folder, out = finished
    before = _validation(folder)[0]
    for said in (
        "data: instructions, ",
        "longer than a row of 96: train 1 dropped, 0 with shortened prompts",
        f"  before training: validation loss {before['loss']:.4f}",
        f"mmrec generate --workdir={folder} --chat --prompt 'göl'",
    ):
        assert said in out
    for step in (0, 3, 4, 6):
        sample = (folder / "samples" / f"step_{step:07d}.txt").read_text("utf-8")
        assert sample.startswith("göl\n")
    model, params, tokenizer = mmrec_jax.load(folder)
    assert tokenizer.chat_template.name == "plain"
    (expected,) = mmrec_jax.reply(model, params, tokenizer, "göl", max_tokens=5, seed=1)
    options = ["--chat", "--prompt=göl", "--max-tokens=5", "--seed=1"]
    main(["generate", f"--workdir={folder}", *options])
    said = capsys.readouterr()
    assert said.out == f"{expected}\n"
    assert f"{count(params):,} parameters" in said.err  # so few that little can be expected


def test_any_file_of_pairs_can_be_scored(finished, begun, tmp_path, capsys):
    store, lines = begun.data.validation, []
    for ids, first in _examples(store):
        prompt = bytes(ids[1 : first - 8]).decode().removeprefix("Soru:\n")
        lines.append({"prompt": prompt, "completion": bytes(ids[first:-1]).decode()})
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    main(["eval", "loss", f"--workdir={finished[0]}", "--step=last", f"--data={path}"])
    first, second = capsys.readouterr().out.splitlines()
    last = _validation(finished[0])[-1]
    assert first.startswith(f"{store.num_documents} examples, {store.num_bytes} bytes of responses")
    assert f"loss {last['loss']:.4f}" in second
    assert f"bits_per_byte {last['bits_per_byte']:.4f}" in second


@pytest.mark.parametrize("command", [["inspect"], ["eval", "length"]])
def test_probes_of_text_ask_for_text(finished, capsys, command):
    with pytest.raises(SystemExit):
        main([*command, f"--workdir={finished[0]}"])
    said = capsys.readouterr().err
    assert "instructions" in said
    assert "--data=FILE" in said


def test_inspect_shows_which_targets_count(pairs, capsys):
    overrides = flags(**{"data__train": pairs, **_FIELDS})
    main(["data", "inspect", f"--config={CONFIG_FILE}", "--rows=1", *overrides])
    lines = capsys.readouterr().out.splitlines()
    assert "<s>|S|o|r|u|:" in lines[1]
    targets = lines[2].removeprefix("      targets: ").split("|")
    assert targets[-1] == "</s>"
    assert targets[:10] == ["·"] * 10


def test_the_shipped_config_has_instructions_built_in(tmp_path):
    path = str(ROOT / "configs" / "finetune.py")
    config = read_config(path, ["--config.tokenizer.kind=byte"])
    said = load_data(config, Workdir(tmp_path)).describe()
    assert re.match(r"treebank_instructions, 4,\d{3} training examples, \d{2,3},", said)
    assert config.train.eval_first
