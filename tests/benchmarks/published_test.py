"""The peers from `transformers`: of the size asked for, trainable, and decoding what they are."""

import dataclasses
import os

import pytest

torch = pytest.importorskip("torch", reason="the peers need torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytest.importorskip("transformers", reason="the peers need transformers")

from benchmarks.peers import recurrent_gemma  # noqa: E402
from benchmarks.peers.catalogue import PEERS, random_model  # noqa: E402
from benchmarks.peers.published import Shape, count_parameters  # noqa: E402

SMALL = Shape(vocab_size=1000, model_dim=128, num_layers=4, num_heads=4, parameters=0)
FULL = Shape(vocab_size=1000, model_dim=128, num_layers=4, num_heads=4, parameters=1_397_008)
CONTEXT, DRAWN = 70, 6  # past a chunk of xLSTM's and of Qwen3-Next's, and no multiple of one
WINDOW = 16
each_peer = pytest.mark.parametrize("name", PEERS)


def small(name):
    """A peer and a small model of it, whose attention windows are shorter than the context."""
    torch.manual_seed(0)
    peer = PEERS[name]
    if name == "recurrent-gemma":
        model = recurrent_gemma._build(SMALL, 48, window=WINDOW)
    else:
        model = peer.build(SMALL, 48 if peer.searched == "ffn_dim" else 64)
    return peer, model.eval()


def moved(model):
    """Away from the special start: gates that are closed there let nothing be remembered."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, parameter in model.named_parameters():
            if "igate" in name:
                parameter += 8.0
    return model


@each_peer
def test_the_parameters_are_as_many_within_5_percent(name):
    facts, _, model = random_model(name, dataclasses.asdict(FULL))
    assert facts["parameters"] == count_parameters(model)
    assert facts["parameters"] == pytest.approx(FULL.parameters, rel=0.05)


@each_peer
def test_decoding_gives_the_logits_of_the_whole_text(name, rng):
    peer, model = small(name)
    moved(model)
    tokens = torch.from_numpy(rng.integers(0, SMALL.vocab_size, (1, CONTEXT + DRAWN)))
    with torch.no_grad():
        whole = peer.logits(model, tokens)[0, CONTEXT - 1 :]
        for _ in range(2):  # the second time nothing of the first is left
            cache = peer.new_cache(model)
            parts = [peer.read(model, tokens[:, :CONTEXT], cache, 0)[0, -1]]
            for position in range(CONTEXT, CONTEXT + DRAWN):
                token = tokens[:, position : position + 1]
                parts.append(peer.read(model, token, cache, position)[0, -1])
            torch.testing.assert_close(torch.stack(parts), whole, rtol=0, atol=2e-4)
        forgetful = peer.logits(model, tokens[:, -1:])[0, -1]
    assert (forgetful - whole[-1]).abs().max() > 0.05


@each_peer
def test_the_state_holds_the_bytes_that_its_shapes_say(name, rng):
    peer, model = small(name)
    heads, channels, width, layers = SMALL.num_heads, SMALL.head_dim, SMALL.model_dim, 4
    expected = {
        "qwen3": layers * 2 * CONTEXT * (heads // 2) * channels,
        # Three recurrent layers with a convolution over 4 tokens, one of attention with one head.
        "recurrent-gemma": 3 * (width + 3 * width) + 2 * (WINDOW - 1) * channels,
        # Inner width 128, 64 columns, a convolution over 4 tokens of the inner width, B and C.
        "mamba2": layers * (128 * 64 + 4 * (128 + 2 * 64)),
        # Three layers with the delta rule, half as many keys as values; one of attention.
        "qwen3-next": 3 * (width * channels + 4 * 2 * width) + 2 * CONTEXT * channels,
        "xlstm": layers * heads * (channels // 2 * channels + channels // 2 + 1),
    }
    tokens = torch.from_numpy(rng.integers(0, SMALL.vocab_size, (1, CONTEXT)))
    with torch.no_grad():
        cache = peer.new_cache(model)
        peer.read(model, tokens, cache, 0)
    assert peer.state_bytes(model, cache) == 4 * expected[name]
