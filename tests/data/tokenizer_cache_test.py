import pytest

from mmrec_jax.config import TokenizerConfig
from mmrec_jax.data import tokenizer_cache
from mmrec_jax.data.tokenizer import INFO_FILE
from mmrec_jax.data.tokenizer_cache import build_tokenizer
from mmrec_jax.errors import UserError


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often a tokenizer is trained."""
    calls = []
    train = tokenizer_cache.train_sentencepiece

    def counted(*args):
        calls.append(args)
        return train(*args)

    monkeypatch.setattr(tokenizer_cache, "train_sentencepiece", counted)
    return calls


def build(texts, folder, kind="bpe", vocab_size=None, default=310):
    config = TokenizerConfig(kind=kind, vocab_size=vocab_size)
    return build_tokenizer(config, iter(texts), folder, default_vocab_size=default)


def test_second_build_loads(texts, tmp_path, trainings):
    first, second = build(texts, tmp_path), build(texts, tmp_path)
    assert len(trainings) == 1
    assert first.content == second.content


def test_other_text_kind_or_size_trains_anew(texts, tmp_path, trainings):
    build(texts, tmp_path)
    build([*texts, "yeni"], tmp_path)
    build([texts[0] + texts[1], *texts[2:]], tmp_path)
    build(texts, tmp_path, kind="unigram")
    assert build(texts, tmp_path, vocab_size=311).vocab_size == 311
    assert len(trainings) == 5
    build(texts, tmp_path)
    assert len(trainings) == 5


@pytest.mark.parametrize("damage", ["cut model", "no info", "no model"])
def test_half_written_entry_is_made_again(texts, tmp_path, trainings, damage):
    first = build(texts, tmp_path)
    (entry,) = tmp_path.iterdir()
    model = entry / "sentencepiece.model"
    if damage == "cut model":
        model.write_bytes(model.read_bytes()[:1000])
    else:
        (model if damage == "no model" else entry / INFO_FILE).unlink()
    assert build(texts, tmp_path).content == first.content
    assert len(trainings) == 2
    build(texts, tmp_path)
    assert len(trainings) == 2


def test_kill_while_saving_leaves_nothing_that_loads(texts, tmp_path, trainings, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(source, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", kill)
        with pytest.raises(Killed):
            build(texts, tmp_path)
    assert build(texts, tmp_path).vocab_size == 310
    assert len(trainings) == 2


def test_error_names_the_field_that_was_set(texts, tmp_path):
    with pytest.raises(UserError, match=r"^config\.tokenizer\.vocab_size is 9999; .* at most \d+$"):
        build(texts, tmp_path, vocab_size=9999)
    with pytest.raises(UserError, match=r"^config\.model\.vocab_size is 9998; .* at most \d+$"):
        build(texts, tmp_path, default=9998)


def test_byte_and_char_leave_the_folder_alone(texts, tmp_path):
    assert build(texts, tmp_path / "no", kind="byte").vocab_size == 258
    assert build(texts, tmp_path / "no", kind="char").decode([2]) == "\n"
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match="the training text is empty"):
        build(["", ""], tmp_path, kind="char")


def from_file(path):
    config = TokenizerConfig(kind="file", path=str(path))
    return build_tokenizer(config, [], "unused", default_vocab_size=10)


def test_files_are_read_by_suffix(all_tokenizers, hugging_face_json, tmp_path):
    (tmp_path / "a.model").write_bytes(all_tokenizers["bpe"].content)
    (tmp_path / "a.json").write_bytes(hugging_face_json)
    assert from_file(tmp_path / "a.model").fingerprint == all_tokenizers["bpe"].fingerprint
    assert from_file(tmp_path / "a.json").fingerprint == all_tokenizers["json file"].fingerprint


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.tokenizer\.path: .*gone\.model cannot be read"):
        from_file(tmp_path / "gone.model")
    for name in ("bad.model", "bad.json"):
        (tmp_path / name).write_text("x")
        with pytest.raises(UserError, match=rf"config\.tokenizer\.path: .*{name}: this is not a"):
            from_file(tmp_path / name)
