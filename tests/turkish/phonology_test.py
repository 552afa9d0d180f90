import pytest

from mmrec_jax.turkish.phonology import RULES, apply_rules, realise
from tests.turkish.gold import gold_lines


@pytest.mark.parametrize("rule", [name for name in RULES if name != "vowel_change"])
def test_each_rule_agrees_with_its_gold_file(rule):
    rows = [line.split("\t") for line in gold_lines(f"phonology-{rule}.tsv")]
    pairs = [(row[1], row[2]) for row in rows if len(row) == 3]
    assert len(pairs) > 50
    wrong = [(x, y, apply_rules(x, [rule])) for x, y in pairs if apply_rules(x, [rule]) != y]
    assert not wrong


@pytest.mark.parametrize(
    ("lexical", "surface"),
    [
        ("sulfata+lAr", "sulfatalar"),
        ("kitap~+SH+NDA", "kitabında"),
        ("ağaç+YA", "ağaca"),
        ("koÇ+YA", "koça"),
        ("renk+SH", "rengi"),
        ("sa{t+lAr", "saatler"),
        ("g%l+SH", "golü"),
        ('haK"+SH', "hakkı"),
        ('cet~"+SH', "ceddi"),
        ("oğu?l+SH", "oğlu"),
        ("oğu?l+lAr", "oğullar"),
        ("su^+SH+NDAn", "suyundan"),
        ("gel+mA+Hyor", "gelmiyor"),
        ("söyle+Hyor", "söylüyor"),
        ("oku+Hyor", "okuyor"),
        ("yE+YAcAk", "yiyecek"),
        ("dE+Hyor", "diyor"),
        ("dE+DH", "dedi"),
        ("git~+DH", "gitti"),
        ("git~+YAcAk", "gidecek"),
        ("yozgat'+DA", "yozgat'ta"),
        ("bordeaux*ö*+DA", "bordeauxde"),
        ("ev+lHk+SH", "evliği"),
        ("ilga+DA+ki+lAr+NHn+mHş+CAsHnA+YsA", "ilgadakilerinmişçesineyse"),
        ("göz+CH", "gözcü"),
        ("taş+CH", "taşçı"),
        ("taş", "taş"),
    ],
)
def test_whole_words(lexical, surface):
    assert realise(lexical) == surface
