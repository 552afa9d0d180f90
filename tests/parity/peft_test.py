"""DoRA and LoRA beside those of `peft`, on the same weights and inputs (extra `parity`)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mmrec_jax import dora

torch = pytest.importorskip("torch", reason="needs the extra parity: pip install '.[parity]'")
peft = pytest.importorskip("peft", reason="needs the extra parity: pip install '.[parity]'")

_IN, _OUT, _ROWS = 80, 72, 50
_NAMES = {"a": "lora_A", "b": "lora_B", "m": "lora_magnitude_vector"}


class _One(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(_OUT, use_bias=False, name="dense")(x)


class _Twin(torch.nn.Module):
    """One linear layer, named like the kernel `dense/kernel`."""

    def __init__(self, w):
        super().__init__()
        self.dense = torch.nn.Linear(_IN, _OUT, bias=False, dtype=w.dtype)
        self.dense.weight.data = w.T.contiguous()

    def forward(self, x):
        return self.dense(x)


def _theirs(w, rank, alpha, **fields):
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["dense"], **fields)
    torch.manual_seed(0)
    return peft.get_peft_model(_Twin(torch.tensor(w)), config)


def _numbers(rng, rank, dtype):
    """Weights, input, weights of the loss, and moved adapters."""
    shapes = {"w": (_IN, _OUT), "x": (_ROWS, _IN), "g": (_ROWS, _OUT), "a": (_IN, rank)}
    shapes |= {"b": (rank, _OUT), "m": (1, _OUT)}
    drawn = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    scales = {"w": _IN**-0.5, "a": _IN**-0.5, "b": 0.1, "g": 1 / _ROWS}
    drawn |= {name: drawn[name] * dtype(scale) for name, scale in scales.items()}
    return drawn | {"m": 1 + dtype(0.1) * np.abs(drawn["m"])}


def _put(theirs, numbers):
    for name, leaf in theirs.named_parameters():
        for ours, part in _NAMES.items():
            if part in name:
                leaf.data = torch.tensor(np.ascontiguousarray(numbers[ours].T)).reshape(leaf.shape)


def _taken(theirs, of):
    """The parameters or gradients of their adapters in our layout."""
    taken = {}
    for name, leaf in theirs.named_parameters():
        for ours, part in _NAMES.items():
            if part in name:
                value = np.atleast_2d(of(leaf).numpy())
                taken[ours] = value if ours == "m" else value.T
    return taken


def _ours(numbers, rank, alpha, kind):
    params = {"dense": {"kernel": jnp.asarray(numbers["w"])}}
    start = dora.init(jax.random.key(0), params, [dora.AdapterRule("dense", rank, alpha, kind)])
    node = start["dense"]["kernel"]
    leaves = {name: jnp.asarray(numbers[name]) for name in "abm"}
    leaves["m"] = leaves["m"] if node.m is not None else None
    return params, {"dense": {"kernel": node.replace(**leaves)}}


def _loss(params, x, g, path):
    def loss(adapters):
        if path == "apply":
            y = x @ dora.apply(params, adapters)["dense"]["kernel"]
        else:
            with dora.intercept(params, adapters) as variables:
                y = _One().apply(variables, x)
        return jnp.sum(g * jnp.sin(y)), y

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.parametrize("path", ["apply", "intercept"])
@pytest.mark.parametrize(
    ("rank", "kind"), [(1, "dora"), (8, "dora"), (64, "dora"), (8, "lora"), (8, "rslora")]
)
def test_outputs_and_gradients_are_those_of_peft(rng, rank, kind, path):
    numbers = _numbers(rng, rank, np.float32)
    fields = {"use_dora": kind == "dora", "use_rslora": kind == "rslora"}
    theirs = _theirs(numbers["w"], rank, 12, **fields)
    _put(theirs, numbers)
    y = theirs(torch.tensor(numbers["x"]))
    torch.sum(torch.tensor(numbers["g"]) * torch.sin(y)).backward()

    params, adapters = _ours(numbers, rank, 12.0, kind)
    (_, ours), gradients = _loss(params, numbers["x"], numbers["g"], path)(adapters)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=0, atol=1e-5)
    expected = _taken(theirs, lambda leaf: leaf.grad)
    assert expected.keys() == ({"a", "b", "m"} if kind == "dora" else {"a", "b"})
    for name, gradient in expected.items():
        actual = getattr(gradients["dense"]["kernel"], name)
        np.testing.assert_allclose(actual, gradient, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_ten_steps_of_adamw_are_those_of_peft(rng, x64, rank):
    numbers = _numbers(rng, rank, np.float64)
    numbers["b"] = 0 * numbers["b"]  # both begin where they begin: B = 0 and m the norm
    numbers["m"] = np.linalg.norm(numbers["w"], axis=0, keepdims=True)
    theirs = _theirs(numbers["w"], rank, 12, use_dora=True).double()
    _put(theirs, numbers)
    rates = {"lr": 1e-2, "eps": 1e-8, "weight_decay": 0.1}
    optimizer = torch.optim.AdamW(
        [p for p in theirs.parameters() if p.requires_grad], betas=(0.9, 0.95), **rates
    )
    for _ in range(10):
        optimizer.zero_grad()
        y = theirs(torch.tensor(numbers["x"]))
        torch.sum(torch.tensor(numbers["g"]) * torch.sin(y)).backward()
        optimizer.step()

    params, adapters = _ours(numbers, rank, 12.0, "dora")
    adamw = optax.adamw(rates["lr"], b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1)
    gradient = _loss(params, numbers["x"], numbers["g"], "apply")
    state = adamw.init(adapters)

    @jax.jit
    def step(adapters, state):
        updates, state = adamw.update(gradient(adapters)[1], state, adapters)
        return optax.apply_updates(adapters, updates), state

    for _ in range(10):
        adapters, state = step(adapters, state)
    node = adapters["dense"]["kernel"]
    assert node.a.dtype == jnp.float64
    for name, expected in _taken(theirs, lambda leaf: leaf.detach()).items():
        np.testing.assert_allclose(getattr(node, name), expected, rtol=0, atol=1e-8, err_msg=name)
    assert np.max(np.abs(np.asarray(node.a) - numbers["a"])) > 0.01


@pytest.mark.parametrize("use_dora", [True, False])
def test_their_files_are_read_and_ours_are_read_by_them(rng, tmp_path, use_dora):
    numbers = _numbers(rng, 8, np.float32)
    theirs = _theirs(numbers["w"], 8, 12, use_dora=use_dora, use_rslora=True)
    _put(theirs, numbers)
    theirs.save_pretrained(tmp_path / "theirs")
    params = {"dense": {"kernel": jnp.asarray(numbers["w"])}}
    adapters = dora.read_peft(tmp_path / "theirs", params)
    x = torch.tensor(numbers["x"])
    expected = theirs(x).detach().numpy()
    ours = numbers["x"] @ np.asarray(dora.apply(params, adapters)["dense"]["kernel"])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)

    dora.write_peft(tmp_path / "ours", adapters)
    again = peft.PeftModel.from_pretrained(_Twin(torch.tensor(numbers["w"])), tmp_path / "ours")
    np.testing.assert_allclose(again(x).detach().numpy(), expected, rtol=0, atol=1e-5)
