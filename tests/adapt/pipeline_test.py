import dataclasses
import errno
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.adapt.dry_run import dry_run
from mmrec_jax.adapt.job import Job
from mmrec_jax.adapt.pipeline import adapt, make_plan
from mmrec_jax.adapt.record import Record
from mmrec_jax.adapt.text import split_text, train_folder
from mmrec_jax.config_file import read_any_config
from tests.refused import refused
from tests.small_run import ROOT, begin, linear_config, write_text

_CONFIG = str(Path(__file__).with_name("small_adapt.py"))


def _files(folder):
    text, english, pairs = (folder / name for name in ("tr.txt", "en.txt", "pairs.jsonl"))
    write_text(text, 80)
    choose = random.Random(0)
    words = ["one", "two", "lake", "bridge", "flower", "tree", "light", "sea", "road", "bird"]
    texts = [" ".join(choose.choices(words, k=choose.randint(4, 30))) for _ in range(40)]
    english.write_text("\n\n".join(texts), "utf-8")
    talks = ({"prompt": f"{i}?", "completion": choose.choice(["bir", "köprü"])} for i in range(40))
    pairs.write_text("".join(json.dumps(each) + "\n" for each in talks), "utf-8")
    given = {"text": text, "english": english, "instructions": pairs}
    short = "--config.instruct.seq_len=32", "--config.instruct.tokens=500"
    return [*(f"--config.{name}={path}" for name, path in given.items()), *short]


def _config(flags, *more):
    return read_any_config(_CONFIG, [*flags, *more])


def _to_run(config, root):
    plan = make_plan(config, root, Record(root))
    return {step.stage.name: step.reason for step in plan if step.reason}


@pytest.fixture(scope="module", autouse=True)
def kept_programs():
    """Stages of one shape share their programs, which a real model has no memory for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "clear_caches", lambda: None)
        yield


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    return _files(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def root(flags, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapted") / "run [a]"
    adapt(_config(flags), root, until="base")
    return root


@pytest.fixture(scope="module")
def finished(flags, root):
    unfinished = json.loads((root / "report.json").read_text())
    assert not unfinished["finished"]
    adapt(_config(flags), root)
    return json.loads((root / "report.json").read_text())


def test_every_stage_is_run_once_and_what_is_exported_is_what_was_trained(finished, root, flags):
    assert finished["finished"]
    models = {each["name"]: each for each in finished["models"]}
    assert [*models] == ["base", "initialised", "aligned", "trained", "instructed"]
    assert models["trained"]["turkish"] < models["aligned"]["turkish"] < models["base"]["turkish"]
    assert models["trained"]["turkish_tokens"] < models["base"]["turkish_tokens"]
    change = models["trained"]["turkish"] / models["base"]["turkish"] - 1
    assert models["trained"]["turkish_change"] == pytest.approx(change)
    for text in finished["tokenizer"]["texts"]:
        assert sum(text["shares"].values()) == pytest.approx(1)
        assert sum(text["base_shares"].values()) == pytest.approx(1)
    assert finished["total_seconds"] == sum(each["seconds"] for each in finished["stages"])
    assert len(finished["samples"]) == 2
    assert not _to_run(_config(flags), root)

    model, params, tokenizer = mmrec_jax.load(root / "export" / "model")
    own, trained, same = mmrec_jax.load(root / "instruct")
    tokens = tokenizer.encode("köprü ışık ağaç")[None]
    np.testing.assert_array_equal(tokens, same.encode("köprü ışık ağaç")[None])
    logits, expected = (
        np.asarray(mmrec_jax.logits(*each, tokens))[..., : tokenizer.vocab_size]
        for each in ((model, params), (own, trained))
    )
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert model.config.new_rows == 0
    assert (root / "export" / "adapters" / "adapter_config.json").is_file()


def test_equal_bytes_are_read_with_and_without_new_tokens(flags):
    few, many = {"turkish": 0.2, "english": 0.25}, {"turkish": 0.4, "english": 0.3}
    results = {
        "analyse": {"tokens_per_byte": many, "texts": {"turkish": {"bytes": 900}}},
        "extend": {"tokens_per_byte": few},
    }

    def lengths(config):
        job = Job(config, Path("somewhere"), results)
        alone = [job.runs(stage) for stage in (*config.training, "align")]
        return [
            [run.train.tokens for runs in found for run in runs.values()]
            for found in (alone, [job.runs("control")])
        ]

    config = _config(flags)
    own, control = lengths(config)
    assert own == [800, 800, 500]  # as the config says, by the extended tokenizer
    ratio = (0.9 * 0.4 + 0.1 * 0.3) / (0.9 * 0.2 + 0.1 * 0.25)
    assert control == [round(1300 * ratio), round(800 * ratio)]
    long = dataclasses.replace(config.third, tokens=None, epochs=2.0)
    own, control = lengths(dataclasses.replace(config, third=long))
    assert own[1] == round(2000 * (0.9 * 0.2 + 0.1 * 0.25))  # 1,800 bytes and English
    assert control[1] == round(2000 * (0.9 * 0.4 + 0.1 * 0.3))


def test_stages_follow_each_other_and_read_the_text_each_in_an_order_of_its_own(flags):
    rates = {"tokens_per_byte": {"turkish": 0.4, "english": 0.3}}
    analysed = {**rates, "texts": {"turkish": {"bytes": 900}}}
    job = Job(_config(flags), Path("somewhere"), {"analyse": analysed, "extend": rates})
    runs = [run for stage in job.config.lengths for run in job.runs(stage).values()]
    *before, _ = (str(job.folder(stage)) for stage in job.config.lengths)
    assert [run.adapters.init_from for run in runs] == ["", *before]
    of_control = {folder.name: run.data.seed for folder, run in job.runs("control").items()}
    seeds = {
        stage: run.data.seed for stage in ("align", *of_control) for run in job.runs(stage).values()
    }
    assert len({*seeds.values()}) == len(seeds) == 3
    assert of_control.items() <= seeds.items()


def test_a_changed_field_runs_its_stage_and_what_follows(finished, root, flags):
    found = _to_run(_config(flags, "--config.third.lr_factor=0.4"), root)
    assert [*found] == ["third", "instruct", "evaluate", "export"]
    assert found["third"] == "config.third.lr_factor was 1.0, is 0.4"
    assert found["export"] == "stage evaluate is run again"
    assert next(iter(_to_run(_config(flags, "--config.noise.alpha=1"), root))) == "instruct"
    rows = _to_run(_config(flags, "--config.extension.method=average"), root)
    assert [*rows][:2] == ["initialise", "align"]
    assert not _to_run(_config(flags, "--config.mesh.data=1"), root)


def test_a_changed_text_runs_all_from_analyse_on(finished, root, flags, tmp_path):
    moved = write_text(tmp_path / "moved.txt", 80)
    assert not _to_run(_config([*flags, f"--config.text={moved}"]), root)
    moved.write_text(moved.read_text("utf-8") + "\n\nbir ışık", "utf-8")
    found = _to_run(_config([*flags, f"--config.text={moved}"]), root)
    assert [*found][:2] == ["analyse", "extend"]
    assert found["analyse"] == "the text of config.text has changed"
    assert "base" not in found


def test_stages_are_chosen_by_name(finished, root, flags):
    config, record = _config(flags), Record(root)
    refused(lambda: make_plan(config, root, record, until="thrid"), "--until", "third")
    refused(lambda: make_plan(config, root, record, until="base", start="first"), "--from first")
    plan = make_plan(config, root, record, start="instruct")
    assert [step.stage.name for step in plan if step.reason] == ["instruct", "evaluate", "export"]


def test_a_dry_run_says_tokens_memory_and_time_and_writes_nothing(finished, root, flags, tmp_path):
    before = sorted(root.rglob("*"))
    lines = [*dry_run(_config(flags), root)]
    assert sorted(root.rglob("*")) == before
    (first,) = (line for line in lines if line.startswith("first "))
    assert "bytes" in first
    assert "s a step" in first


def test_a_full_disk_in_export_is_one_line(finished, root, flags, monkeypatch):
    def full(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mmrec_jax.adapt.stages.publish", full)
    refused(lambda: adapt(_config(flags), root, start="export"), "export", "No space left")
    monkeypatch.undo()
    adapt(_config(flags), root)
    assert json.loads((root / "report.json").read_text())["finished"]


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("text={english}", ("config.text", "Turkish", "config.check_language")),
        ("text=nowhere.txt", ("config.text", "nowhere.txt")),
        ("base=nowhere/at/all", ("nowhere/at/all",)),
        ("instructions={english}", ("en.txt:1",)),
        ("third.batch_size=0", ("config.third.batch_size", "at least 1")),
        ("evaluation.tasks=no_such_task", ("lm-evaluation-harness",)),
    ],
)
def test_what_cannot_be_adapted_is_one_line(flag, parts, flags, root, tmp_path):
    english = flags[1].partition("=")[2]
    given = [*flags, f"--config.base={root / 'base'}", f"--config.{flag.format(english=english)}"]
    refused(lambda: adapt(_config(given), tmp_path / "run"), *parts)
    assert not list((tmp_path / "run").glob("*/checkpoints"))  # nothing has been trained


@pytest.mark.parametrize("group", ["third", "evaluation", "pretrain"])
def test_rows_that_devices_cannot_share_name_the_field(group, flags, tmp_path):
    odd = [f"--config.{group}.batch_size=3", "--config.devices=2"]
    parts = f"config.{group}.batch_size", "config.devices)"
    refused(lambda: adapt(_config(flags, *odd), tmp_path), *parts)


def test_too_little_text_is_told_before_the_base_is_trained(flags, tmp_path):
    config = _config(flags, "--config.extension.vocab_size=100000")
    refused(lambda: adapt(config, tmp_path), "config.extension.vocab_size", "supports at most")
    assert not (tmp_path / "base").exists()


def test_many_files_of_one_document_each_leave_no_file_empty(flags, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number}.txt").write_text(f"ışık ağaç {number}", "utf-8")
    config = _config([*flags, f"--config.text={tmp_path / 'many'}"])
    facts = split_text(config, "turkish", tmp_path)
    files = list(train_folder(tmp_path, "turkish").iterdir())
    assert facts["held_out"]
    assert len(files) == facts["documents"] == 40 - facts["held_out"]
    assert all(path.stat().st_size for path in files)


def test_a_base_of_another_tokenizer_is_told_what_to_do(flags, tmp_path):
    begin(linear_config(flags[0].partition("=")[2]), tmp_path / "base", step=1)
    config = _config(flags, f"--config.base={tmp_path / 'base'}")
    refused(lambda: adapt(config, tmp_path / "run"), "byte-level BPE", "extension.vocab_size=0")


def _export(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "export").rglob("*"))
        if path.is_file()
    }


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_ten_times_the_export_is_the_same_bit_for_bit(flags, tmp_path):
    """SIGKILL at ten moments that are spread over the time of the whole."""
    script = "from mmrec_jax.cli import main; main()"

    def start(root):
        arguments = ["adapt", f"--config={_CONFIG}", f"--workdir={root}", *flags]
        arguments.append("--config.control=True")
        return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT)

    begun = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - begun
    killed = 0
    for share in np.linspace(0.06, 0.3, 10):
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=share * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert start(tmp_path / "killed").wait() == 0
    assert killed >= 5
    assert _export(tmp_path / "killed") == _export(tmp_path / "whole")
