"""Folders of `transformers` read and written, and SmolLM2's GGUF file (extra `parity`)."""

import json
import os

import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import open_model, read_model
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.pretrained.shards import open_shards
from mmrec_jax.pretrained.writing import write_published
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.train.loop import run
from mmrec_jax.tree import named_leaves
from tests.parity.transformers_test import assert_same_greedy_text
from tests.pretrained.small_folder import CHATML, random_tensors, small_config, write_folder
from tests.refused import refused
from tests.small_run import CONFIG_FILE, flags, session_text
from tests.tokenizers.small_base import small_base, turkish, write_base

_NEEDS = "needs the extra parity: pip install '.[parity]'"
torch = pytest.importorskip("torch", reason=_NEEDS)
transformers = pytest.importorskip("transformers", reason=_NEEDS)

_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
_SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
_SIZES["vocab_size"] = 304
_SAMPLING = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
_TEXTS = [
    *turkish(20).splitlines(),
    "The cat's  12 dogs\n\n\tdidn't.",
    "<|im_end|> göl<|im_start|>",
]


def _theirs(folder, kind, tied, dtype="float32"):
    """An untrained model of theirs, moved far from its start, and its tokenizer in a folder."""
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Config")(**_SIZES, tie_word_embeddings=tied)
    made.eos_token_id = 298
    model = transformers.AutoModelForCausalLM.from_config(made, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.generation_config.update(eos_token_id=[298, 296], **_SAMPLING)
    model.save_pretrained(folder, max_shard_size="20KB")
    write_base(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|im_end|>", chat_template=CHATML
    )
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def _their_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(np.asarray(tokens)).long()).logits.float().numpy()


def _require_close(actual, expected):
    gap = np.abs(np.asarray(actual) - expected).max()
    assert gap <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("kind", "tied"), [("Qwen3", False), ("Qwen3", True), ("Qwen2", True), ("Llama", False)]
)
def test_their_folder_is_read_and_ours_is_theirs(tmp_path, kind, tied):
    theirs, tokenizer = _theirs(tmp_path / "in", kind, tied)
    model, params, own = mmrec_jax.load(tmp_path / "in")
    assert own.ends == (298, 296)
    tokens = own.encode(turkish(3))[None, :60]
    expected = _their_logits(theirs, tokens)
    _require_close(mmrec_jax.logits(model, params, tokens), expected)

    main(["export", f"--workdir={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"])
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert again.config.eos_token_id == 298
    assert again.generation_config.eos_token_id == [298, 296]
    assert _SAMPLING.items() <= again.generation_config.to_dict().items()
    np.testing.assert_array_equal(_their_logits(again, tokens), expected)
    before, after = (open_shards(tmp_path / each) for each in ("in", "out"))
    assert before.keys() == after.keys()
    for name, stored in before.items():
        rows = (0, stored.shape[0])
        assert stored.read(*rows).tobytes() == after[name].read(*rows).tobytes(), name

    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (other.eos_token, other.bos_token) == ("<|im_end|>", None)
    turns = [{"role": "user", "content": "göl nedir?"}]
    asked = [
        each.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        for each in (tokenizer, other)
    ]
    assert asked[0] == asked[1]
    for text in _TEXTS:
        ids = other(text, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_head_trained_apart_is_untied_for_them(tmp_path):
    config = small_config("qwen3", tie_embeddings=True, new_rows=8)
    write_folder(tmp_path / "in", config)
    saved = read_model(tmp_path / "in")
    table = saved.params["embed"]["embedding"]
    embed = {"embedding": table[:-8], "new_embedding": table[-8:]}
    head = {"embedding": table[:-8] * 1.5, "new_embedding": table[-8:] * 2}
    write_published(
        tmp_path / "out", config, saved.params | {"embed": embed, "head": head}, saved.tokenizer
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not theirs.config.tie_word_embeddings
    tokens = saved.tokenizer.encode("the cat and the dog")[None]
    model, params, _ = mmrec_jax.load(tmp_path / "out")
    _require_close(mmrec_jax.logits(model, params, tokens), _their_logits(theirs, tokens))


@pytest.mark.parametrize("tied", [True, False])
def test_a_run_over_an_extended_vocabulary_is_theirs(tmp_path, tied):
    _theirs(tmp_path / "in", "Qwen3", tied)
    (tmp_path / "new").mkdir()
    merges = [("Ã", "¶"), ("Ã", "¼"), ("g", "Ã¶")]
    content = BpeFile.from_content(small_base(), "base").extended(["Ã¶", "Ã¼", "gÃ¶"], merges, None)
    (tmp_path / "new" / "tokenizer.json").write_bytes(content)
    fields = {"init_from": tmp_path / "in", "extend__tokenizer": tmp_path / "new"}
    fields |= {"extend__multiple": 8, "adapters__kind": "dora", "adapters__rank": 2}
    fields |= {"train__steps": 2, "train__eval_every": 2, "train__sample_tokens": 0}
    fields |= {"objectives__uboo": None, "data__train": session_text(), "train__devices": 1}
    config = read_config(str(CONFIG_FILE), flags(**fields))
    assert run(config, tmp_path / "fine") == 0
    model, params, tokenizer = mmrec_jax.load(tmp_path / "fine")
    assert model.config.new_rows > 0
    main(["export", f"--workdir={tmp_path / 'fine'}", f"--out={tmp_path / 'out'}"])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.config.vocab_size == model.config.vocab_size
    assert theirs.config.tie_word_embeddings == tied
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "göl görür üç gün"
    ids = tokenizer.encode(text)
    assert ids.max() >= 299
    assert other(text, add_special_tokens=False)["input_ids"] == ids.tolist()
    expected = _their_logits(theirs, ids[None])
    _require_close(mmrec_jax.logits(model, params, ids[None])[..., :302], expected[..., :302])


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("llama", False)])
def test_a_gguf_file_holds_the_same_model(tmp_path, kind, tied):
    gguf = pytest.importorskip("gguf", reason="needs the extra gguf: pip install '.[gguf]'")
    config = small_config(kind, tie_embeddings=tied, rope_theta=5e4, norm_epsilon=1e-5)
    made = random_tensors(config)
    write_folder(tmp_path / "in", config, made=made)
    expected = read_model(tmp_path / "in")
    path = tmp_path / "model.gguf"
    _write_gguf(gguf, path, kind, config, made, expected.tokenizer)
    found = read_model(path)
    assert found.model == expected.model
    for name, leaf in named_leaves(expected.params).items():
        np.testing.assert_array_equal(named_leaves(found.params)[name], leaf, err_msg=name)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    for text in _TEXTS:
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert found.tokenizer.encode(text).tolist() == ids
    assert found.tokenizer.eos_id == theirs.eos_token_id
    assert found.tokenizer.chat_template.source == theirs.chat_template == CHATML
    content = path.read_bytes()
    for damaged in (b"nothing", content[: len(content) // 3], content[:-4000]):
        path.write_bytes(damaged)
        refused(lambda: read_model(path), str(path), "cut off or damaged")
    path.unlink()
    refused(lambda: read_model(path), str(path), "cannot be read")


def _write_gguf(gguf, path, kind, config, made, tokenizer):
    """As the converter of llama.cpp does, whose permutation this is."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_length)
    writer.add_embedding_length(config.model_dim)
    writer.add_feed_forward_length(config.ffn_dim)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_theta)
    settings = tokenizer.library.get_vocab(with_added_tokens=True)
    tokens = sorted(settings, key=settings.get)
    tokens += [f"[PAD{i}]" for i in range(len(tokens), config.vocab_size)]
    kinds = [3 if i in tokenizer.control_ids else 1 for i in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = json.loads(tokenizer.content)["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(298)
    writer.add_chat_template(CHATML)
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH.QWEN3 if kind == "qwen3" else gguf.MODEL_ARCH.LLAMA, config.num_layers
    )
    for name, array in made.items():
        heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}.get(name.split(".")[-2])
        if kind == "llama" and heads:
            halves = array.reshape(heads, 2, -1, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_ENGLISH = (  # 114 bytes
    "The old lighthouse keeper climbed the steps every evening to light the lamp that guides "
    "ships past the dark rocks."
)
_TURKISH = (  # 104 bytes
    "Yaşlı balıkçı her sabah güneş doğmadan denize açılır ve akşam eve geç dönerdi, çok mutlu."
)


@pytest.fixture(scope="module")
def smollm2():
    path = os.environ.get("MMREC_SMOLLM2", "")
    if not os.path.isfile(path):
        pytest.skip("MMREC_SMOLLM2 names no file: python -m benchmarks.smollm2 FOLDER fetches it")
    pytest.importorskip("gguf", reason="needs the extra gguf: pip install '.[gguf]'")
    folder, name = os.path.split(path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(gguf_file=name, dequantize=True),
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    return read_model(path), theirs.eval(), tokenizer


@pytest.mark.parametrize(("text", "size"), [(_ENGLISH, 114), (_TURKISH, 104)])
def test_smollm2_reads_as_it_does_in_transformers(smollm2, text, size):
    trained, theirs, tokenizer = smollm2
    assert len(text.encode()) == size
    ids = trained.tokenizer.encode(text)
    assert ids.tolist() == tokenizer(text)["input_ids"]
    expected = _their_logits(theirs, ids[None])
    found = mmrec_jax.logits(trained.model.build(), trained.params, ids[None])
    _require_close(found, expected)
    nll = optax.softmax_cross_entropy_with_integer_labels(found[0, :-1], ids[1:]).mean()
    theirs_nll = torch.nn.functional.cross_entropy(
        torch.tensor(expected[0, :-1]), torch.tensor(ids[1:]).long()
    )
    assert abs(float(nll) - float(theirs_nll)) < 1e-4
    print(f"{size} bytes, {len(ids)} tokens: {float(nll):.3f} nats/token")


def test_smollm2_responds(smollm2):
    trained, theirs, tokenizer = smollm2
    question = "What is the capital of France?"
    (said,) = mmrec_jax.reply(
        trained.model.build(),
        trained.params,
        trained.tokenizer,
        question,
        sampling=Sampling(temperature=0),
        max_tokens=20,
    )
    assert said == "The capital of France is Paris."
    turns = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    ids = theirs.generate(**asked, max_new_tokens=20, do_sample=False)
    assert tokenizer.decode(ids[0, asked["input_ids"].shape[1] :], skip_special_tokens=True) == said


def test_smollm2_writes_the_same_with_the_cache_and_without(smollm2):
    trained, theirs, tokenizer = smollm2
    ids = np.array(tokenizer(_ENGLISH)["input_ids"])
    assert_same_greedy_text(theirs, trained.model.build(), trained.params, ids, 40)


def test_smollm2_is_exported_for_them(smollm2, tmp_path):
    trained, theirs, tokenizer = smollm2
    write_published(tmp_path / "out", trained.model, trained.params, trained.tokenizer)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = other(_TURKISH)["input_ids"]
    assert ids == tokenizer(_TURKISH)["input_ids"]
    np.testing.assert_array_equal(_their_logits(again, [ids]), _their_logits(theirs, [ids]))
    assert other.chat_template == tokenizer.chat_template
    assert open_model(tmp_path / "out").tokenizer.ends == (2,)
