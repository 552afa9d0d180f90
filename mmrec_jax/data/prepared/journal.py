"""`journal.json`: how far a preparation has come, so that it can be continued."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.prepared.manifest import JOURNAL
from mmrec_jax.data.prepared.settings import flag
from mmrec_jax.data.prepared.tally import KEPT
from mmrec_jax.errors import UserError

Place = tuple[int, int, int]  # source, file in it, chunk in that


@dataclasses.dataclass
class Journal:
    """What was written by the end of a step: one shard of each split.

    Attributes:
      identity: all that decides the bytes: the settings, the tokenizer, the sources.
      place: the chunk with which the next step begins.
      steps: how many were completed.
      shards: of each split the entries that `ShardWriter.close` made.
      skipped: how many records could not be read, and the files that list them.
      keys: the files of the duplicates' keys, and their sha256.
      tallies: `SourceTally.record` of each source.
      lowest_share: the lowest `hash_share` of a document that was kept.
    """

    identity: dict[str, Any]
    place: Place = (0, 0, 0)
    steps: int = 0
    shards: dict[str, list[dict[str, Any]]] = dataclasses.field(
        default_factory=lambda: {split: [] for split in KEPT}
    )
    skipped: dict[str, Any] = dataclasses.field(default_factory=lambda: {"records": 0, "files": []})
    keys: list[dict[str, str]] = dataclasses.field(default_factory=list)
    tallies: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lowest_share: float = 1.0

    def write(self, folder: Path) -> None:
        """Writes it, in one step.

        Raises:
          OSError: it cannot be written.
        """
        record = json.dumps(dataclasses.asdict(self)) + "\n"
        replace_file(folder / JOURNAL, record.encode())

    @property
    def files(self) -> set[str]:
        """The names of the files that belong to the completed steps."""
        entries = [entry for split in self.shards.values() for entry in split]
        names = {entry[f"{kind}_file"] for entry in entries for kind in ("tokens", "documents")}
        return names | {entry["file"] for entry in self.keys} | set(self.skipped["files"])


def read_journal(folder: Path) -> Journal | None:
    """The journal of a folder; None: it has none.

    Raises:
      UserError: it is damaged.
    """
    path = folder / JOURNAL
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_bytes())
        record["place"] = tuple(record["place"])
        return Journal(**record)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: this file is damaged; --fresh begins anew") from None


def check_identity(saved: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuses to go on with something else.

    Raises:
      UserError: names what differs.
    """
    differing = []
    for name in now:
        if saved.get(name) == now[name]:
            continue
        if name == "sources":
            changed = _changed_sources(saved.get(name, []), now[name])
            differing.append(f"--source: {changed}")
        elif name == "tokenizer":
            differing.append("--tokenizer is another tokenizer")
        else:
            differing.append(f"{flag(name)} (there {saved.get(name)}, now {now[name]})")
    if differing:
        raise UserError(
            f"{folder} holds another preparation: {'; '.join(differing)}; give the same options "
            "as for it, another --out, or --fresh to begin anew"
        )


def _changed_sources(saved: list[list[str]], now: list[list[str]]) -> str:
    if len(saved) != len(now):
        return f"{len(now)} sources, there were {len(saved)}"
    differing = []
    for (old_name, was), (name, is_) in zip(saved, now, strict=True):
        if name != old_name:
            differing.append(f"{name} (there {old_name})")
        elif is_ != was:
            differing.append(f"the names or sizes of the files of {name} have changed")
    return ", ".join(differing)
