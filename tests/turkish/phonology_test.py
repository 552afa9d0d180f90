import unicodedata

import pytest

from benchmarks.segmenter import misspelt, rule_pairs
from mmrec_jax.turkish.phonology import RULES, realise
from tests.turkish.gold import gold_file


@pytest.mark.parametrize("rule", [name for name in RULES if name != "vowel_change"])
def test_each_rule_agrees_with_its_gold_file(rule):
    named, pairs = rule_pairs(gold_file(f"phonology-{rule}.tsv"))
    assert named == rule
    assert len(pairs) > 50
    assert not misspelt(rule, pairs)


_WORDS = """
sulfata+lAr sulfatalar kitap~+SH+NDA kitabında ağaç+YA ağaca koÇ+YA koça renk+SH rengi
sa{t+lAr saatler g%l+SH golü haK"+SH hakkı cet~"+SH ceddi oğu?l+SH oğlu oğu?l+lAr oğullar
su^+SH+NDAn suyundan gel+mA+Hyor gelmiyor söyle+Hyor söylüyor oku+Hyor okuyor
yE+YAcAk yiyecek dE+Hyor diyor dE+DH dedi git~+DH gitti git~+YAcAk gidecek
yozgat'+DA yozgat'ta bordeaux*ö*+DA bordeauxde ev+lHk+SH evliği göz+CH gözcü taş+CH taşçı
zonguldak'+SH zonguldak'ı haK"'+SH hak'ı oğu?l'+SH oğul'u su^'+SH su'su
ilga+DA+ki+lAr+NHn+mHş+CAsHnA+YsA ilgadakilerinmişçesineyse taş taş
"""


@pytest.mark.parametrize(
    ("lexical", "surface"), list(zip(_WORDS.split()[::2], _WORDS.split()[1::2], strict=True))
)
def test_whole_words(lexical, surface):
    assert realise(lexical) == realise(unicodedata.normalize("NFD", lexical)) == surface
