"""A small random model in a folder as `transformers` writes one."""

import json

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import tensors, to_hugging_face
from tests.tokenizers.small_base import write_base

ROWS = 304  # the tokenizer has 299 ids
GENERATION = {"eos_token_id": [298, 296], "bos_token_id": 297, "do_sample": True}
GENERATION |= {"temperature": 0.6, "top_k": 20, "top_p": 0.95}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}


def small_config(kind="qwen3", **fields):
    """One of the kinds of the family: `qwen3`, `qwen2`, `llama`."""
    switches = {"qk_norm": kind == "qwen3", "attention_bias": "qkv" if kind == "qwen2" else "none"}
    sizes = {"model_dim": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 4}
    sizes |= {"ffn_dim": 24, "vocab_size": ROWS, "max_length": 64}
    return TransformerConfig(**{**sizes, **switches, "tie_embeddings": False, **fields})


def _shape(config, path):
    c, hd = config, config.head_dim
    out = {"q": c.num_heads * hd, "k": c.num_kv_heads * hd, "v": c.num_kv_heads * hd}
    out |= {"o": c.model_dim, "gate": c.ffn_dim, "up": c.ffn_dim, "down": c.model_dim}
    into = {"o": c.num_heads * hd, "down": c.ffn_dim}
    name, leaf = path.split("/")[-2:]
    if leaf == "embedding":
        return c.vocab_size, c.model_dim
    if leaf == "kernel":
        return out[name], into.get(name, c.model_dim)
    return (out.get(name, hd if name in ("q_norm", "k_norm") else c.model_dim),)


def random_tensors(config, dtype="float32", seed=0):
    """Every tensor of the model by the name of `transformers`; its norms are no ones."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, tensor in tensors(config).items():
        shape = _shape(config, tensor.path)
        numbers = rng.normal(size=shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.2)
        made[name] = (numbers + tensor.path.endswith("scale")).astype(DTYPES[dtype])
    return made


def write_folder(folder, config=None, dtype="float32", shards=1, made=None, described=()):
    """Writes it and returns its tensors; `described` are fields of config.json to change."""
    config = config or small_config()
    made = random_tensors(config, dtype) if made is None else made
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder)
    ends = {"eos_token": "<|im_end|>", "bos_token": None, "pad_token": "<|endoftext|>"}
    _write(folder / "tokenizer_config.json", {**ends, "chat_template": CHATML})
    _write(folder / "generation_config.json", GENERATION)
    content = {**to_hugging_face(config), "torch_dtype": dtype, "eos_token_id": 298}
    _write(folder / "config.json", content | dict(described))
    if shards == 1:
        save_file(made, folder / "model.safetensors", {"format": "pt"})
        return made
    files = {
        name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(made)
    }
    for file in set(files.values()):
        part = {name: made[name] for name in made if files[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    total = sum(array.nbytes for array in made.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    _write(folder / "model.safetensors.index.json", index)
    return made


def _write(path, content):
    path.write_text(json.dumps(content), "utf-8")
