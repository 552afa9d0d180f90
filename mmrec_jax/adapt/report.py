"""What an adaptation gained and what it cost, as `report.json` and as a page, `report.html`.

The page needs nothing beside itself: no script, no font, no request. Each number that it shows is
in `report.json`, and its element says which: `value` of a <data>, `data-value` of a <text>.
"""

import importlib.metadata
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mmrec_jax.adapt.config import ALIGNED
from mmrec_jax.adapt.job import CONTROL, Job
from mmrec_jax.adapt.record import Record, fingerprint
from mmrec_jax.adapt.text import LANGUAGES
from mmrec_jax.atomic_file import replace_file
from mmrec_jax.checkpoints.checksums import file_sha256
from mmrec_jax.errors import UserError
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import named_leaves

_TEMPLATE = Path(__file__).with_name("report.html")
_MOST = 8  # tokens of a word that the picture has a row for; words of more are in the last
_POINTS = 100  # of a curve
_FILES = "extend/tokenizer.json", "export/model/*", "export/adapters/*"
_MODELS = {
    "base": "the base as it is",
    "initialised": "with the first rows of the new tokens, nothing trained",
    "aligned": "after the rows of the new tokens alone were trained",
    "trained": "after the stages of training",
    CONTROL: "the base without new tokens, trained on as many bytes of the same text",
    "instructed": "after the prompts and responses",
}
# How numbers look, by their kind. The spaces before units do not break.
_FORMATS: dict[str, Callable[[float], str]] = {
    "plain": lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}",
    "count": "{:,.0f}".format,
    "two": "{:,.2f}".format,
    "bits": "{:.3f}".format,
    "share": lambda value: f"{100 * value:.1f}\xa0%",
    "change": lambda value: f"{100 * value:+,.1f}\xa0%",
    "bytes": lambda value: f"{value / 2**30:,.2f}\xa0GiB",
    "seconds": lambda value: f"{value / 60:,.1f}\xa0min",
}


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Writes `report.json`, then `report.html`, each whole or not at all.

    Args:
      report: as of `summarise`. Any part but the title may be empty, any number absent, and the
        page is without it then.
      folder: has to exist.

    Raises:
      UserError: a number is not finite, or a file cannot be written.
    """
    for name, leaf in named_leaves(report).items():
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise UserError(f"report: {name} is {leaf}: a stage diverged; lower its learning rate")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = lambda value, kind: _FORMATS[kind](value).replace("-", "−")
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    page = template.render(report).encode("utf-8", "replace")
    # Half a surrogate pair, which a model may write, is no UTF-8; in JSON it has an escape.
    text = json.dumps(report, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    replace_file(folder / "report.json", text)
    replace_file(folder / "report.html", page)


def summarise(job: Job, record: Record, names: Sequence[str], command: str) -> dict[str, Any]:
    """The report of the stages `names`, as far as they have been run, as plain JSON.

    Args:
      job: the adaptation with what its stages have found.
      record: when they ran.
      names: of all its stages.
      command: what was typed.
    """
    base, results = job.config.base, job.results
    known = Path(base).name if Path(base).exists() else base  # a path says nothing elsewhere
    learned = results.get("extend", results.get("analyse", {}))
    stages = [
        {
            "name": name,
            "seconds": each.seconds,
            "peak_bytes": each.peak_device_bytes or each.peak_bytes,
            "tokens": each.result.get("tokens"),
            "fingerprint": fingerprint(each.inputs),
            "sessions": each.sessions,
        }
        for name, each in record.stages.items()
        if name in names
    ]
    return {
        "title": f"{known.rpartition('/')[2] or 'A small decoder'} learns Turkish",
        "base": known or "trained here on the built-in English manual",
        "command": command,
        "mmrec_jax": importlib.metadata.version("mmrec_jax"),
        "seed": job.config.seed,
        "finished": all(name in results for name in names),
        "tokenizer": {
            "new_tokens": learned.get("new_tokens", 0),
            "texts": [
                {
                    **score,
                    "shares": _folded(score["words_by_tokens"]),
                    "base_shares": _folded(score["base_words_by_tokens"]),
                }
                for score in learned.get("scores", {}).values()
            ],
        },
        "models": _models(results),
        "curves": _curves(job),
        "samples": results.get("evaluate", {}).get("samples", []),
        "stages": stages,
        "total_seconds": sum(each["seconds"] for each in stages),
        "files": _files(job.root),
    }


def _models(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was measured of each, and relative changes from the base."""
    found = results.get("evaluate", {}).get("models") or results.get("initialise", {})
    models: list[dict[str, Any]] = []
    for name, words in _MODELS.items():
        if name not in found:
            continue
        turkish, speed = found[name]["turkish"], found[name]["tokens_per_second"]
        compared = {language: found[name][language]["bits_per_byte"] for language in LANGUAGES}
        compared["turkish_tokens"] = turkish["tokens"]
        changes = {}
        if models:
            changes = {f"{key}_change": x / models[0][key] - 1 for key, x in compared.items()}
        facts = {
            "tokens_per_second": speed,
            "seconds_per_megabyte": turkish["tokens"] / turkish["bytes"] * 1e6 / speed,
            "scores": found[name].get("scores"),
        }
        models.append({"name": name, "is": words, **compared, **changes, **facts})
    return models


def _folded(shares: Mapping[Any, float]) -> dict[str, float]:
    """Shares of words by their tokens, those of many together."""
    folded = {str(number): 0.0 for number in range(1, _MOST)} | {f"{_MOST}+": 0.0}
    for number, share in shares.items():
        folded[str(number) if int(number) < _MOST else f"{_MOST}+"] += share
    return folded


def _curves(job: Job) -> list[dict[str, Any]]:
    """The training loss in bits/byte, over the tokens of all stages."""
    curves, before = [], 0
    for stage in (each for each in (ALIGNED, *job.config.training) if each in job.results):
        found, rate = job.results[stage], sum(job.weights(extended=job.config.extends))
        metrics = read_metrics(job.folder(stage) / "metrics.jsonl")
        lines = [line for line in metrics if line["split"] == "train"]
        scale = found["tokens"] / max(found["steps"], 1)
        points = [
            [before + line["step"] * scale, line["loss"] / math.log(2) * rate]
            for line in lines[:: max(1, len(lines) // _POINTS)]
        ]
        before += found["tokens"]
        curves.append({"stage": stage, "points": points})
    return curves


def _files(root: Path) -> dict[str, str]:
    """sha256 (hex) of what was made."""
    paths = (path for pattern in _FILES for path in sorted(root.glob(pattern)))
    return {str(path.relative_to(root)): file_sha256(path) for path in paths if path.is_file()}
