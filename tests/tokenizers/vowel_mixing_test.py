import json

from mmrec_jax.tokenizers.encoder import Encoder
from mmrec_jax.tokenizers.vowel_mixing import mixed_share


def test_words_are_judged_piece_by_piece_and_word_by_word(tmp_path):
    pieces = ["evler", "kitap", "İKİ", "ıI", " bir oda", "e", "xyz", "evlar", "<|endoftext|>"]
    settings = {
        "model": {
            "type": "WordLevel",
            "vocab": {piece: index for index, piece in enumerate(pieces)},
            "unk_token": "xyz",
        },
        "added_tokens": [],
        "pre_tokenizer": None,
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(settings), "utf-8")
    encoder = Encoder(path, "--tokenizer")
    # Two vowels in one word: evler, kitap (mixed), İKİ, ıI, " bir oda" (of "oda"), evlar (mixed).
    assert mixed_share(encoder, dict.fromkeys(range(8), 1)) == 2 / 6
    assert mixed_share(encoder, {0: 3, 7: 1, 5: 100}) == 1 / 4
    assert mixed_share(encoder, {5: 2, 6: 1}) is None
