from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.annotated_word import annotated_words

# Made up in the scheme of the treebank: "Evdekiler kaldı." with a plural of the second group.
CONLLU = "\n".join(
    [
        "# text = Evdekileri önemli kaldı.",
        "1\tEvde\tev\tNOUN\tNN\tPersonNumber=A3sg|Possessive=Pnon|Case=Loc\t2\tig\t_\t_",
        "2\tkileri\t_\tNOUN\tNN\tDerivation=Rel|PersonNumber=A3pl|Possessive=Pnon|Case=Acc\t4\tdobj\t_\t_",
        "3\tönem\tönem\tNOUN\tNN\tPersonNumber=A3sg|Possessive=Pnon|Case=Bare\t4\tig\t_\t_",
        "4\tli\t_\tADJ\tJJ\tDerivation=With\t5\tamod\t_\t_",
        "5\tkaldı\tkal\tVERB\tVB\tPolarity=Pos|PersonNumber=V3sg\t0\troot\t_\t_",
        "6\t.\t.\tPUNCT\t.\t_\t5\tp\t_\t_",
        "",
    ]
)


def test_groups_are_joined_to_words():
    house, weighty, stayed = annotated_words(CONLLU, "made_up.conllu")
    assert (house.word, house.lemma, house.root_class) == ("Evdekileri", "ev", "N")
    assert house.boundaries == (4,)
    assert house.nominal == ("A3pl", "Pnon", "Acc")
    assert (weighty.word, weighty.boundaries, weighty.part) == ("önemli", (4,), "ADJ")
    assert (stayed.root_class, stayed.nominal) == ("V", ("", "", ""))


def test_the_treebank_is_read_whole():
    path = treebank_file("web")
    words = list(annotated_words(path.read_text(encoding="utf-8"), str(path)))
    assert len(words) == 22240
    assert sum(len(word.boundaries) for word in words) == 5901
    assert words[0].word == "Burda"
