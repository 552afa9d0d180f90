"""An MM-Rec run with a byte-level BPE of its own: extended, trained in two stages, exported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.cli import main
from mmrec_jax.config import ExtendConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.pretrained.extended import read_extended
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.embeddings import constituents, first_rows
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.tree import named_leaves
from tests.refused import refused
from tests.small_run import begin, linear_config, session_text

_OLD, _IDS, _ROWS = 270, 275, 280  # old tokens, all tokens, rows


@jax.jit
def _logits(model, params):
    return model.apply(params, jnp.arange(_IDS)[None]).logits


def _config(**fields):
    schedule = {"optim__schedule": "constant", "optim__warmup_steps": 0, "train__steps": 2}
    quiet = {"train__eval_every": 2, "train__checkpoint_every": 2, "train__sample_tokens": 0}
    fields = {"model__vocab_size": _OLD, **schedule, **quiet, **fields}
    return linear_config(session_text(), **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base, its extension of which the new rows alone were trained, and the export of that."""
    folder = tmp_path_factory.mktemp("extended")
    kind = {"tokenizer__kind": "byte_bpe", "tokenizer__vocab_size": _OLD}
    begin(_config(**kind), folder / "base", step=3)
    (folder / "protected.txt").write_text("The cat sat on the mat.\n")
    files = {"base": "base/tokenizer", "protect": "protected.txt", "out": "new"}
    options = [f"--{name}={folder / path}" for name, path in files.items()]
    main(["tokenizer", "extend", *options, f"--text={session_text()}", "--vocab-size=5"])
    extension = {"extend__tokenizer": folder / "new", "extend__multiple": 8}
    config = _config(init_from=folder / "base", adapters__kind="whole", **extension)
    assert run(config, folder / "rows") == 0
    main(["export", f"--workdir={folder / 'rows'}", f"--out={folder / 'table'}"])
    return folder


def test_new_rows_alone_are_trained(folder):
    before, after = (named_leaves(mmrec_jax.load(folder / x)[1]) for x in ("base", "rows"))
    new = after.pop("embed/new_embedding")
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        np.testing.assert_array_equal(after[name], leaf, err_msg=name)
    files = (BpeFile.read(folder / x / "tokenizer.json") for x in ("base/tokenizer", "new"))
    parts, old = constituents(*files), np.asarray(before["embed/embedding"])
    start = first_rows(old.__getitem__, _OLD, parts, "mean", _ROWS - _OLD, old.dtype)
    moved = np.abs(new - start).max(axis=1)
    assert len(moved) == _ROWS - _OLD
    assert np.all(moved[: _IDS - _OLD] > 1e-3)
    # Two steps of 0.01, twice that for these rows: up to sqrt(rows) where one has all the gradient.
    assert np.all(moved < 2 * 0.01 * 2 * len(moved) ** 0.5)


def test_an_export_has_one_table_and_the_same_logits(folder, capsys):
    model, params, _ = mmrec_jax.load(folder / "rows")
    logits = _logits(model, params)
    assert np.all(logits[..., _IDS:] < -1e30)
    model, params, tokenizer = mmrec_jax.load(folder / "table")
    assert (model.config.new_rows, model.config.vocab_size) == (0, _ROWS)
    assert tokenizer.vocab_size == _IDS
    assert params["embed"].keys() == {"embedding"}
    np.testing.assert_allclose(_logits(model, params), logits, rtol=0, atol=1e-6)
    main(["generate", f"--workdir={folder / 'table'}", "--prompt=göl", "--max-tokens=3"])
    assert capsys.readouterr().out.startswith("göl")


@pytest.mark.soak
@pytest.mark.parametrize(("base", "rows"), [("rows", ""), ("table", f"{_OLD}-{_IDS - 1}")])
def test_adapters_on_that_are_exported_as_they_were_trained(folder, tmp_path, base, rows):
    """The new rows are trained beside them: always where they are a table, else by number."""
    kind = {"adapters__kind": "dora", "adapters__rank": 2, "adapters__embedding_rows": rows}
    config = _config(init_from=folder / base, **kind)
    assert run(config, tmp_path / "fine") == 0
    setup = set_up(config, tmp_path / "fine", fresh=False)
    unlock_folder(tmp_path / "fine")
    expected = _logits(setup.model, setup.state.params)
    before = mmrec_jax.load(folder / "table")[1]["embed"]["embedding"]
    for command in ("merge", "export"):
        main([command, f"--workdir={tmp_path / 'fine'}", f"--out={tmp_path / command}"])
        model, params, _ = mmrec_jax.load(tmp_path / command)
        np.testing.assert_allclose(_logits(model, params), expected, rtol=0, atol=1e-5)
        moved = np.any(np.asarray(params["embed"]["embedding"] != before), axis=1)
        assert set(np.flatnonzero(moved[:_IDS])) == set(range(_OLD, _IDS))


def test_a_base_whose_tokenizer_is_another_cannot_be_extended():
    config = ExtendConfig(tokenizer="new")
    named = "config.extend.tokenizer", "kind=byte_bpe"
    refused(lambda: read_extended(config, MMRecConfig(), ByteTokenizer()), *named)
