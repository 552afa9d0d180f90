"""Writes the pages of the Python interface: the modules that code outside the package may use."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_PACKAGE = Path(__file__).resolve().parents[2] / "mmrec_jax"
# Page, title, modules; behind a colon those of a module's names that are meant, if not all are.
_PAGES = (
    (
        "use",
        "Use a model",
        "checkpoints.load:load,open_model,read_model "
        "checkpoints.saved_model:SavedModel,TrainedModel "
        "inference.generate:generate,stream inference.sampling:Sampling inference.chat:reply "
        "inference.prefill:logits,prefill,TextState inference.saved_state:save_state,load_state",
    ),
    ("config", "Config", "config config_file config_tree settings stages registry errors"),
    (
        "models",
        "Models",
        "models.api models.family_config models.linen models.registry models.noise",
    ),
    (
        "training",
        "Training",
        "train.loop objectives.api objectives.config objectives.registry optim.build optim.sophia "
        "optim.hessian",
    ),
    ("adapters", "Adapters", "dora.adapter dora.rules dora.transform dora.adapted_model"),
    (
        "text",
        "Text and tokens",
        "data.dataset data.document data.kinds.config data.kinds.registry data.files.reading "
        "tokenizers.tokenizer tokenizers.cache tokenizers.conversation tokenizers.chat_template",
    ),
    ("evaluation", "Evaluation", "evaluation.registry evaluation.perplexity evaluation.length"),
    ("turkish", "Turkish", "turkish.harmony turkish.segmenter turkish.scores"),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds an overview and a page for each part of the interface."""
    overview = ["# Python\n", _docstring("__init__"), "\n| Module | What is in it |\n|---|---|"]
    for name, title, modules in _PAGES:
        page = [f"# {title}\n"]
        for listed in modules.split():
            module, _, names = listed.partition(":")
            told = _docstring(module)
            members = f", members: [{names}]" if names else ""
            page += [f"\n## `mmrec_jax.{module}`\n\n::: mmrec_jax.{module}"]
            page += [f"    options: {{heading_level: 3{members}}}"]
            first = told.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            overview.append(f"| [`mmrec_jax.{module}`]({name}.md) | {first} |")
        files.append(File.generated(config, f"api/{name}.md", content="\n".join(page)))
    files.append(File.generated(config, "api/index.md", content="\n".join(overview)))
    return files


def _docstring(module: str) -> str:
    """The docstring of a module, its examples as blocks of code, without an import."""
    path = _PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    paragraphs = text.split("\n\n")
    return "\n\n".join(f"```python\n{x}\n```" if _is_code(x) else x for x in paragraphs)


def _is_code(paragraph: str) -> bool:
    try:
        return not isinstance(ast.parse(paragraph).body[0], ast.Expr) or "(" in paragraph
    except (SyntaxError, IndexError):
        return False
