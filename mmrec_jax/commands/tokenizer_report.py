"""`mmrec tokenizer report`: what a tokenizer is worth beside another."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.tokenizers.encoder import Encoder


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec tokenizer`."""
    parser = commands.add_parser(
        "report",
        help="measure a tokenizer on texts",
        description="Tokens per word, bytes and characters per token, the tokens saved against a "
        "base and the most that could be, sentences whose ids change, tokens that no text gives, "
        "pieces against gold morphology and vowel harmony. Writes report.json, .md and .png.",
    )
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json or sentencepiece .model")
    parser.add_argument("--base", required=True, help="the one to compare with, of either kind")
    parser.add_argument(
        "--text",
        required=True,
        help="comma-separated paths or globs of text, JSON lines or .conllu, each a row",
    )
    parser.add_argument("--field", default="text", help="field of a JSON line")
    parser.add_argument("--gold", metavar="FILE", help="CoNLL-U split into inflectional groups")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the Markdown and writes the three files.

    Raises:
      UserError: a file is wrong, or the folder cannot be written.
    """
    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.data.formats.paths import find_files
    from mmrec_jax.tokenizers.boundary_score import score_boundaries
    from mmrec_jax.tokenizers.encoder import Encoder
    from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
    from mmrec_jax.tokenizers.report_card import ReportCard
    from mmrec_jax.tokenizers.report_picture import draw_tokens_per_word
    from mmrec_jax.tokenizers.text_pieces import text_pieces
    from mmrec_jax.tokenizers.text_score import score_text

    encoder = Encoder(Path(options.tokenizer), "--tokenizer")
    base = Encoder(Path(options.base), "--base")
    files = find_files(options.text, "--text")
    gold = read_gold_boundaries(Path(options.gold)) if options.gold else {}
    out = Path(options.out)
    new, unreachable = _new_tokens(encoder, base)
    card = ReportCard(
        tokenizer=encoder.name,
        base=base.name,
        vocabulary=encoder.tokenizer.vocab_size,
        new_tokens=new,
        unreachable=unreachable,
        texts=[
            score_text(path.name, text_pieces(path, options.field), encoder, base) for path in files
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


def _new_tokens(encoder: "Encoder", base: "Encoder") -> tuple[int | None, list[str] | None]:
    """How many tokens the base lacks, and which of them no text gives."""
    from mmrec_jax.tokenizers.reachability import unreachable_tokens

    mine, others = encoder.byte_level_tokens(), base.byte_level_tokens()
    if mine is None or others is None:
        return None, None
    library, tokens = mine
    old = set(others[1].values())
    new = {index: token for index, token in tokens.items() if token not in old}
    return len(new), [tokens[index] for index in unreachable_tokens(library, new)]
