"""What an installed package holds: the built files are looked at, and soak trains from a wheel."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.small_run import ROOT, flags

hatchling = pytest.importorskip("hatchling.build")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel that is built from the files of the sdist, as package indices build it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("dist")
        patch.chdir(ROOT)
        source = folder / hatchling.build_sdist(str(folder))
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        patch.chdir(folder / source.name.removesuffix(".tar.gz"))
        return folder / hatchling.build_wheel(str(folder))


def _sources(*folders):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def test_the_wheel_holds_the_package_and_the_configs_and_nothing_else(built):
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the package is read from git")
    with zipfile.ZipFile(built) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"{'-'.join(built.name.split('-')[:2])}.dist-info/METADATA")
    configs = {f"mmrec_jax/{name}" for name in _sources("configs")}
    assert held == _sources("mmrec_jax") | configs
    assert "mmrec_jax/py.typed" in held
    assert b"Project-URL" not in metadata


def test_the_table_of_versions_begins_where_the_ranges_do():
    page = (ROOT / "docs" / "measured.md").read_text("utf-8").partition("## Versions")[2]
    table = re.findall(r"^\| ([a-z-]+)[^|]* \| ([\d.]+) \| [\d.]+ \|$", page, re.M)
    assert {name for name, _ in table} == {"jax", "flax", "optax", "orbax-checkpoint", "grain"}
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name, oldest in table:
        (low,) = (
            re.search(r">=([\d.]+)", each)[1] for each in ranges if each.startswith(f"{name}>=")
        )
        assert oldest == low or oldest == f"{low}.0"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_an_installed_package_trains_a_config_by_its_name_offline(built, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run([binaries / "pip", "install", "--quiet", built], check=True)
    nothing = {"PATH": str(binaries), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    small = flags(train__steps=2, train__sample_tokens=0, train__eval_batches=1)
    for command in (["mmrec", "--version"], ["mmrec", "train", "tiny", *small]):
        # Without a network, where the system lets a process go without one.
        alone = ["/usr/bin/unshare", "-rn"] if Path("/usr/bin/unshare").exists() else []
        works = alone and not subprocess.run([*alone, "true"], check=False).returncode
        subprocess.run([*(alone if works else []), *command], cwd=tmp_path, env=nothing, check=True)
    assert (tmp_path / "runs" / "tiny" / "loss.png").exists()
