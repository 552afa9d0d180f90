import pytest

from mmrec_jax.data.instructions import treebank_pairs as module
from mmrec_jax.data.instructions.treebank_pairs import treebank_pairs
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.errors import UserError


@pytest.fixture(scope="module")
def pairs():
    return treebank_pairs()


@pytest.fixture(scope="module")
def by_name(pairs):
    return {each.name: [message.text for message in each.messages] for _, each in pairs}


def test_each_sentence_is_in_one_task_at_most(pairs, by_name):
    assert len(by_name) == len(pairs) == 4725
    kinds = [prompt.split()[1] for prompt, _ in by_name.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "sözcüklerin": 1566,
        "cümlenin": 1582,
        "cümleyi": 1577,
    }
    assert [each.name for _, each in pairs] == sorted(by_name)


def test_halves_join_to_a_sentence_and_predicates_stand_in_theirs(pairs):
    texts = {document.name: document.text.split("\n") for document in treebank_documents()}
    for document, pair in pairs:
        prompt, response = (message.text for message in pair.messages)
        if prompt.startswith("Bu cümleyi tamamla: "):
            assert f"{prompt.removeprefix('Bu cümleyi tamamla: ')} {response}" in texts[document]
        elif prompt.startswith("Bu cümlenin yüklemi hangi sözcük? "):
            sentence = prompt.removeprefix("Bu cümlenin yüklemi hangi sözcük? ")
            assert sentence in texts[document]
            assert response in sentence


def test_roots_are_those_of_the_annotation(by_name):
    """Read from the files by eye."""
    prefix = "Bu sözcüklerin köklerini yaz: "
    roots = {prompt.removeprefix(prefix): response for prompt, response in by_name.values()}
    assert roots["korkmaya, başladım"] == "kork, başla"
    assert roots["şirketine, yılında, edildi"] == "şirket, yıl, et"
    assert roots["yılında, baterist, gruptan, ayrılmıştır"] == "yıl, bateri, grup, ayır"


def test_documents_are_split_like_those_of_the_text(pairs):
    splits = [fixed_split(document) for document, _ in pairs]
    counts = {split: splits.count(split) for split in ("train", "validation", "test")}
    assert min(counts.values()) > 150
    assert {document for document, _ in pairs} <= {each.name for each in treebank_documents()}


def test_a_broken_row_is_named_by_its_line_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.conllu"
    sentence = "# sent_id = a:S1\n# text = Ev.\n1\tEv" + "\t_" * 8 + "\n\n"
    path.write_text(sentence * 2 + "# sent_id = a:S3\n1\tEv\n", "utf-8")
    monkeypatch.setattr(module, "treebank_file", lambda part: path)
    with pytest.raises(UserError, match=r"a\.conllu:10: 2 columns"):
        treebank_pairs()
