"""A run on prompts and responses, from the command to the files, in this process."""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.train import report
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.step import make_train_step
from mmrec_jax.train.writer import read_metrics
from tests.small_run import CONFIG_FILE, LINEAR, flags

_WORDS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "deniz", "yol", "kuş")
_HEADER = b"Cevap:\n"
_FIELDS = {
    **LINEAR,
    "model__dropout": 0.0,
    "model__model_dim": 16,
    "model__num_layers": 1,
    "model__time_chunk": 64,
    "data__source": "instructions",
    "data__seq_len": 96,
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
def overrides(tmp_path_factory):
    """Of a run on two words and their plurals, a line each; one prompt is longer than a row."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    pairs = [(f"{a} {b}", f"{b}ler {a}lar") for a in _WORDS for b in _WORDS] + [("z" * 120, "y")]
    lines = [json.dumps({"prompt": a, "completion": b}) for a, b in pairs]
    path.write_text("\n".join(lines), "utf-8")
    return flags(data__train=path, **_FIELDS)


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    """The run's folder and its scores; it was stopped once."""
    folder = tmp_path_factory.mktemp("instructions") / "run"
    assert run(read_config(str(CONFIG_FILE), [*overrides, "--config.train.steps=4"]), folder) == 0
    assert run(read_config(str(CONFIG_FILE), overrides), folder) == 0
    lines = read_metrics(folder / "metrics.jsonl")
    return folder, [line for line in lines if line["split"] == "validation"]


@pytest.fixture(scope="module")
def begun(overrides, tmp_path_factory):
    """The same run before its first step."""
    config = read_config(str(CONFIG_FILE), overrides)
    return set_up(config, tmp_path_factory.mktemp("begun"), fresh=False)


def _split(example):
    """Prompt and response of an example of bytes, found by their headers alone."""
    prompt, response = bytes(example[1:-1]).split(_HEADER)
    return prompt.removeprefix(b"Soru:\n")[:-1], response


def _validation(begun):
    store = begun.data.validation
    return [store.tokens[a:b].tolist() for a, b in itertools.pairwise(store.offsets)]


def _reference(begun, examples):
    """Nats of the responses of examples, each read on its own, the gradient, and the tokens."""

    def nats(params, tokens, counted):
        log_p = jax.nn.log_softmax(begun.model.apply(params, tokens[:, :-1]).logits)
        targets = tokens[:, 1:, None]
        return -jnp.sum(jnp.take_along_axis(log_p, targets, axis=-1)[..., 0] * counted)

    tokens, counted = np.zeros((32, 97), np.int32), np.zeros((32, 96), np.float32)
    for row, example in enumerate(examples):
        tokens[row, : len(example)] = example
        response = len(_split(example)[1]) + 1  # and the end
        counted[row, len(example) - 1 - response : len(example) - 1] = 1
    value, gradient = jax.jit(jax.value_and_grad(nats))(begun.state.params, tokens, counted)
    return float(value), gradient, counted.sum()


def test_responses_are_scored_before_and_after(finished, begun):
    scores, examples = finished[1], _validation(begun)
    assert [line["step"] for line in scores] == [0, 3, 4, 6]
    assert scores[0]["bits_per_byte"] > scores[-1]["bits_per_byte"]
    nats, _, tokens = _reference(begun, examples)
    size = sum(len(_split(example)[1]) for example in examples)
    np.testing.assert_allclose(scores[0]["loss"], nats / tokens, rtol=1e-5)
    np.testing.assert_allclose(scores[0]["bits_per_byte"], nats / math.log(2) / size, rtol=1e-5)


def test_the_gradient_is_that_of_the_responses_of_each_example(begun):
    batch = next(begun.data.batches(8))
    assert batch["segment_ids"].max() > 1  # several in a row
    keeps_gradients = optax.trace(decay=0.0)
    state = dataclasses.replace(begun.state, opt_state=keeps_gradients.init(begun.state.params))
    step = jax.jit(make_train_step(keeps_gradients, begun.objectives))
    after, metrics = step(begun.model, state, batch)
    examples = [
        [*inputs[ids == segment].tolist(), 257]
        for inputs, ids in zip(batch["inputs"], batch["segment_ids"], strict=True)
        for segment in range(1, ids.max() + 1)
    ]
    nats, gradient, tokens = _reference(begun, examples)
    np.testing.assert_allclose(metrics["loss"], nats / tokens, rtol=1e-5)
    found = jax.tree.leaves(after.opt_state.trace)
    for a, b in zip(found, jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b / tokens, rtol=1e-4, atol=1e-7)


def test_the_template_that_is_kept(finished, overrides, capsys):
    folder = finished[0]
    report.suggest(read_config(str(CONFIG_FILE), overrides), folder)
    expected = f"mmrec generate --workdir={folder} --chat --prompt 'göl'"
    assert expected in capsys.readouterr().out
    for step in (0, 3, 4, 6):
        sample = (folder / "samples" / f"step_{step:07d}.txt").read_text("utf-8")
        assert sample.startswith("göl\n")
    model, params, tokenizer = mmrec_jax.load(folder)
    assert tokenizer.chat_template.name == "plain"
    (expected,) = mmrec_jax.reply(model, params, tokenizer, "göl", max_tokens=5, seed=1)
    options = ["--chat", "--prompt=göl", "--max-tokens=5", "--seed=1"]
    main(["generate", f"--workdir={folder}", *options])
    assert capsys.readouterr().out == f"{expected}\n"


def test_commands_read_pairs_as_the_run_does(finished, begun, overrides, tmp_path, capsys):
    folder, scores = finished
    store, path = begun.data.validation, tmp_path / "held.jsonl"
    pairs = [[text.decode() for text in _split(example)] for example in _validation(begun)]
    lines = [json.dumps({"prompt": a, "completion": b}) for a, b in pairs]
    path.write_text("\n".join(lines), "utf-8")
    main(["eval", "loss", f"--workdir={folder}", "--step=last", f"--data={path}"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{store.num_documents} examples, {store.num_bytes} bytes of responses")
    for name in ("loss", "bits_per_byte"):
        assert f"{name} {scores[-1][name]:.4f}" in second
    main(["data", "inspect", f"--config={CONFIG_FILE}", "--rows=1", *overrides])
    inputs, targets = capsys.readouterr().out.splitlines()[1:3]
    assert "<s>|S|o|r|u|:" in inputs
    assert targets.removeprefix("      targets: ").startswith("|".join("·" * 10))
