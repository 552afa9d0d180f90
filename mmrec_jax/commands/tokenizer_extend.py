"""`mmrec tokenizer extend`: more tokens for a byte-level BPE, learned from text."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec tokenizer`."""
    parser = commands.add_parser(
        "extend",
        help="add tokens of a language, learned from text",
        description="Continued BPE: learns merges on top of those of a byte-level BPE "
        "tokenizer.json (Qwen3's, say), and superwords, which reach across spaces. The old tokens "
        "keep their ids. Killed at any moment, the same command continues.",
    )
    parser.add_argument("--base", required=True, help="the tokenizer.json to extend")
    parser.add_argument("--text", required=True, help="comma-separated paths or globs")
    parser.add_argument("--field", default="text", help="field of a JSON line")
    parser.add_argument("--vocab-size", type=int, required=True, help="new tokens in all")
    parser.add_argument("--superwords", type=int, default=0, help="how many reach across spaces")
    parser.add_argument(
        "--balance",
        type=float,
        default=1.0,
        help="count every file as its size to this power: 1 every word the same, 0 every file",
    )
    parser.add_argument(
        "--protect",
        metavar="FILES",
        help="text that must keep its ids, such as English and code; the Python manual of the "
        "standard library when left out, nothing when empty",
    )
    parser.add_argument(
        "--morph-aware",
        action="store_true",
        help="prefer pieces that begin and end where the morphemes of Turkish words do",
    )
    parser.add_argument(
        "--gold",
        metavar="FILE",
        help="with --morph-aware: the boundaries of this CoNLL-U file, split into inflectional "
        "groups, instead of the segmenter's",
    )
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--fresh", action="store_true", help="begin anew where something is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the tokenizer; does nothing where it is there already.

    Raises:
      UserError: an option or a file is wrong, or the text has too few pairs.
    """
    from mmrec_jax.data.formats.paths import find_files
    from mmrec_jax.tokenizers.bpe_file import BpeFile
    from mmrec_jax.tokenizers.extension import ExtensionPlan, learn_extension
    from mmrec_jax.tokenizers.extension_files import finished, write_extension
    from mmrec_jax.tokenizers.learning_state import LearningState

    if options.gold and not options.morph_aware:
        raise UserError("--gold is used with --morph-aware alone")
    plan = ExtensionPlan(
        base=BpeFile.read(Path(options.base)),
        files=find_files(options.text, "--text"),
        field=options.field,
        vocab_size=options.vocab_size,
        superwords=options.superwords,
        balance=options.balance,
        protected=_protected(options.protect, options.field),
        boundaries=_boundaries(options),
    )
    record = _record(options, plan)
    out = Path(options.out)
    if not options.fresh and finished(out, record):
        print(f"{out}: this tokenizer is there already; --fresh makes it again")
        return
    state = LearningState(out / "learning", record, options.fresh)
    with _Bars() as bars:
        vocabulary = learn_extension(plan, state, bars.report)
    write_extension(out, vocabulary, record)
    state.remove()
    print(
        f"{out}: {vocabulary.new_tokens:,} new tokens, {plan.superwords:,} of them superwords; "
        f"ids {plan.base.next_id:,} to {plan.base.next_id + vocabulary.new_tokens - 1:,}"
    )


def _protected(pattern: str | None, field: str) -> list[str]:
    if pattern is None:
        from mmrec_jax.data.manual import manual_documents

        return [document.text for document in manual_documents()]
    if not pattern:
        return []
    from mmrec_jax.data.formats.paths import find_files
    from mmrec_jax.tokenizers.text_pieces import text_pieces

    return [
        piece for path in find_files(pattern, "--protect") for piece in text_pieces(path, field)
    ]


def _boundaries(options: argparse.Namespace) -> Any:
    """Where the morphemes of a word begin (`morphemes.Boundaries`), None without --morph-aware."""
    if not options.morph_aware:
        return None
    if not options.gold:
        from mmrec_jax.turkish.segmenter import segment

        return lambda word: segment(word).boundaries()
    from mmrec_jax.tokenizers.morphemes import read_gold_boundaries

    gold = read_gold_boundaries(Path(options.gold))
    return lambda word: gold.get(word, frozenset())


def _record(options: argparse.Namespace, plan: Any) -> dict[str, Any]:
    """All that determines the result."""
    import hashlib

    from mmrec_jax.tokenizers.extension import text_sha256

    protected = "\0".join(plan.protected).encode()
    return {
        "base_sha256": plan.base.sha256,
        "text": [path.name for path in plan.files],
        "text_sha256": text_sha256(plan.files),
        "field": plan.field,
        "vocab_size": plan.vocab_size,
        "superwords": plan.superwords,
        "balance": plan.balance,
        "protected_sha256": hashlib.sha256(protected).hexdigest(),
        "morphemes": _morphemes(options),
    }


def _morphemes(options: argparse.Namespace) -> str | None:
    """What says where morphemes begin: a file, or the segmenter and what its lexicon is from."""
    from mmrec_jax import turkish
    from mmrec_jax.data.treebank import treebank_version
    from mmrec_jax.tokenizers.extension import text_sha256

    if not options.morph_aware:
        return None
    if options.gold:
        return text_sha256([Path(options.gold)])
    folder = Path(turkish.__path__[0])
    sources = sorted([*folder.glob("*.py"), *folder.glob("*.csv")])
    return f"segmenter {text_sha256(sources)}, {treebank_version()}"


class _Bars:
    """One progress bar a stage, with the time that is left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, stage: str, done: int, total: int) -> None:
        """Shows that `done` of `total` is done."""
        import tqdm

        if stage != self._stage:
            self.__exit__()
            self._stage = stage
            self._bar = tqdm.tqdm(
                desc=stage, total=total, initial=done, unit_scale=True, file=sys.stderr
            )
        self._bar.update(done - self._bar.n)
