"""What far context is worth to an architecture of `transformers`: trained on texts, then read on.

    python -m benchmarks.peer_length --model xlstm --run RUN --train 'TRAIN/*.txt' \
        --texts 'A.txt' 'LAW*.txt'

RUN is a run of `train.py`, whose tokenizer, number of parameters, width and depth the model gets.
It takes --steps of --rows rows of --length tokens in a random order, with AdamW and a cosine from
--lr to a tenth of it. Each of --texts is read in up to four excerpts of 32,768 tokens: with the
state carried, and reset every 256 and 1,024 tokens; the losses are of the same tokens, in nats, and
what resets cost has its standard error over excerpts. One thread; needs torch, transformers, JAX.
"""

import argparse
import dataclasses
import glob
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import mmrec_jax
from benchmarks.markdown import header, row
from benchmarks.peers.catalogue import PEERS, random_model
from benchmarks.peers.published import Peer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import count

_LENGTH, _EXCERPTS = 32_768, 4
_RESETS = (256, 1024)
_BORDERS = (256, 1024, 4096, 16_384, _LENGTH)
_WARMUP, _LOWEST = 50, 0.1  # steps; share of the learning rate at the end


def main() -> None:
    """Trains, reads on, prints Markdown."""
    options = _options()
    torch.set_num_threads(1)
    model, params, tokenizer = mmrec_jax.load(options.run)
    fields = dataclasses.asdict(model.config)
    shape = {name: fields[name] for name in ("vocab_size", "model_dim", "num_layers")}
    shape |= {"num_heads": options.heads, "parameters": count(params)}
    facts, peer, peer_model = random_model(options.model, shape)
    print(facts, flush=True)
    files = sorted(glob.glob(options.train))
    ids = np.concatenate([_tokens(tokenizer, name) for name in files])
    _train(peer, peer_model.train(), torch.from_numpy(ids).long(), options)
    names = ["text", "tokens of context", "loss", *(f"reset every {n:,}" for n in _RESETS)]
    print("\n".join(header(names)))
    for pattern in options.texts:
        excerpts = _excerpts([_tokens(tokenizer, name) for name in sorted(glob.glob(pattern))])
        for line in _table(peer, peer_model.eval(), excerpts):
            print(row([Path(pattern).stem, *line]), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=PEERS, default="xlstm")
    add("--run", type=Path, required=True)
    add("--train", required=True, help="a glob; a file is a document")
    add(
        "--texts",
        nargs="+",
        required=True,
        help="globs of held-out files",
    )
    add("--steps", type=int, default=1200)
    add("--rows", type=int, default=2)
    add("--length", type=int, default=2048)
    add("--heads", type=int, default=4)
    add("--lr", type=float, default=3e-3)
    return parser.parse_args()


def _tokens(tokenizer: Tokenizer, name: str) -> NDArray[np.int32]:
    ids = tokenizer.encode(Path(name).read_text("utf-8"))
    return np.array([tokenizer.bos_id, *ids, tokenizer.eos_id], np.int32)


def _excerpts(documents: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
    """The longest, each with one token more than is predicted."""
    parts = [ids[at : at + _LENGTH + 1] for ids in documents for at in range(0, len(ids), _LENGTH)]
    return sorted(parts, key=len, reverse=True)[:_EXCERPTS]


def _train(peer: Peer, model: Any, ids: torch.Tensor, options: argparse.Namespace) -> None:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    scales = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=options.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    choose = np.random.default_rng(0)
    order: list[int] = []
    begin, losses = time.perf_counter(), []
    for step in range(options.steps):
        done = max(0, step - _WARMUP) / (options.steps - _WARMUP)
        share = _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min((step + 1) / _WARMUP, 1) * share
        if len(order) < options.rows:
            order = (choose.permutation((len(ids) - 1) // options.length) * options.length).tolist()
        rows = torch.stack([ids[at : at + options.length + 1] for at in order[: options.rows]])
        order = order[options.rows :]
        optimizer.zero_grad(set_to_none=True)
        logits = peer.logits(model, rows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 19:
            rate = (step + 1) * rows[:, 1:].numel() / (time.perf_counter() - begin)
            print(f"step {step + 1}: {np.mean(losses[-20:]):.4f}, {rate:,.0f} tokens/s", flush=True)


@torch.no_grad()
def _losses(peer: Peer, model: Any, ids: NDArray[np.int32], reset: int) -> NDArray[np.float32]:
    """Of each token in nats; 0: the state is carried."""
    tokens, found = torch.from_numpy(ids).long()[None], []
    cache, step = peer.new_cache(model), reset or max(_RESETS)
    for at in range(0, len(ids) - 1, step):
        targets = tokens[0, at + 1 : at + 1 + step]
        read = tokens[:, at : at + len(targets)]
        logits = peer.logits(model, read) if reset else peer.read(model, read, cache, at)
        found.append(functional.cross_entropy(logits[0], targets, reduction="none").numpy())
    return np.concatenate(found)


def _table(peer: Peer, model: Any, excerpts: Sequence[NDArray[np.int32]]) -> list[list[str]]:
    read = {
        reset: [_losses(peer, model, ids, reset) for ids in excerpts] for reset in (0, *_RESETS)
    }
    lines, pairs = [], [*zip((0, *_BORDERS), _BORDERS, strict=False), (_BORDERS[1], _LENGTH)]
    for first, last in pairs:
        means = {
            reset: np.array([x[first:last].mean() for x in losses])
            for reset, losses in read.items()
        }
        gains = [means[reset] - means[0] for reset in _RESETS]
        errors = [gain.std(ddof=1) / math.sqrt(len(gain)) for gain in gains]
        told = [f"{g.mean():+.4f} ({e:.4f})" for g, e in zip(gains, errors, strict=True)]
        lines.append([f"{first + 1:,}-{last:,}", f"{means[0].mean():.4f}", *told])
    return lines


if __name__ == "__main__":
    main()
