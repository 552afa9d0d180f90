"""What an adaptation has found so far, as the report has it."""

import hashlib
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.adapt.record import Record, fingerprint
from mmrec_jax.adapt.runs import ALIGNED, TRAINING, Rates
from mmrec_jax.adapt.text import LANGUAGES
from mmrec_jax.train.writer import read_metrics

_MODELS = {
    "base": "the base as it is",
    "initialised": "with the first rows of the new tokens, nothing trained",
    "aligned": "after the rows of the new tokens alone were trained",
    "trained": "after the stages of training",
    "control": "the base without new tokens, trained on as many bytes of the same text",
    "instructed": "after the prompts and responses",
}
_POINTS = 100  # of a curve


def summarise(
    config: AdaptConfig, root: Path, record: Record, names: Sequence[str], command: str
) -> dict[str, Any]:
    """The report of the stages `names`, as far as they have been run; see `write_report`."""
    results = record.results(names)
    models = _models(results)
    learns = config.base.rstrip("/").rpartition("/")[2] or "A small decoder"
    return {
        "title": f"{learns} learns Turkish",
        "base": config.base or "trained here on the built-in English manual",
        "command": command,
        "mmrec_jax": importlib.metadata.version("mmrec_jax"),
        "seed": config.seed,
        "finished": all(name in results for name in names),
        "headline": _headline(models, results),
        "tokenizer": _tokenizer(results),
        "models": models,
        "curves": _curves(results, root, config.english_share),
        "samples": [
            {name: each[name] for name in ("prompt", "base", "adapted")}
            for each in results.get("evaluate", {}).get("samples", ())
        ],
        "stages": [
            {
                "name": name,
                "seconds": each.seconds,
                "peak_bytes": each.peak_device_bytes or each.peak_bytes,
                "tokens": _tokens(each.result),
                "fingerprint": fingerprint(each.inputs),
                "sessions": each.sessions,
            }
            for name, each in record.stages.items()
            if name in names
        ],
        "files": _files(root),
    }


def _models(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = results.get("evaluate", {}).get("models") or results.get("initialise", {})
    return [
        {
            "name": name,
            "is": words,
            **{language: found[name][language]["bits_per_byte"] for language in LANGUAGES},
            "turkish_tokens": found[name]["turkish"]["tokens"],
            "tokens_per_second": found[name]["tokens_per_second"],
            "seconds_per_megabyte": found[name]["seconds_per_megabyte"],
            "scores": found[name].get("scores"),
        }
        for name, words in _MODELS.items()
        if name in found
    ]


def _headline(
    models: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    by_name = {each["name"]: each for each in models}
    found: list[dict[str, Any]] = []
    if "extend" in results:
        score = results["extend"]["scores"]["turkish"]
        found.append(
            {
                "name": "Tokens per Turkish word",
                "value": score["tokens_a_word"],
                "before": score["base_tokens_a_word"],
                "unit": "tokens/word",
                "definition": "of held-out text; words are what stands between white space",
            }
        )
    if "trained" in by_name:
        for language in LANGUAGES:
            found.append(
                {
                    "name": f"Bits per byte, {language.capitalize()}",
                    "value": by_name["trained"][language],
                    "before": by_name["base"][language],
                    "unit": "bits/byte",
                    "definition": "of held-out text after the stages of training, end tokens "
                    "included; a change of tokenizer does not change what a byte is",
                }
            )
    if "control" in by_name:
        found.append(
            {
                "name": "The same without new tokens, Turkish",
                "value": by_name["control"]["turkish"],
                "before": by_name["base"]["turkish"],
                "unit": "bits/byte",
                "definition": "the base's own tokens, trained on as many bytes of the same text",
            }
        )
    return found


def _tokenizer(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    after = results.get("extend")
    scores = (after or results.get("analyse", {})).get("scores", {})
    texts = [
        {
            "name": language.capitalize(),
            "bytes": score["bytes"],
            "words": score["words"],
            "before": _counts(score, "base_"),
            "after": _counts(score, ""),
        }
        for language, score in scores.items()
    ]
    return {"new_tokens": after["new_tokens"] if after else 0, "texts": texts}


def _counts(score: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    tokens = score[f"{prefix}tokens"]
    shares = score[f"{prefix}words_by_tokens"]
    return {
        "tokens": tokens,
        "tokens_per_word": score[f"{prefix}tokens_a_word"],
        "bytes_per_token": score["bytes"] / tokens,
        "words_by_tokens": {str(number): share for number, share in shares.items()},
    }


def _curves(
    results: Mapping[str, Mapping[str, Any]], root: Path, share: float
) -> list[dict[str, Any]]:
    """The training loss in bits/byte, over the tokens of all stages."""
    stage = "extend" if "extend" in results else "analyse"
    rate = Rates(**results[stage]["tokens_per_byte"]).mixed(share) if stage in results else 0.0
    curves, before = [], 0
    for stage in (each for each in (ALIGNED, *TRAINING) if each in results):
        found = results[stage]
        lines = [x for x in read_metrics(root / stage / "metrics.jsonl") if x["split"] == "train"]
        scale = found["tokens"] / max(found["steps"], 1)
        points = [
            [before + line["step"] * scale, line["loss"] / math.log(2) * rate]
            for line in lines[:: max(1, len(lines) // _POINTS)]
        ]
        before += found["tokens"]
        curves.append({"stage": stage, "points": points})
    return curves


def _tokens(result: Mapping[str, Any]) -> int | None:
    """That a stage of training read, in all its runs."""
    runs = [result, *(each for each in result.values() if isinstance(each, Mapping))]
    found = [each["tokens"] for each in runs if "steps" in each]
    return sum(found) if found else None


def _files(root: Path) -> dict[str, str]:
    """sha256 (hex) of what was made."""
    found = {}
    for pattern in ("extend/tokenizer.json", "export/model/*", "export/adapters/*"):
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                with open(path, "rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256")
                found[str(path.relative_to(root))] = digest.hexdigest()
    return found
