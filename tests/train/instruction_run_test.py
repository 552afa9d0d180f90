"""A run on prompts and responses, from the command to the files, in this process."""

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.train.loop import run
from mmrec_jax.train.prepare import load_data, prepare
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import make_train_step
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.workdir import Workdir
from tests.small_run import CONFIG_FILE, LINEAR, ROOT, flags

_WORDS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "deniz", "yol", "kuş")
_FIELDS = {
    **{f"model__{name}": value for name, value in LINEAR.items()},
    "model__dropout": 0.0,
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
_TIMED = ("tokens_per_second", "flop_utilisation")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Words and their plurals, a line each; the last prompt is longer than a row."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = [{"prompt": f"{a} {b}", "completion": f"{b}ler {a}lar"} for a in _WORDS for b in _WORDS]
    lines.append({"prompt": "x" * 120, "completion": "y"})
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
    folder = tmp_path_factory.mktemp("instructions") / "run"
    assert run(config_of(), folder) == 0
    return folder


def _validation(folder):
    return [
        line for line in read_metrics(folder / "metrics.jsonl") if line["split"] == "validation"
    ]


def _examples(store):
    """The tokens of each example, and where its response begins, found by its header alone."""
    header = list(b"Cevap:\n")
    for begin, end in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        ids = store.tokens[begin:end].tolist()
        (place,) = (i for i in range(len(ids)) if ids[i : i + len(header)] == header)
        yield ids, place + len(header)


def _padded(ids):
    return np.array([*ids, *[0] * (97 - len(ids))], np.int32)


def _log_probabilities(model, params, padded):
    """[96, V], of one example that is read on its own; what follows it changes nothing."""
    return jax.nn.log_softmax(model.apply({"params": params}, padded[None, :-1])[0][0])


def test_responses_are_scored_before_and_after(finished, config_of, tmp_path):
    scores = _validation(finished)
    assert [line["step"] for line in scores] == [0, 3, 6]
    assert scores[0]["bits_per_byte"] > scores[2]["bits_per_byte"]

    # Each held-out example read on its own, with the parameters from before the first step.
    fresh = prepare(config_of(), tmp_path, fresh=False)
    log_p = jax.jit(lambda params, ids: _log_probabilities(fresh.model, params, ids))
    nats = tokens = size = 0
    for ids, first in _examples(fresh.data.validation):
        table = np.asarray(log_p(fresh.state.params, _padded(ids)), np.float64)
        nats -= sum(table[i - 1, ids[i]] for i in range(first, len(ids)))
        tokens += len(ids) - first
        size += len(bytes(ids[first:-1]))
    assert size > 100
    np.testing.assert_allclose(scores[0]["loss"], nats / tokens, rtol=1e-5)
    np.testing.assert_allclose(scores[0]["bits_per_byte"], nats / math.log(2) / size, rtol=1e-5)


def test_the_gradient_is_that_of_the_responses_of_each_example(config_of, tmp_path):
    p = prepare(config_of(), tmp_path, fresh=False)
    batch = next(p.batches)
    assert batch["segment_ids"].max() > 1  # several in a row
    step = jax.jit(make_train_step(p.model, optax.sgd(1.0)))
    begun = TrainState(
        step=p.state.step,
        params=p.state.params,
        opt_state=optax.sgd(1.0).init(p.state.params),
        key=p.state.key,
    )
    after, metrics = step(begun, batch)

    examples, counted = [], []
    for row in range(len(batch["inputs"])):
        ids = batch["segment_ids"][row]
        for segment in range(1, ids.max() + 1):
            inputs = batch["inputs"][row][ids == segment].tolist()
            first = 1 + bytes(inputs[1:]).index(b"Cevap:\n") + 7
            examples.append(_padded([*inputs, 257]))
            counted.append([first <= place <= len(inputs) for place in range(97)])
    examples, counted = np.stack(examples), np.array(counted, np.float32)

    def loss(params):
        def nats(example, counts):
            table = _log_probabilities(p.model, params, example)
            chosen = jnp.take_along_axis(table, example[1:, None], 1)[:, 0]
            return -jnp.sum(chosen * counts[1:])

        return jnp.sum(jax.vmap(nats)(examples, counted)) / counted.sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(p.state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), begun.params, after.params)
    for found, expected in zip(jax.tree.leaves(moved), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-7)


def test_a_run_in_two_sessions_is_the_run_in_one(finished, config_of, tmp_path):
    """The schedule is constant, so a run may stop early and be made longer."""
    quiet = {"train__sample_tokens": 0}
    assert run(config_of(train__steps=4, **quiet), tmp_path) == 0
    assert run(config_of(**quiet), tmp_path) == 0

    def trained(folder):
        lines = read_metrics(folder / "metrics.jsonl")
        timeless = [{k: v for k, v in line.items() if k not in _TIMED} for line in lines]
        return [line for line in timeless if line["split"] == "train"]

    assert trained(tmp_path) == trained(finished)
    assert [line["step"] for line in _validation(tmp_path)] == [0, 3, 4, 6]
    states = [prepare(config_of(), folder, fresh=False).state for folder in (finished, tmp_path)]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_session_cut_off_before_its_first_checkpoint_is_scored_anew(config_of, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "split": "validation", "loss": 1.0}\n')
    assert run(config_of(train__steps=1, train__sample_tokens=0), tmp_path) == 0
    assert [line["step"] for line in _validation(tmp_path)] == [0, 1]


def test_what_is_said(finished, config_of, capsys):
    assert run(config_of(), finished) == 0
    out = capsys.readouterr().out
    before = _validation(finished)[0]["bits_per_byte"]
    assert "data: instructions, " in out
    assert "longer than a row of 96: train 1 dropped, 0 with shortened prompts" in out
    assert f"before training: validation loss {_validation(finished)[0]['loss']:.4f}" in out
    assert f"{before:.4f} bits/byte" in out
    assert f"mmrec generate --workdir={finished} --chat --prompt göl" in out
    for step in (0, 3, 6):
        sample = (finished / "samples" / f"step_{step:07d}.txt").read_text("utf-8")
        assert sample.startswith("göl\n")


def test_the_template_is_kept_and_used(finished, capsys):
    model, params, tokenizer = mmrec_jax.load(finished)
    assert tokenizer.chat_template.name == "plain"
    (expected,) = mmrec_jax.reply(model, params, tokenizer, "göl", max_tokens=5, seed=1)
    options = ["--chat", "--prompt=göl", "--max-tokens=5", "--seed=1"]
    main(["generate", f"--workdir={finished}", *options])
    assert capsys.readouterr().out == f"{expected}\n"


def test_any_file_of_pairs_can_be_scored(finished, config_of, pairs, tmp_path, capsys):
    store = prepare(config_of(), finished, fresh=False).data.validation
    lines = []
    for ids, first in _examples(store):
        prompt = bytes(ids[1 : first - 8]).decode().removeprefix("Soru:\n")
        lines.append({"prompt": prompt, "completion": bytes(ids[first:-1]).decode()})
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    main(["eval", "loss", f"--workdir={finished}", "--step=last", f"--data={path}"])
    first, second = capsys.readouterr().out.splitlines()
    last = _validation(finished)[-1]
    assert first.startswith(f"{store.num_documents} examples, {store.num_bytes} bytes of responses")
    assert f"loss {last['loss']:.4f}" in second
    assert f"bits_per_byte {last['bits_per_byte']:.4f}" in second


@pytest.mark.parametrize("command", [["inspect"], ["eval", "length"]])
def test_probes_of_text_ask_for_text(finished, capsys, command):
    with pytest.raises(SystemExit):
        main([*command, f"--workdir={finished}"])
    assert (
        "was trained on conversations: give some text with --data=FILE" in capsys.readouterr().err
    )


def test_inspect_shows_which_targets_count(config_of, pairs, capsys):
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
