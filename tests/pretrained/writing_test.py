"""Runs that begin with a pretrained model, and folders that others load."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

import mmrec_jax
from mmrec_jax.checkpoints.load import open_model, read_adapters, read_model
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.pretrained.shards import open_shards
from mmrec_jax.pretrained.writing import write_published
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.tree import named_leaves
from tests.pretrained.small_folder import (
    DTYPES,
    GENERATION,
    random_tensors,
    small_config,
    write_folder,
)
from tests.refused import refused
from tests.small_run import CONFIG_FILE, flags, session_text


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    write_folder(folder, dtype="bfloat16", shards=2)
    return folder


@pytest.mark.parametrize(
    ("kind", "dtype", "tied"),
    [("qwen3", "bfloat16", False), ("qwen2", "float16", True), ("llama", "float32", True)],
)
def test_what_is_written_again_is_bit_for_bit_what_was_read(tmp_path, kind, dtype, tied):
    made = write_folder(tmp_path / "in", small_config(kind, tie_embeddings=tied), dtype, shards=2)
    sizes = ["--shard-gb=1.2e-5"]
    main(["export", f"--workdir={tmp_path / 'in'}", f"--out={tmp_path / 'out'}", *sizes])
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in made.values())
    assert index["weight_map"].keys() == made.keys()
    assert ("lm_head.weight" in made) != tied
    for name, stored in open_shards(tmp_path / "out").items():
        assert stored.dtype == DTYPES[dtype]
        found = stored.read(0, stored.shape[0])
        assert found.tobytes() == made[name].tobytes(), name
    mode = (tmp_path / "out" / "config.json").stat().st_mode  # others may read it
    for file in set(index["weight_map"].values()):
        assert (tmp_path / "out" / file).stat().st_mode == mode
        assert (tmp_path / "out" / file).stat().st_size < 40_000
        with safe_open(tmp_path / "out" / file, "numpy") as content:
            assert content.metadata() == {"format": "pt"}
    one, other = (open_model(tmp_path / each) for each in ("in", "out"))
    assert one.model == other.model
    assert one.read().identity == other.read().identity
    assert one.tokenizer.fingerprint == other.tokenizer.fingerprint
    assert one.tokenizer.ends == other.tokenizer.ends
    assert one.tokenizer.chat_template.source == other.tokenizer.chat_template.source
    files = ("config", "generation_config", "tokenizer_config")
    content = [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in files]
    assert [each.get("eos_token_id") for each in content] == [298, [298, 296], None]
    assert content[1] == {**GENERATION, "pad_token_id": 296}
    assert content[2]["eos_token"] == "<|im_end|>"
    assert content[2]["pad_token"] == "<|endoftext|>"
    assert content[0]["tie_word_embeddings"] is tied
    assert content[0]["vocab_size"] == len(made["model.embed_tokens.weight"])
    assert content[0]["torch_dtype"] == dtype


def test_a_head_trained_apart_and_new_rows_are_written_as_one_untied_model(tmp_path):
    config = small_config("llama", tie_embeddings=True, new_rows=8)
    write_folder(tmp_path / "in", config)
    saved = read_model(tmp_path / "in")
    table = np.asarray(saved.params["embed"]["embedding"])
    old, new = jnp.asarray(table[:-8]), jnp.asarray(table[-8:])
    head = {"embedding": old + 1, "new_embedding": new + 2}
    params = saved.params | {"embed": {"embedding": old, "new_embedding": new}, "head": head}
    write_published(tmp_path / "out", config, params, saved.tokenizer)
    again = read_model(tmp_path / "out")
    assert not again.model.tie_embeddings
    np.testing.assert_array_equal(again.params["embed"]["embedding"], table)
    np.testing.assert_array_equal(again.params["head"]["embedding"][:-8], table[:-8] + 1)
    np.testing.assert_array_equal(again.params["head"]["embedding"][-8:], table[-8:] + 2)
    refused(lambda: write_published(tmp_path / "x", config, params, ByteTokenizer()), "kind byte")


def _config(base, **overrides):
    fields = {"init_from": base, "train__steps": 4, "train__checkpoint_every": 2}
    fields |= {"train__eval_every": 4, "train__sample_tokens": 0, "data__seq_len": 32}
    fields |= {"adapters__kind": "dora", "adapters__rank": 2, "train__dashboard": False}
    fields |= {"objectives__uboo": None, "data__train": session_text()}
    fields |= {"optim__schedule": "constant", "train__devices": 2, "mesh__fsdp": 2}
    return read_config(str(CONFIG_FILE), flags(**(fields | overrides)))


def test_adapters_of_a_pretrained_base_from_training_to_a_folder_for_others(base, tmp_path, capsys):
    fine = tmp_path / "fine"
    assert run(_config(base), fine) == 0
    trained = read_adapters(fine, "last")
    assert (trained.step, trained.base["run"], trained.base["step"]) == (4, str(base), 0)
    assert trained.base["identity"] == read_model(base).identity

    model, params, tokenizer = mmrec_jax.load(fine)
    assert tokenizer.ends == (298, 296)
    assert tokenizer.chat_template.source == open_model(base).tokenizer.chat_template.source
    assert model.config.vocab_size == 304
    main(["export", f"--workdir={fine}", f"--out={tmp_path / 'out'}"])
    other, found, _ = mmrec_jax.load(tmp_path / "out")  # which computes in the dtype of its files
    other = dataclasses.replace(other.config, dtype=model.config.dtype).build()
    tokens = tokenizer.encode("the cat and the dog")[None]
    expected, actual = (
        mmrec_jax.logits(*each, tokens) for each in ((model, params), (other, found))
    )
    np.testing.assert_array_equal(actual, expected)
    assert np.any(expected != mmrec_jax.logits(model, read_model(base).params, tokens))
    capsys.readouterr()
    greedy = ["--temperature=0", "--max-tokens=4", "--prompt=the cat"]
    main(["generate", f"--workdir={tmp_path / 'out'}", *greedy])
    said, state = capsys.readouterr()
    assert "bytes per sample and token" in state
    main(["generate", f"--workdir={base}", f"--adapter={fine}", *greedy])
    assert capsys.readouterr().out == said
    text = session_text()
    main(["eval", "loss", f"--workdir={base}", f"--data={text}"])
    assert "bits_per_byte" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["eval", "length", f"--workdir={base}", f"--data={text}"])
    assert "--out: name the folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["adapters", "show", f"--workdir={base}"])
    assert "it has no adapters" in capsys.readouterr().err

    other = tmp_path / "other"
    made = random_tensors(small_config(), "bfloat16", seed=1)
    write_folder(other, dtype="bfloat16", made=made)
    refused(lambda: set_up(_config(other), fine, fresh=False), "adapters of another base")


def test_all_parameters_of_a_pretrained_model_are_trained_in_the_dtype_of_the_run(base, tmp_path):
    fields = {"adapters__kind": "none", "model__family": "transformer"}
    config = _config(base, **fields, train__steps=2)
    assert config.model.param_dtype == "float32"
    assert run(config, tmp_path / "fine") == 0
    assert run(_config(base, **fields), tmp_path / "fine") == 0
    model, params, _ = mmrec_jax.load(tmp_path / "fine")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    before = named_leaves(read_model(base).params)
    for name, leaf in named_leaves(params).items():
        moved = np.abs(np.asarray(leaf) - before[name].astype(np.float32)).max()
        assert 0 < moved < 0.1, name
    assert model.config.vocab_size == 304
