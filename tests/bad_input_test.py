"""Everything a user can get wrong: one clear line, a status, and nothing compiled before it."""

import contextlib
import gzip
import shutil
import sys

import pytest

import train
from mmrec_jax.train import interrupt
from tests.small_run import CONFIG_FILE, begin, linear_config, write_text


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, compiled):
    """Types the training command; returns its one line on standard error."""
    monkeypatch.setattr(interrupt, "process_that_trains", contextlib.nullcontext)

    def type_(*arguments, text=None, config=CONFIG_FILE):
        text = text or write_text(tmp_path / "words.txt")
        words = ["train.py", f"--config={config}", f"--workdir={tmp_path / 'run'}"]
        words += [f"--config.data.train={text}", "--config.train.devices=1", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            train.main()
        assert exit_.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("error: "), lines
        assert compiled or len(lines) == 1, lines  # a run that began has a progress bar
        return lines[-1]

    return type_


_PAIR = '{"prompt": "göl", "completion": "göller"}\n'
# The file (None: there is none), what it holds, options, and what the line must name.
_FILES = [
    ("absent.txt", None, [], ["config.data.train", "absent.txt"]),
    ("*.text", None, [], ["no file matches"]),
    ("empty.txt", "", [], ["empty.txt", "no text"]),
    ("blank.txt", " \n\n\t\n", [], ["blank.txt", "no text"]),
    ("short.txt", "bir\n\niki\n\nüç", [], ["smaller than a batch", "config.data.seq_len"]),
    ("broken.txt", "göl ".encode() * 3 + b"\xff rest", [], ["broken.txt", "offset 15 (0xff)"]),
    ("cut.txt.gz", gzip.compress(b"x" * 10_000)[:-20], [], ["cut.txt.gz", "damaged"]),
    (
        "pairs.jsonl",
        _PAIR * 16 + '{"prompt": "göl", "completion": \n' + _PAIR * 13,
        ["--config.data.source=instructions"],
        ["pairs.jsonl:17: "],
    ),
    (
        "pairs.jsonl",
        "".join(f'{{"prompt": "{i}", "completion": "b"}}\n' for i in range(40)),
        ["--config.data.source=instructions", "--config.data.template=chatml"],
        ["chatml", "<|im_end|>"],
    ),
]


@pytest.mark.parametrize(("name", "content", "options", "parts"), _FILES)
def test_a_wrong_file(command, tmp_path, compiled, name, content, options, parts):
    if content is not None:
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
    said = command(*options, "--config.train.sample_tokens=0", text=tmp_path / name)
    for part in parts:
        assert part in said
    assert not compiled
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["optim.learning_rate=1"], "config.optim.learning_rate is not a field"),
        (["train.batch_size=many"], "config.train.batch_size is 'many'"),
        (["data.source=treebank"], "config.data.train is not a field of source treebank"),
        (["model.vocab_size=100"], "config.model.vocab_size is 100"),
        (["train.devices=64"], "config.train.devices is 64"),
        (["model.family=attention", "train.carry_state=true"], "config.train.carry_state is True"),
        (["model.family=transformer", "train.carry_state=true"], "no state of a fixed size"),
        (
            ["model.family=attention", "train.state_passing=0.5"],
            "config.train.state_passing is 0.5",
        ),
        (["tokenizer.kind=file", "tokenizer.path=no.model"], "config.tokenizer.path: no.model"),
        (["tokenizer.kind=unigram", "tokenizer.vocab_size=9000"], "tokenizer.vocab_size is 9000"),
    ],
)
def test_a_wrong_field(command, compiled, arguments, part):
    assert part in command(*(f"--config.{each}" for each in arguments))
    assert not compiled


def test_a_wrong_config_file(command, tmp_path):
    assert "absent.py: there is no such file" in command(config="absent.py")
    path = tmp_path / "mine.py"
    head = "from mmrec_jax.config import Config, OptimConfig\n"
    path.write_text(f"{head}def get_config(): return Config(optim=OptimConfig(lr='fast'))")
    assert "config.optim.lr is 'fast'" in command("--config.data.source=text", config=path)


_LINEAR = [
    "--config.model.gate=none",
    "--config.model.memory=none",
    "--config.objectives.uboo=None",
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run on bytes of a text beside it."""
    folder = tmp_path_factory.mktemp("begun")
    begin(linear_config(write_text(folder / "words.txt")), folder / "run", step=3)
    return folder


@pytest.mark.parametrize(
    ("argument", "changed", "parts"),
    [
        ("model.model_dim=64", "", ["config.model.model_dim (32 in the checkpoint, 64 now)"]),
        ("data.seq_len=16", "", ["config.data.seq_len (32 in the checkpoint, 16 now)"]),
        ("train.epochs=3", "", ["config.train.epochs (None in the checkpoint, 3.0 now)"]),
        ("tokenizer.kind=byte", "yol", ["the training data"]),
    ],
)
def test_a_checkpoint_of_another_run(command, compiled, begun, tmp_path, argument, changed, parts):
    shutil.copytree(begun / "run", tmp_path / "run")
    text, before = begun / "words.txt", (tmp_path / "run" / "config.json").read_text()
    content = text.read_text("utf-8")
    if changed:
        text.write_text(content.replace(changed, "u"), "utf-8")
    said = command(*_LINEAR, f"--config.{argument}", text=text)
    text.write_text(content, "utf-8")
    for part in parts:
        assert part in said
    assert not compiled
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_a_checkpoint_of_another_tokenizer(command, compiled, tmp_path):
    text = write_text(tmp_path / "words.txt")
    begin(linear_config(text, tokenizer__kind="char"), tmp_path / "run", step=3)
    text.write_text(text.read_text("utf-8").replace("ü", "u"), "utf-8")  # a letter less
    compiled.clear()
    said = command(*_LINEAR, "--config.tokenizer.kind=char", text=text)
    assert "was trained with another tokenizer" in said
    assert not compiled


@pytest.mark.parametrize(
    ("every", "said"),
    [
        (100, "step 2: loss is nan, training stops (nothing was saved)"),
        # A step's loss is that before its update: evaluation is the first to see the damage.
        (1, "step 1: validation loss is nan, training stops (nothing was saved)"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_step_and_is_not_saved(command, tmp_path, every, said):
    explode = ["optim.lr=3e38", "optim.warmup_steps=0", "optim.weight_decay=1e3"]
    explode += ["train.steps=9", "train.sample_tokens=0", f"train.eval_every={every}"]
    assert said in command(*_LINEAR, *(f"--config.{each}" for each in explode))
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
