"""Runs that begin with another one: adapters and full fine-tuning, from the config to the files."""

import json
import shutil

import jax
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import read_adapters, read_model
from mmrec_jax.cli import main
from mmrec_jax.inference import generate as generation
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import named_leaves
from tests.refused import mistake, refused
from tests.small_run import assert_same_bits, begin, linear_config, session_text

_STEPS = 4
_UBOO = {"objectives__uboo__weight": 0.1}
_FINE = {**_UBOO, "optim__schedule": "constant", "optim__warmup_steps": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fine")


@pytest.fixture(scope="module")
def base(folder):
    """A run with a checkpoint of step 3 that was never trained."""
    begin(linear_config(session_text(), model__num_layers=1), folder / "base", step=3)
    return folder / "base"


def _config(base, **overrides):
    """Fine-tuning; of the model, only what training decides is given."""
    fields = {
        "init_from": base,
        "adapters__kind": "dora",
        "adapters__rank": 2,
        "adapters__embedding_rows": "250-251",
        "adapters__train": "final_norm",
        "tokenizer__kind": "char",  # not used: the tokenizer is the base's
        "train__steps": _STEPS,
        "train__checkpoint_every": 2,
        "train__eval_every": _STEPS,
        "noise__alpha": 5.0,
        "train__devices": 2,
        "train__sample_tokens": 0,
    }
    return linear_config(session_text(), **(fields | overrides))


@pytest.fixture(scope="module")
def fine(folder, base):
    assert run(_config(base, **_FINE), folder / "fine") == 0
    return folder / "fine"


@pytest.mark.soak
def test_a_continued_run_ends_bit_for_bit_as_an_uninterrupted_one(folder, base, fine):
    """`extended_test.py` has a run of adapters in two sessions, `sessions_test.py` one of noise."""
    assert run(_config(base, train__steps=2, **_FINE), folder / "cut") == 0
    assert run(_config(base, **_FINE), folder / "cut") == 0
    whole, cut = (read_adapters(path, "last").adapters for path in (fine, folder / "cut"))
    assert_same_bits(cut, whole)


def test_the_checkpoint_holds_the_adapters_alone(base, fine):
    trained = read_adapters(fine, "last")
    _, before, _ = mmrec_jax.load(base)
    small = sum(leaf.nbytes for leaf in jax.tree.leaves(trained.adapters))
    assert small < 0.3 * sum(leaf.nbytes for leaf in jax.tree.leaves(before))
    stored = sum(
        path.stat().st_size
        for path in (fine / "checkpoints" / str(_STEPS)).rglob("*")
        if path.is_file() and "ocdbt" not in path.name
    )
    assert stored < 3 * small + 200_000  # with two moments and the files around them
    assert (trained.base["run"], trained.base["step"]) == (str(base.resolve()), 3)


def test_loading_merging_and_exporting_agree(folder, base, fine, monkeypatch, capsys):
    model, params, tokenizer = mmrec_jax.load(fine)
    assert model.config.num_layers == 1  # of the base
    _, before, _ = mmrec_jax.load(base)
    moved = [n for n, x in named_leaves(params).items() if np.any(x != named_leaves(before)[n])]
    assert "embed/embedding" in moved
    assert "final_norm/scale" in moved
    assert sum("kernel" in name for name in moved) == 4
    rows = np.any(np.asarray(params["embed"]["embedding"] != before["embed"]["embedding"]), axis=1)
    assert list(np.flatnonzero(rows)) == [250, 251]

    main(["merge", f"--workdir={fine}", f"--out={folder / 'merged'}"])
    main(["export", f"--workdir={fine}", f"--out={folder / 'exported'}"])
    capsys.readouterr()
    for place in (folder / "merged", folder / "exported"):
        other, found, read = mmrec_jax.load(place)
        assert other.config == model.config
        assert read.fingerprint == tokenizer.fingerprint
        assert_same_bits(found, params)

    used = []
    monkeypatch.setattr(generation, "generate", lambda *args, **_: used.append(args) or [""])
    main(["generate", f"--workdir={base}", f"--adapter={fine}", "--prompt=göl"])
    ((other, found, *_),) = used
    assert other.config == model.config
    assert_same_bits(found, params)
    capsys.readouterr()

    absent = "generate", f"--workdir={base}", f"--adapter={folder / 'absent'}"
    assert "there is no run here" in mistake(capsys, *absent)
    for run_folder, out, named in (
        (fine, "merged", "there is something here already"),
        (base, "other", "this run trained all parameters; it has no adapters"),
    ):
        merge = "merge", f"--workdir={run_folder}", f"--out={folder / out}"
        assert named in mistake(capsys, *merge)


def test_show_lists_what_is_trained(fine, capsys):
    main(["adapters", "show", f"--workdir={fine}"])
    first, _, *lines, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{fine / 'checkpoints' / str(_STEPS)}, on step 3 of ")
    assert len(lines) == 6
    # [1, 96, 32], rank 2: (96 + 32) 2 + 32 numbers of float32.
    (down,) = (line.split() for line in lines if "ffn/down" in line)
    expected = "blocks/ffn/down/kernel 1 x 128 x 32 dora, rank 2, scale 8 352 1,408"
    assert " ".join(down) == expected
    assert any("rows 250-251" in line and " 64 " in line for line in lines)
    assert "final_norm/scale 32 trained whole 32 128" in [" ".join(line.split()) for line in lines]
    numbers = sum(x.size for x in jax.tree.leaves(read_adapters(fine).adapters))
    assert last.startswith(f"trained: {numbers:,} numbers, {4 * numbers:,} bytes; the model has ")


def test_another_base_is_refused_wherever_adapters_meet_one(folder, fine):
    stranger = folder / "stranger"  # of the same shape
    begin(linear_config(session_text(), model__num_layers=1, train__seed=9), stranger, step=3)
    differing = "has adapters of another base", "of the same shape with other parameters"
    refused(lambda: mmrec_jax.load(stranger, adapter=fine), *differing)
    config = _config(stranger, **_FINE)
    refused(lambda: set_up(config, fine, fresh=False), *differing)


def test_a_base_that_was_moved_is_found_where_the_advice_says(folder, base, fine):
    there = shutil.copytree(fine, folder / "there" / "fine")
    here = base.rename(folder / "here")
    try:
        named = base, there.parent / "base", "config.init_from", there / "config.json"
        refused(lambda: mmrec_jax.load(there), *map(str, named))
        _, expected, _ = mmrec_jax.load(here, adapter=there)
        content = json.loads((there / "config.json").read_text())
        changed = content | {"config": content["config"] | {"init_from": str(here)}}
        (there / "config.json").write_text(json.dumps(changed))
        found = [mmrec_jax.load(there)[1]]
        (there / "config.json").write_text(json.dumps(content))
        shutil.copytree(here, there.parent / "base")
        found.append(mmrec_jax.load(there)[1])
    finally:
        here.rename(base)
    for each in found:
        jax.tree.map(np.testing.assert_array_equal, each, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"init_from": "nowhere"}, "nowhere: there is no run here"),
        ({"adapters__pattern": "attention"}, "'attention' matches no kernel"),
        ({"adapters__rank": 33}, "adapter rank 33 is larger than the kernel"),
        ({"adapters__train": "bias"}, "'bias' matches no parameter"),
        (
            {"adapters__kind": "whole", "adapters__train": "", "adapters__embedding_rows": ""},
            "config.adapters.train",
        ),
        ({"adapters__embedding_rows": "258"}, "has rows 0 to 257; there are no 258-258"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(base, tmp_path, fields, expected):
    config = _config(base, **fields)
    refused(lambda: set_up(config, tmp_path / "run", fresh=False), expected)
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_begin_with_itself(base):
    refused(lambda: set_up(_config(base), base, fresh=True), "the run's own --workdir")


def test_an_objective_brings_its_own_parameters_whatever_the_base_was_trained_on(
    base, fine, tmp_path
):
    """With adapters and without; and a base that has such parameters suits a run without them."""
    kept = {"adapters__kind": "none", "adapters__embedding_rows": "", "adapters__train": ""}
    whole = tmp_path / "whole"
    assert run(_config(base, **kept, **_UBOO, train__steps=1, train__devices=1), whole) == 0
    for folder in (fine, whole):
        lines = read_metrics(folder / "metrics.jsonl")
        assert all(line["uboo"] > 0 for line in lines if line["split"] == "train")
        _, params, _ = mmrec_jax.load(folder)
        assert named_leaves(params).keys() == named_leaves(read_model(base).params).keys()
    config = _config(whole, **kept)
    assert not set_up(config, tmp_path / "without", fresh=False).state.objectives
