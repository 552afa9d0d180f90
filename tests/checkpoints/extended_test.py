"""A vocabulary that is extended in fine-tuning: from the config to the files and back."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import read_adapters
from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.cli import main
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.embeddings import constituents, first_rows
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.tree import named_leaves
from tests.refused import refused
from tests.small_run import begin, linear_config, metrics, session_text, small_config
from tests.tokenizers.small_base import small_base, write_base

_OLD, _IDS, _ROWS = 299, 302, 304  # old tokens, all tokens, rows
_SIZES = {"model_dim": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8}
_STEPS = 4


@pytest.fixture(scope="module", params=[pytest.param("tied", marks=pytest.mark.soak), "untied"])
def folder(request, tmp_path_factory):
    """A base that was never trained, and its tokenizer with three more tokens."""
    folder = tmp_path_factory.mktemp(request.param)
    fields = {f"model__{name}": value for name, value in _SIZES.items()}
    config = small_config(
        session_text(),
        objectives__uboo=None,
        model__family="transformer",
        model__vocab_size=_OLD,
        model__ffn_dim=24,
        model__tie_embeddings=request.param == "tied",
        tokenizer__kind="file",
        tokenizer__path=write_base(folder),
        train__devices=1,
        **fields,
    )
    begin(config, folder / "base", step=3)
    merges = [("Ã", "¶"), ("Ã", "¼"), ("g", "Ã¶")]
    content = BpeFile.from_content(small_base(), "base").extended(["Ã¶", "Ã¼", "gÃ¶"], merges, None)
    (folder / "new").mkdir()
    (folder / "new" / "tokenizer.json").write_bytes(content)
    return folder


def _config(folder, **overrides):
    fields = {
        "init_from": folder / "base",
        "extend__tokenizer": folder / "new",
        "extend__multiple": 8,
        "adapters__kind": "dora",
        "adapters__rank": 2,
        "adapters__embedding_rows": "296-298",  # its control tokens
        "optim__schedule": "constant",
        "train__steps": _STEPS,
        "train__checkpoint_every": 2,
        "train__keep_last": 2,
        "train__eval_every": _STEPS,
        "train__sample_tokens": 0,
        "train__devices": 1,
    }
    return small_config(session_text(), objectives__uboo=None, **(fields | overrides))


@pytest.fixture(scope="module")
def fine(folder):
    """The run, continued from its second step without the tokenizer's folder."""
    place, new = folder / "fine", folder / "new"
    assert run(_config(folder), folder / "whole") == 0
    shutil.copytree(folder / "whole", place)
    new.rename(folder / "away")
    assert run(_config(folder), place, resume_step=2) == 0
    (folder / "away").rename(new)
    return place


def _tables(tree):
    return {name for name in ("embed", "head") if name in tree}


@pytest.mark.parametrize(
    ("method", "kind"), [("mean", "dora"), ("average", "whole"), ("average", "none")]
)
def test_a_run_begins_with_the_old_rows_and_new_ones_made_of_them(folder, tmp_path, method, kind):
    _, before, _ = mmrec_jax.load(folder / "base")
    rows = {} if kind == "dora" else {"adapters__embedding_rows": ""}
    config = _config(folder, extend__method=method, adapters__kind=kind, **rows)
    setup = set_up(config, tmp_path, fresh=False)
    unlock_folder(tmp_path)
    state, model = setup.state.params, setup.model
    assert (model.config.vocab_size, model.config.new_rows) == (_ROWS, _ROWS - _OLD)
    assert setup.data.tokenizer.vocab_size == _IDS
    tokenizers = (BpeFile.read(folder / name / "tokenizer.json") for name in (".", "new"))
    parts = constituents(*tokenizers)
    for name in _tables(before):
        old = np.asarray(before[name]["embedding"])
        expected = first_rows(old.__getitem__, _OLD, parts, method, _ROWS - _OLD, old.dtype)
        new = state[name]["new_embedding"]
        if kind != "none":
            assert "new_embedding" not in model.base.get(name, {})
            new = new.value
        frozen = (state if kind == "none" else model.base)[name]["embedding"]
        np.testing.assert_array_equal(frozen, old[:_OLD])
        np.testing.assert_array_equal(new, expected)
    assert kind != "whole" or {name.split("/")[-1] for name in named_leaves(state)} == {"value"}


def test_it_goes_on_from_its_own_files_bit_for_bit(folder, fine):
    whole, cut = (read_adapters(path, "last").adapters for path in (folder / "whole", fine))
    for name, leaf in named_leaves(whole).items():
        np.testing.assert_array_equal(named_leaves(cut)[name], leaf, err_msg=name)


@pytest.mark.soak
def test_a_mesh_of_three_axes_extends_and_trains_as_one_device(folder, tmp_path):
    mesh = {"train__devices": 8, "mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2}
    for name, fields in (("one", {}), ("eight", mesh)):
        assert run(_config(folder, **fields), tmp_path / name) == 0
    one, eight = (read_adapters(tmp_path / name, "last").adapters for name in ("one", "eight"))
    for name, leaf in named_leaves(one).items():
        np.testing.assert_allclose(named_leaves(eight)[name], leaf, rtol=0, atol=1e-3, err_msg=name)
    losses = [[line["loss"] for line in metrics(tmp_path / x, "train")] for x in ("one", "eight")]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_merged_it_is_the_function_that_was_trained_and_knows_its_rows(folder, fine, capsys):
    setup = set_up(_config(folder), fine, fresh=False)
    unlock_folder(fine)
    _, base, _ = mmrec_jax.load(folder / "base")
    tokens = jnp.arange(60, 60 + _IDS - 60)[None] % _IDS
    read = jax.jit(lambda model, params: model.apply(params, tokens).logits[..., :_IDS])
    unmerged = read(setup.model, setup.state.params)
    main(["merge", f"--workdir={fine}", f"--out={folder / 'merged'}"])
    main(["export", f"--workdir={fine}", f"--out={folder / 'exported'}"])
    loaded = {name: mmrec_jax.load(folder / name) for name in ("fine", "merged", "exported")}
    loaded["adapter"] = mmrec_jax.load(folder / "base", adapter=fine)
    for name, (model, params, tokenizer) in loaded.items():
        assert tokenizer.fingerprint == setup.data.tokenizer.fingerprint
        assert model.config.vocab_size == _ROWS
        np.testing.assert_allclose(read(model, params), unmerged, rtol=0, atol=1e-5, err_msg=name)
    model, params, _ = loaded["fine"]
    for name in _tables(params):  # the rows that were named have moved, and no others
        rows = np.any(np.asarray(params[name]["embedding"] != base[name]["embedding"]), axis=1)
        assert set(np.flatnonzero(rows)) == {296, 297, 298}
    capsys.readouterr()
    main(["adapters", "show", f"--workdir={fine}"])
    assert f"embed/new_embedding {_ROWS - _OLD} x 16 trained whole" in " ".join(
        capsys.readouterr().out.split()
    )
    main(["adapters", "export", f"--workdir={fine}", f"--out={folder / 'peft'}"])
    assert f"resize_token_embeddings({_ROWS})" in capsys.readouterr().out
    ids = json.loads((folder / "peft" / "adapter_config.json").read_text())
    assert ids["trainable_token_indices"]["model.embed_tokens"] == list(range(296, _ROWS))
    bare = folder / "base"
    refused(lambda: mmrec_jax.load(bare, adapter=folder / "peft"), "has 299", f"has {_OLD} rows")
    main(["generate", f"--workdir={fine}", "--prompt=göl", "--max-tokens=3"])
    main(["eval", "loss", f"--workdir={folder / 'merged'}"])


def test_rows_of_no_token_have_neither_probability_nor_gradient(folder, tmp_path):
    setup = set_up(_config(folder), tmp_path, fresh=False)
    unlock_folder(tmp_path)
    tokens = jnp.arange(40)[None]

    def nll(params):
        logits = setup.model.apply(params, tokens).logits
        return -jnp.sum(jax.nn.log_softmax(logits)[..., 7]), jax.nn.softmax(logits)

    gradients, p = jax.jit(jax.grad(nll, has_aux=True))(setup.state.params)
    assert p.shape[-1] == _ROWS
    assert not np.any(p[..., _IDS:])
    head = "head" if "head" in gradients else "embed"
    rows = gradients[head]["new_embedding"].value
    assert np.all(np.any(rows[: _IDS - _OLD], axis=1))
    assert not np.any(rows[_IDS - _OLD :])


def test_what_cannot_be_extended_is_one_line(folder, tmp_path, fine):
    where = "config.extend.tokenizer"

    def begin_with(*named, **overrides):
        place = tmp_path / "run"
        refused(lambda: set_up(_config(folder, **overrides), place, fresh=False), *named)
        assert not place.exists()

    begin_with(where, "no-such", extend__tokenizer=folder / "no-such")
    other = json.loads(small_base())
    other["model"]["merges"].reverse()
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    begin_with(where, "with more tokens", extend__tokenizer=tmp_path)
    begin_with(where, "extended before", init_from=fine)
    refused(lambda: _config(folder, init_from=""), "init_from")
    kept = {"adapters__kind": "none", "adapters__embedding_rows": ""}
    refused(lambda: _config(folder, init_from="", **kept), where, "init_from")
    begin(linear_config(session_text()), tmp_path / "mmrec", step=1)
    begin_with(where, "of kind byte", init_from=tmp_path / "mmrec")
