import gzip
import json

from mmrec_jax.tokenizers import extension
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.learning_state import LearningState
from tests.tokenizers.small_base import small_base, turkish


def test_files_are_weighted_by_the_text_that_is_read(tmp_path):
    """The same sentences in four forms that differ in bytes on disk."""
    sentences = turkish(50).splitlines()
    text = "".join(sentences)
    rows = "1\tgöl" + "\t_" * 8 + "\n"
    forms = {
        "a.txt": text.encode(),
        "a.txt.gz": gzip.compress(text.encode()),
        "a.jsonl": "".join(json.dumps({"text": each}) + "\n" for each in sentences).encode(),
        "a.conllu": "".join(f"# text = {each}\n{rows * 9}\n" for each in sentences).encode(),
    }
    (tmp_path / "short.txt").write_text(text[: len(text) // 3], "utf-8")
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
    base = BpeFile.from_content(small_base(), "base.json")
    files = [*(tmp_path / name for name in forms), tmp_path / "short.txt"]
    plan = extension.ExtensionPlan(base, files, "text", 10, 0, 0.0, [], None)
    totals = []
    state = LearningState(tmp_path / "learning", {}, True)

    def remember(stage, done, total):
        if stage == "counting words":
            totals.append((done, total))

    extension.learn_extension(plan, state, remember)
    assert [weight for _, weight in plan.weighted_files(plan.text_sizes())] == [10, 10, 10, 10, 30]
    size, short = len(text.encode()), (tmp_path / "short.txt").stat().st_size
    assert totals[-1] == (4 * size + short, 4 * size + short)
