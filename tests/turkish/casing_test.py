from mmrec_jax.turkish.casing import capitalise, lower, upper


def test_dotted_and_dotless_i_keep_their_dots():
    assert lower("DIŞ İŞLERİ IŞIK") == "dış işleri ışık"
    assert upper("dış işleri ığdır") == "DIŞ İŞLERİ IĞDIR"
    assert lower(upper("çağrı içinde")) == "çağrı içinde"


def test_a_capital_i_with_a_separate_dot_is_one_letter():
    assert lower("I\u0307stanbul") == "istanbul"
    assert len("İstanbul".lower()) == len(lower("İstanbul")) + 1  # what str.lower does


def test_only_the_first_letter_is_capitalised():
    assert capitalise("istanbul") == "İstanbul"
    assert capitalise("ılgaz DAĞI") == "Ilgaz DAĞI"
    assert capitalise("") == ""
