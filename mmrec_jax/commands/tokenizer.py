"""`mmrec tokenizer`: extend a byte-level BPE by a language, measure it, extend its embeddings."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError

_INPUT = "model.embed_tokens.weight"
_OUTPUT = "lm_head.weight"


def add_parser(commands: Any) -> None:
    """Adds the group to the subcommands of `mmrec`."""
    group = commands.add_parser("tokenizer", help="extend an existing tokenizer by a language")
    subcommands = group.add_subparsers(required=True, metavar="command")
    _add_extend(subcommands)
    _add_report(subcommands)
    _add_init_embeddings(subcommands)


def _add_extend(commands: Any) -> None:
    parser = commands.add_parser(
        "extend",
        help="add tokens of a language, learned from text",
        description="Continued BPE: learns merges on top of those of a byte-level BPE "
        "tokenizer.json (Qwen3's, say), and superwords, which reach across spaces. The old tokens "
        "keep their ids. Killed at any moment, the same command continues.",
    )
    add = parser.add_argument
    add("--base", required=True, help="the tokenizer.json to extend")
    add("--text", required=True, help="comma-separated paths or globs")
    add("--field", default="text", help="field of a JSON line")
    add("--vocab-size", type=int, required=True, help="new tokens in all")
    add("--superwords", type=int, default=0, help="how many reach across spaces")
    add(
        "--balance",
        type=float,
        default=1.0,
        help="count every file as its size to this power: 1 every word the same, 0 every file",
    )
    add(
        "--protect",
        metavar="FILES",
        help="text that must keep its ids, such as English and code; the Python manual of the "
        "standard library when left out, nothing when empty",
    )
    add(
        "--morph-aware",
        action="store_true",
        help="prefer tokens that begin and end where the morphemes of Turkish words do",
    )
    add(
        "--gold",
        metavar="FILE",
        help="with --morph-aware: the boundaries of this CoNLL-U file, split into inflectional "
        "groups, instead of the segmenter's",
    )
    add("--out", required=True, help="the folder to write")
    add("--fresh", action="store_true", help="begin anew if something is there")
    parser.set_defaults(run=_extend)


def _extend(options: argparse.Namespace) -> None:
    """Writes the tokenizer; does nothing if it is there already."""
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.tokenizers.bpe_file import BpeFile
    from mmrec_jax.tokenizers.checkpoint import Checkpoint
    from mmrec_jax.tokenizers.extension import (
        ExtensionPlan,
        finished,
        learn_extension,
        write_extension,
    )

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
    checkpoint = Checkpoint(out / "learning", record, options.fresh)
    with _progress_bars() as report:
        vocabulary = learn_extension(plan, checkpoint, report)
    write_extension(out, vocabulary, record)
    checkpoint.remove()
    print(
        f"{out}: {vocabulary.new_tokens:,} new tokens, {plan.superwords:,} of them superwords; "
        f"ids {plan.base.next_id:,} to {plan.base.next_id + vocabulary.new_tokens - 1:,}"
    )


def _protected(pattern: str | None, field: str) -> list[str]:
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.data.manual import manual_documents
    from mmrec_jax.tokenizers.text import text_chunks

    if pattern is None:
        return [document.text for document in manual_documents()]
    files = find_files(pattern, "--protect") if pattern else []
    return [chunk for path in files for chunk in text_chunks(path, field)]


def _boundaries(options: argparse.Namespace) -> Any:
    """Where the morphemes of a word begin (`morphemes.Boundaries`), None without --morph-aware."""
    from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
    from mmrec_jax.turkish.segmenter import segment

    if not options.morph_aware:
        return None
    if not options.gold:
        return lambda word: segment(word).boundaries()
    gold = read_gold_boundaries(Path(options.gold))
    return lambda word: gold.get(word, frozenset())


def _record(options: argparse.Namespace, plan: Any) -> dict[str, Any]:
    """All that determines the result; of the segmenter, its code and what its lexicon is from."""
    import hashlib

    from mmrec_jax import turkish
    from mmrec_jax.data.treebank import treebank_version
    from mmrec_jax.tokenizers.extension import text_sha256

    morphemes = None
    if options.morph_aware and options.gold:
        morphemes = text_sha256([Path(options.gold)])
    elif options.morph_aware:
        sources = sorted(Path(turkish.__path__[0]).glob("*.py"))
        morphemes = f"segmenter {text_sha256(sources)}, {treebank_version()}"
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
        "morphemes": morphemes,
    }


@contextlib.contextmanager
def _progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per stage, with the time that is left."""
    import tqdm

    bars: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm.tqdm(
                desc=stage, total=total, initial=done, unit_scale=True, file=sys.stderr
            )
        bars[stage].update(done - bars[stage].n)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="measure a tokenizer on texts",
        description="Tokens per word, bytes and characters per token, the tokens saved against a "
        "base and the most that could be, sentences whose ids change, tokens that no text gives, "
        "tokens against gold morphology and vowel harmony. Writes report.json, .md and .png.",
    )
    add = parser.add_argument
    add("--tokenizer", required=True, help="tokenizer.json or sentencepiece .model")
    add("--base", required=True, help="the one to compare with, of either kind")
    add(
        "--text",
        required=True,
        help="comma-separated paths or globs of text, JSON lines or .conllu, each a row",
    )
    add("--field", default="text", help="field of a JSON line")
    add("--gold", metavar="FILE", help="CoNLL-U split into inflectional groups")
    add("--out", required=True, help="the folder to write")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    """Prints the Markdown and writes the three files."""
    import json

    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
    from mmrec_jax.tokenizers.reachability import unreachable_tokens
    from mmrec_jax.tokenizers.report import (
        Encoder,
        ReportCard,
        draw_tokens_per_word,
        score_boundaries,
        score_text,
    )
    from mmrec_jax.tokenizers.text import text_chunks

    encoder = Encoder(Path(options.tokenizer), "--tokenizer")
    base = Encoder(Path(options.base), "--base")
    files = find_files(options.text, "--text")
    gold = read_gold_boundaries(Path(options.gold)) if options.gold else {}
    out = Path(options.out)
    new, unreachable = None, None
    if (mine := encoder.byte_level_tokens()) and (others := base.byte_level_tokens()):
        library, tokens = mine
        old = set(others[1].values())
        new = {index: token for index, token in tokens.items() if token not in old}
        unreachable = [new[index] for index in unreachable_tokens(library, new)]
    card = ReportCard(
        tokenizer=encoder.name,
        base=base.name,
        vocabulary=encoder.tokenizer.vocab_size,
        new_tokens=None if new is None else len(new),
        unreachable=unreachable,
        texts=[
            score_text(path.name, text_chunks(path, options.field), encoder, base) for path in files
        ],
        boundaries={
            name: score_boundaries(each, gold)
            for name, each in (("tokenizer", encoder), ("base", base))
            if gold
        },
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "report.json", (json.dumps(card.record(), indent=1) + "\n").encode())
        replace_file(out / "report.md", card.markdown().encode())
        draw_tokens_per_word(card.texts, encoder.name, out / "report.png")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report: {error.strerror}") from None
    print(card.markdown(), end="")
    print(f"\n{out}: report.json, report.md, report.png")


def _add_init_embeddings(commands: Any) -> None:
    parser = commands.add_parser(
        "init-embeddings",
        help="embedding rows for the new tokens",
        description="Reads a safetensors file with the matrices of the base tokenizer, one row per "
        "token, and writes one with those of the extended tokenizer. The rows of the old tokens "
        "keep their bits; other tensors are copied.",
    )
    add = parser.add_argument
    add("--base", required=True, help="tokenizer.json of the matrices")
    add("--tokenizer", required=True, help="the extended tokenizer.json")
    add("--weights", required=True, help="safetensors file to read")
    add("--out", required=True, help="safetensors file to write")
    add(
        "--matrices",
        help=f"comma-separated names of the input and output matrices; {_INPUT} and, if there is "
        f"one, {_OUTPUT} when left out",
    )
    add(
        "--method",
        default="mean",
        choices=("mean", "weighted", "average"),  # `embeddings.Method`
        help="mean of the rows of the old tokens that a new one is made of; the same weighted by "
        "their bytes; the average of all old tokens",
    )
    add("--noise", type=float, default=0.0, help="as a share of the spread of the old rows")
    add("--multiple", type=int, default=128, help="pad the rows to a multiple")
    add("--seed", type=int, default=0, help="of the noise")
    parser.set_defaults(run=_init_embeddings)


def _init_embeddings(options: argparse.Namespace) -> None:
    """Writes the extended matrices."""
    require_positive(options, "multiple")
    if not 0 <= options.noise < float("inf"):
        raise UserError(f"--noise is {options.noise}; it must be at least 0 and finite")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be at least 0")
    from safetensors.numpy import save

    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.data.seeds import hashed_seed
    from mmrec_jax.tokenizers.bpe_file import BpeFile, unspell
    from mmrec_jax.tokenizers.embeddings import constituents, extend_rows

    base = BpeFile.read(Path(options.base))
    parts = constituents(base, BpeFile.read(Path(options.tokenizer)))
    lengths = {index: len(unspell(token)) for token, index in base.vocab.items()}
    tensors, metadata = _read(options.weights)
    for name in _names(options, tensors):
        matrix = tensors[name]
        if matrix.ndim != 2 or matrix.dtype.kind not in "fV" or len(matrix) < base.next_id:
            raise UserError(
                f"{options.weights}: {name} is {matrix.dtype} {list(matrix.shape)}; the matrix of "
                f"this tokenizer has floating-point numbers and at least {base.next_id} rows"
            )
        tensors[name] = extend_rows(
            matrix,
            base.next_id,
            parts,
            lengths,
            options.method,
            options.noise,
            options.multiple,
            hashed_seed("embedding noise", name, options.seed),
        )
        print(f"{name}: {list(matrix.shape)} -> {list(tensors[name].shape)} {matrix.dtype}")
    try:
        replace_file(Path(options.out), save(tensors, metadata))
    except OSError as error:
        raise UserError(f"{options.out}: cannot be written: {error.strerror}") from None


def _names(options: argparse.Namespace, tensors: dict[str, Any]) -> list[str]:
    if options.matrices is None:
        names = [_INPUT, *([_OUTPUT] if _OUTPUT in tensors else [])]
    else:
        names = [name.strip() for name in options.matrices.split(",")]
    for name in names:
        if name not in tensors:
            raise UserError(
                f"{options.weights}: there is no tensor {name}; --matrices names those to extend, "
                f"of: {', '.join(sorted(tensors)[:8])}"
            )
    return names


def _read(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    import jax.numpy  # noqa: F401  (brings bfloat16 to numpy)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            return tensors, content.metadata() or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: this is not a safetensors file: {error}") from None
