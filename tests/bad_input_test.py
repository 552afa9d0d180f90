"""Everything a user can get wrong: one clear line, a status, and nothing compiled before it."""

import gzip
import sys

import jax
import pytest

import train
from tests.small_run import CONFIG_FILE, begin, linear_config, write_text

_COMPILED = []


@pytest.fixture(autouse=True)
def compiled():
    """The compilations since the test began."""

    def listen(event, duration, **unused):
        if event.endswith("backend_compile_duration"):
            _COMPILED.append(event)

    _COMPILED.clear()
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield _COMPILED
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Types the training command; returns its one line on standard error."""

    def type_(*arguments, text=None, config=CONFIG_FILE, workdir=tmp_path / "run"):
        text = text or write_text(tmp_path / "words.txt")
        words = ["train.py", f"--config={config}", f"--workdir={workdir}"]
        words += [f"--config.data.train={text}", "--config.train.devices=1", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            train.main()
        assert exit_.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("error: "), lines
        assert _COMPILED or len(lines) == 1, lines  # a run that began has a progress bar
        return lines[-1]

    return type_


def test_a_missing_file(command, tmp_path, compiled):
    assert "config.data.train: there is no file" in command(text=tmp_path / "absent.txt")
    assert not compiled
    assert not (tmp_path / "run").exists()


def test_a_pattern_that_matches_nothing(command, tmp_path):
    assert "no file matches" in command(text=tmp_path / "*.text")


@pytest.mark.parametrize("content", ["", " \n\n\t\n"])
def test_an_empty_corpus(command, tmp_path, compiled, content):
    path = tmp_path / "empty.txt"
    path.write_text(content)
    assert f"the corpus is empty: there is no text in {path}" in command(text=path)
    assert not compiled


def test_a_corpus_smaller_than_a_row(command, tmp_path, compiled):
    path = tmp_path / "short.txt"
    path.write_text("bir\n\niki\n\nüç")
    said = command(text=path)
    assert "smaller than a row" in said
    assert "config.data.seq_len is 32" in said
    assert not compiled


def test_a_byte_that_is_not_utf8(command, tmp_path, compiled):
    path = tmp_path / "broken.txt"
    path.write_bytes("göl ".encode() * 3 + b"\xff rest")
    assert f"{path}:1: not UTF-8 at byte offset 15 (0xff)" in command(text=path)
    assert not compiled


def test_a_damaged_archive(command, tmp_path):
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(gzip.compress(b"x" * 10_000)[:-20])
    assert f"{path}: this .gz file is damaged" in command(text=path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [('{"text": "a" "b"}', "bad JSON"), ('{"body": "a"}', "no field 'text'; the fields are: body")],
)
def test_a_bad_line_of_json(command, tmp_path, compiled, line, expected):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n")
    said = command(text=path)
    assert f"{path}:3: " in said
    assert expected in said
    assert not compiled


_INSTRUCTIONS = ["--config.data.source=instructions", "--config.train.sample_tokens=0"]


def test_a_malformed_line_of_instructions(command, tmp_path, compiled):
    path = tmp_path / "pairs.jsonl"
    lines = ['{"prompt": "göl", "completion": "göller"}'] * 30
    path.write_text("\n".join([*lines[:16], '{"prompt": "göl", "completion": ', *lines[17:]]))
    said = command(*_INSTRUCTIONS, text=path)
    assert f"{path}:17: bad JSON: " in said
    assert not compiled
    assert not (tmp_path / "run").exists()


def test_a_chat_template_that_the_tokenizer_has_no_tokens_for(command, tmp_path, compiled):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}", "completion": "b"}}\n' for i in range(40)))
    said = command(*_INSTRUCTIONS, "--config.data.template=chatml", text=path)
    assert 'the chat template "chatml"' in said
    assert "<|im_end|>" in said
    assert not compiled


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config.optim.learning_rate=1"], "config.optim.learning_rate is not a field"),
        (["--config.train.batch_size=many"], "config.train.batch_size is 'many'"),
        (["--config.model.gate=lstm"], "config.model.gate is 'lstm'"),
        (["--config.train.steps=-1"], "config.train.steps is -1; it must be above 0"),
        (["--config.data.source=treebank"], "config.data.train is not a field of source treebank"),
        (["--config.train.accumulate=3"], "config.train.accumulate is 3"),
        (["--config.model.vocab_size=100"], "config.model.vocab_size is 100"),
        (["--config.train.devices=64"], "config.train.devices is 64"),
        (["--config.data.source=parity"], "config.data.train is not a field of source parity"),
        (
            ["--config.model.family=attention", "--config.train.carry_state=true"],
            "config.train.carry_state is True",
        ),
        (["--config.tokenizer.kind=file"], "config.tokenizer.path is ''"),
        (
            ["--config.tokenizer.kind=file", "--config.tokenizer.path=no.model"],
            "config.tokenizer.path: no.model cannot be read",
        ),
        (
            ["--config.tokenizer.kind=unigram", "--config.tokenizer.vocab_size=9000"],
            "config.tokenizer.vocab_size is 9000; with tokenizer.kind 'unigram' this training "
            "text allows at most",
        ),
    ],
)
def test_a_wrong_field(command, compiled, arguments, expected):
    assert expected in command(*arguments)
    assert not compiled


def test_a_missing_config_file(command):
    assert "absent.py: there is no such file" in command(config="absent.py")


def test_a_field_of_the_wrong_type_in_the_file(command, tmp_path):
    path = tmp_path / "mine.py"
    head = "from mmrec_jax.config import Config, OptimConfig\n"
    path.write_text(f"{head}def get_config(): return Config(optim=OptimConfig(lr='fast'))")
    said = command("--config.data.source=text", config=path)
    assert "config.optim.lr is 'fast'" in said


_LINEAR = [
    "--config.model.gate=none",
    "--config.model.memory=none",
    "--config.objectives.uboo=None",
]


@pytest.fixture
def begun(tmp_path, compiled):
    """A run with a checkpoint of step 3."""

    def begin_(**overrides):
        text = write_text(tmp_path / "words.txt")
        begin(linear_config(text, **overrides), tmp_path / "run", step=3)
        compiled.clear()

    return begin_


@pytest.mark.parametrize(
    ("argument", "field"),
    [
        ("--config.model.model_dim=64", "config.model.model_dim (32 in the checkpoint, 64 now)"),
        ("--config.optim.b2=0.5", "config.optim.b2 (None in the checkpoint, 0.5 now)"),
        ("--config.data.seq_len=16", "config.data.seq_len (32 in the checkpoint, 16 now)"),
        ("--config.train.epochs=3", "config.train.epochs (None in the checkpoint, 3.0 now)"),
    ],
)
def test_a_checkpoint_of_another_run(command, begun, compiled, tmp_path, argument, field):
    begun()
    before = (tmp_path / "run" / "config.json").read_text()
    said = command(*_LINEAR, argument)
    assert field in said
    assert "checkpoints/3 belongs to another run" in said
    assert not compiled
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_a_tokenizer_changed_under_a_checkpoint(command, begun, compiled, tmp_path):
    begun(tokenizer__kind="char")
    text = tmp_path / "words.txt"
    text.write_text(text.read_text("utf-8").replace("ü", "u"), "utf-8")  # a letter less
    said = command(*_LINEAR, "--config.tokenizer.kind=char", text=text)
    assert "checkpoints/3 was trained with another tokenizer" in said
    assert not compiled


def test_a_text_changed_under_a_checkpoint(command, begun, compiled, tmp_path):
    begun()
    text = tmp_path / "words.txt"
    text.write_text(text.read_text("utf-8") + "\n\nbir iki daha", "utf-8")
    said = command(*_LINEAR, text=text)
    assert "the saved position in the training data belongs to other data" in said
    assert not compiled


_EXPLODE = [
    "--config.optim.lr=3e38",
    "--config.optim.warmup_steps=0",
    "--config.optim.weight_decay=1e3",
    "--config.train.steps=9",
    "--config.train.sample_tokens=0",
]


def test_a_loss_that_is_not_finite_names_the_step_and_the_term(command, tmp_path):
    said = command(*_LINEAR, *_EXPLODE)
    assert "step 2: loss is nan, training stops (nothing was saved)" in said
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_validation_loss_that_is_not_finite_is_not_saved_as_the_best(command, tmp_path):
    """A step's loss is that before its update: evaluation is the first to see the damage."""
    said = command(*_LINEAR, *_EXPLODE, "--config.train.eval_every=1")
    assert "step 1: validation loss is nan, training stops (nothing was saved)" in said
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
