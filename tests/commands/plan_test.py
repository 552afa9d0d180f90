import json

import jax
import pytest

from mmrec_jax import cli
from mmrec_jax.commands import plan
from mmrec_jax.plan import program, target
from mmrec_jax.plan.target import Target
from tests.refused import mistake
from tests.small_run import CONFIG_FILE, LINEAR, ROOT, flags


def run(capsys, *arguments):
    """Exit status and standard output of `mmrec plan` for the small run."""
    small = flags(**LINEAR, train__dashboard=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", f"--config={CONFIG_FILE}", *arguments, *small])
    return ended.value.code, capsys.readouterr().out


@pytest.fixture
def here(monkeypatch):
    """Devices of this machine, whose memory can be set, in place of any target."""
    memory = {"bytes": 2**30}
    monkeypatch.setattr(
        target, "find_target", lambda *_: Target(tuple(jax.devices()[:2]), memory["bytes"])
    )
    return memory


def _fake_compiler(monkeypatch, *sizes):
    fake = program.Program(*(size * 2**20 for size in sizes), {}, 1.0)
    monkeypatch.setattr(program, "compile_program", lambda lowered: fake)


def test_a_run_that_fits_and_one_that_does_not(here, capsys, monkeypatch):
    _fake_compiler(monkeypatch, 2, 1, 1)
    status, said = run(capsys, "--target=any")
    assert status == 0
    assert "fits: 0% of the 1.00 GiB of each cpu" in said
    here["bytes"] = 1000
    status, said = run(capsys, "--target=any", "--config.model.time_chunk=16")
    assert status == 1
    assert "does not fit" in said
    assert "to make it fit: lower config.train.batch_size (8)" in said
    assert "config.model.time_chunk (16)" in said


def test_json_has_everything(here, capsys):
    status, said = run(capsys, "--target=any", "--json", "--config.optim.name=sophia_g")
    found = json.loads(said)
    assert status == 0
    step, refresh = found["programs"].values()
    assert found["bytes_per_device"] == max(step["total"], refresh["total"])
    assert refresh["total"] != step["total"] == step["arguments"] + step["temporaries"]
    assert found["fits"]
    assert found["memory_per_device"] == 2**30
    assert found["devices"] == 2
    assert step["collectives"]["all-reduce"][0] > 0
    assert found["versions"]["jax"] == jax.__version__


def test_a_gpu_of_which_jax_takes_a_part_alone(here, capsys, monkeypatch):
    _fake_compiler(monkeypatch, 800, 500, 300)
    monkeypatch.setattr(Target, "platform", "gpu")
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in run(capsys, "--target=any")[1]


def test_mistakes_are_one_line(capsys):
    tiny = f"--config={ROOT}/configs/tiny.py"
    assert "no such file" in mistake(capsys, "plan", "--config=no.py", "--target=v5e:2x4")
    assert "v5e:2x4" in mistake(capsys, "plan", tiny, "--target=v7")
    assert plan.__doc__


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("v5e:2x4", "libtpu", "plan-tpu"), ("cuda:rtx4070", "jax_plugins.xla_cuda12", "plan-cuda")],
)
def test_size_small_is_compiled_for_devices_that_are_not_here(capsys, name, module, extra):
    pytest.importorskip(module, reason=f"needs the extra {extra}")
    size = ("vocab_size=20000", "model_dim=512", "num_layers=8", "num_memories=8")
    fields = (*(f"--config.model.{field}" for field in size), "--config.data.seq_len=512")
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                "plan",
                f"--config={ROOT}/configs/tiny.py",
                f"--target={name}",
                "--json",
                "--config.mesh.fsdp=-1",
                "--config.mesh.data=1",
                "--config.train.batch_size=8",
                *fields,
            ]
        )
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    (step,) = found["programs"].values()
    parameters = 45e6
    assert 12 * parameters < step["arguments"] * found["devices"] < 13 * 49e6
    assert step["temporaries"] > 0
