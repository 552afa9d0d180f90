"""`mmrec tokenizer`: extend a byte-level BPE by a language, measure it, extend its embeddings."""

import argparse
from pathlib import Path
from typing import Any

from mmrec_jax.commands.options import (
    add_shard_option,
    make_out,
    require_positive,
    shard_bytes,
)
from mmrec_jax.errors import UserError

_INPUT = "model.embed_tokens.weight"
_OUTPUT = "lm_head.weight"
_OR_MODEL = "or a pretrained model's folder or Hub id"


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
        "keep their ids.",
    )
    add = parser.add_argument
    add("--base", required=True, help=f"the tokenizer.json to extend, {_OR_MODEL}")
    add("--text", required=True, help="comma-separated paths or globs")
    add("--field", default="text", help="field of a JSON line")
    add("--vocab-size", type=int, required=True, help="new tokens in all")
    add("--superwords", type=int, default=0, help="how many reach across spaces")
    add(
        "--balance",
        type=float,
        help="count every file as its size to this power: 1 every word the same, 0 every file; "
        "when left out, a word as the share of its file's words that occur there once",
    )
    add(
        "--protect",
        metavar="FILES",
        help="text that must keep its ids; English and code, whatever the text, when left out, "
        "nothing when empty",
    )
    add(
        "--morph-aware",
        action="store_true",
        help="prefer tokens that begin and end where the morphemes of Turkish words do",
    )
    add("--out", required=True, help="the folder to write")
    add("--fresh", action="store_true", help="replace another tokenizer that is there")
    parser.set_defaults(run=_extend)


def _extend(options: argparse.Namespace) -> None:
    """Writes the tokenizer; does nothing if it is there already."""
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.pretrained.published import tokenizer_file
    from mmrec_jax.tokenizers import extension
    from mmrec_jax.tokenizers.bpe_file import BpeFile

    boundaries, morphemes = _boundaries() if options.morph_aware else (None, None)
    plan = extension.ExtensionPlan(
        base=BpeFile.read(tokenizer_file(options.base)),
        files=find_files(options.text, "--text"),
        field=options.field,
        vocab_size=options.vocab_size,
        superwords=options.superwords,
        balance=options.balance,
        protection=_protection(options.protect, options.field),
        boundaries=boundaries,
        morphemes=morphemes,
    )
    record, out = plan.record(), make_out(options, Path())
    if not options.fresh and extension.finished(out, record):
        print(f"{out}: this tokenizer is there already; --fresh makes it again")
        return
    with extension.progress_bars() as report:
        vocabulary = extension.learn_extension(plan, report)
    extension.write_extension(out, vocabulary, record)
    print(
        f"{out}: {vocabulary.new_tokens:,} new tokens, {plan.superwords:,} of them superwords; "
        f"from {len(plan.files)} files; "
        f"ids {plan.base.next_id:,} to {plan.base.next_id + vocabulary.new_tokens - 1:,}"
    )


def _protection(pattern: str | None, field: str) -> Any:
    """The `Protection` that is asked for."""
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.tokenizers.protection import Protection, protect_english
    from mmrec_jax.tokenizers.text import text_chunks

    if pattern is None:
        return protect_english()
    files = find_files(pattern, "--protect") if pattern else []
    return Protection([chunk for path in files for chunk in text_chunks(path, field)])


def _boundaries() -> tuple[Any, str]:
    """Where the morphemes of a word begin, and what says so: `ExtensionPlan.boundaries`."""
    from mmrec_jax import turkish
    from mmrec_jax.data.treebank import treebank_version
    from mmrec_jax.tokenizers.extension import text_sha256
    from mmrec_jax.turkish.segmenter import segment

    # Of the segmenter, its code and what its lexicon is from.
    sources = sorted(Path(turkish.__path__[0]).glob("*.py"))
    made_from = f"segmenter {text_sha256(sources)}, {treebank_version()}"
    return lambda word: segment(word).boundaries(), made_from


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="measure a tokenizer on texts",
        description="Tokens per word, bytes and characters per token, the tokens saved against a "
        "base and the most that could be, sentences whose ids change, tokens that no text gives, "
        "tokens against gold morphology and vowel harmony. Writes report.json, report.md and "
        "report.png, how many tokens the words are.",
    )
    add = parser.add_argument
    add("--tokenizer", required=True, help=f"tokenizer.json or sentencepiece .model, {_OR_MODEL}")
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


_SHARES = {"tokenizer": "words_by_tokens", "base": "base_words_by_tokens"}


def _report(options: argparse.Namespace) -> None:
    """Prints the Markdown and writes the files."""
    from mmrec_jax.curves import Panel, draw_panels
    from mmrec_jax.data.files.paths import find_files
    from mmrec_jax.pretrained.published import tokenizer_file
    from mmrec_jax.tokenizers.cache import read_tokenizer_file
    from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
    from mmrec_jax.tokenizers.report import make_report, markdown, write_report
    from mmrec_jax.tokenizers.text import text_chunks

    paths = {name: tokenizer_file(getattr(options, name)) for name in ("tokenizer", "base")}
    tokenizer, base = (read_tokenizer_file(path, f"--{name}") for name, path in paths.items())
    files = find_files(options.text, "--text")
    gold = read_gold_boundaries(Path(options.gold)) if options.gold else {}
    texts = {path: text_chunks(path, options.field) for path in files}
    out = make_out(options, Path())
    names = {name: str(path) for name, path in paths.items()}
    report = names | make_report(tokenizer, base, texts, gold)
    write_report(out, report)
    panels = [
        Panel(
            f"{text['name']}: tokens of a word",
            "share of the words",
            {
                label: (list(text[shares]), list(text[shares].values()), None)
                for label, shares in _SHARES.items()
            },
            octaves=False,
            share=True,
        )
        for text in report["texts"]
    ]
    draw_panels(panels, names["tokenizer"], out / "report.png")
    print(markdown(report), end="")
    print(f"\n{out}: report.json, report.md, report.png")


def _add_init_embeddings(commands: Any) -> None:
    parser = commands.add_parser(
        "init-embeddings",
        help="embedding rows for the new tokens",
        description="Reads safetensors with the matrices of the base tokenizer, one row per token, "
        "and writes a file with those of the extended tokenizer. The rows of the old tokens keep "
        "their bits; other tensors are copied.",
    )
    add = parser.add_argument
    add("--base", required=True, help=f"tokenizer.json of the matrices, {_OR_MODEL}")
    add("--tokenizer", required=True, help="the extended tokenizer.json")
    add("--weights", required=True, help="safetensors file, or *.index.json of several, to read")
    add("--out", required=True, help="safetensors file to write")
    add(
        "--matrices",
        help=f"comma-separated names of the input and output matrices; {_INPUT} and, if there is "
        f"one, {_OUTPUT} when left out",
    )
    add(
        "--method",
        default="mean",
        choices=("mean", "average"),  # `embeddings.Method`
        help="mean of the rows of the old tokens that a new one is made of; average of all old "
        "tokens",
    )
    add("--multiple", type=int, default=128, help="pad the rows to a multiple")
    add_shard_option(parser)
    parser.set_defaults(run=_init_embeddings)


def _init_embeddings(options: argparse.Namespace) -> None:
    """Writes the extended matrices beside what is copied, tensor by tensor."""
    require_positive(options, "multiple")
    size = shard_bytes(options)
    import numpy as np

    from mmrec_jax.pretrained.published import tokenizer_file
    from mmrec_jax.pretrained.shards import FLOATS, LazyTensor, open_tensors, write_shards
    from mmrec_jax.tokenizers.bpe_file import BpeFile
    from mmrec_jax.tokenizers.embeddings import constituents, first_rows

    base = BpeFile.read(tokenizer_file(options.base))
    parts = constituents(base, BpeFile.read(tokenizer_file(options.tokenizer)))
    used = base.next_id
    new = -(-(used + len(parts)) // options.multiple) * options.multiple - used
    tensors = open_tensors(Path(options.weights))
    names = [_INPUT, *([_OUTPUT] if _OUTPUT in tensors else [])]
    if options.matrices is not None:
        names = [name.strip() for name in options.matrices.split(",")]

    def extended(old: LazyTensor) -> LazyTensor:
        def read() -> Any:
            matrix = old.read(0, used)
            rows = first_rows(matrix.__getitem__, used, parts, options.method, new, old.dtype)
            return np.concatenate([matrix, rows])

        return LazyTensor((used + new, old.shape[1]), old.dtype, read)

    for name in names:
        if name not in tensors:
            raise UserError(
                f"{options.weights}: there is no tensor {name}; --matrices names those to extend, "
                f"of: {', '.join(sorted(tensors)[:8])}"
            )
        old = tensors[name]
        if old.dtype not in FLOATS or len(old.shape) != 2 or old.shape[0] < used:
            raise UserError(
                f"{options.weights}: {name} is {old.dtype} {list(old.shape)}; the matrix of this "
                f"tokenizer is in 16, 32 or 64 bits and has at least {used} rows"
            )
        tensors[name] = extended(old)
        print(f"{name}: {list(old.shape)} -> {list(tensors[name].shape)} {old.dtype}")
    print(f"{options.out}: {', '.join(write_shards(Path(options.out), tensors, size))}")
