"""Roots: how a stem changes before suffixes, and how likely each root is.

Stems that break a rule of vowel harmony or change before a suffix: Lewis (2000), I and II.
"""

import collections
import functools
import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mmrec_jax.turkish.letters import VOWELS, disharmony, voice_last
from mmrec_jax.turkish.suffixes import End, end_of

_FRONT_SUFFIXES = """
ahval alkol amiral ampul anormal belagat celal cemaat cemal cerahat dijital dikkat ekol emsal
enstrümantal eşkal federal feodal festival final firkat fiskal formol general genital glikol global
gol had hakikat hal harf harp hayal helak helal hilal hilkat hiperbol hâl ideal idol idrak ihlal
ihmal ihtilal ihtimal ikbal ikmal infial integral intikal iptal ishal istihlak istikbal istiklal
istimal istimlak itaat ithal itidal işgal iştigal iştirak kabahat kabul kalp kanaat kapital kardinal
karnaval katedral kemal kolesterol kontrol kristal kıraat liberal liyakat lokal lügat mahal mahsul
makbul maksimal makul mareşal marjinal materyal meal mecal menfaat menkul mentol mesul metal
metropol meçhul meşakkat meşgul mineral minimal misal moral müzikal nasihat normal optimal orijinal
parabol petrol protokol radikal refakat resital rikkat riyal rol saat sadakat santral sembol seyahat
sinyal sosyal spiral sual suikast sürat sıhhat takat terminal total tropikal tuval usul vaat vals
ventral viral vital vokal zeval ziraat şefaat şefkat şeriat şimal şümul
"""
# A back last vowel with front suffixes: saat-ler, rol-ü, kalp-i, iştirak-i, vaat (vaad-i). Those
# that are not listed are known by the rule of `noun_ends`.
FRONT_SUFFIXES = frozenset(x for stem in _FRONT_SUFFIXES.split() for x in (stem, voice_last(stem)))

# Both are written: futbol-u and futbol-ü, futbol-cu.
EITHER_SUFFIXES = frozenset({"futbol", "basketbol", "voleybol", "hentbol", "beyzbol"})

_DROPPED_VOWEL = """
ahit akis akit akıl alın asıl atıf avuç ayıp azil azim ağız bahis bağır beniz beyin beyit boyun
burun böğür cebir cehil cevir cezir cisim cürüm defin devir ecir emir fasıl fecir fesih fetih fikir
gasıp gönül göğüs hacim haciz hapis hayır hazım hüküm hüzün hıfız hışım ilim isim izin kabir kadir
kahır karın kasıt katil kavim kavis kayın kayıp kayıt kesir keyif keşif kibir koyun kutup kutur
küfür kısım lahit lütuf meyil misil mühür nabız nakil nakit nakış nefis nehir nesil nesir nezir
neşir nutuk omuz oğul rahim remiz resim ritim sabır satıh seyir sihir tavır vakit vakıf vasıf
vehim zehir zihin zikir zulüm ömür özür şehir şekil şükür
"""
# The vowel of the last syllable drops before a vowel: oğul, oğl-u.
DROPPED_VOWEL = frozenset(_DROPPED_VOWEL.split())

_DOUBLED = "hak his hat şık zan af hac sır had zam rab haz men müstakil"
# Stem -> its form before a vowel, where the last consonant is doubled: hak, hakk-ı.
DOUBLED = {stem: stem + stem[-1] for stem in _DOUBLED.split()} | {
    "tıp": "tıbb",
    "ret": "redd",
    "zıt": "zıdd",
    "cet": "cedd",
    "serhat": "serhadd",
}

# Arabic adjectives in a long -i, which never changes: hukuk-i, but of the noun hukuk-u.
_RELATIONAL = """
adi ahlaki cani fahri hayati hukuki hususi ihtiyari ihtiyati insani itibari kanuni kati mali mantıki
mecburi ruhi sıhhi siyasi suni tarihi ticari umumi vicdani zaruri zati
"""
# Words that hardly take suffixes, and look as if they had a wrong one.
_UNINFLECTED = """
alelade bilakis bilcümle bilhassa bilumum binaenaleyh fevkalade galiba güya halbuki hani harikulade
haydi hâlâ hâlbuki illa keza mademki mesela peki tıpkı usulca vallahi yahu zaten
"""
_NOUNS = (*_FRONT_SUFFIXES.split(), *EITHER_SUFFIXES, *DROPPED_VOWEL, *DOUBLED)
# Roots that are known to be, seen or not, by lemma and class; each counts as seen once.
_LISTED: dict[tuple[str, "RootClass"], int] = {
    **{(noun, "N"): 1 for noun in (*_NOUNS, *_RELATIONAL.split())},
    **{(word, "X"): 1 for word in _UNINFLECTED.split()},
}

# Verbs whose t is voiced before a vowel, besides those in -et: git-, gid-er.
VOICED_VERBS = frozenset({"git", "güt", "tat", "dit"})

# Pronouns: another stem before suffixes, or whole forms. Stem or form -> lemma.
PRONOUN_STEMS = {"on": "o", "bun": "bu", "şun": "şu", "kendin": "kendi"}
PRONOUN_FORMS = {"bana": "ben", "sana": "sen", "benim": "ben", "bizim": "biz"}

_ALPHABET_SIZE = 40  # with marks and foreign letters, for smoothing

RootClass = Literal["N", "V", "X"]  # the state of `suffixes.py` that a word begins in


# A palatal l ends the loanwords in -al, -ol, -ul; these are Turkish (havayol-u), have their u from
# the labial before it (davul-u), or have another l.
_BACK_L = re.compile(
    ".*(?:yol|kol|okul|oğul|bul|a[pmv]ul)|marul|gondol|ispanyol|moğol|kefal|kartpostal"
)


def noun_ends(lemma: str) -> tuple[End, ...]:
    """The ends that suffixes may see of a nominal stem, the likelier first; in lower case.

    A stem has front suffixes after a back vowel if it is listed (`saat-ler`, `iştirak-i`), or if it
    ends in l after a, o or u and its vowels show a loanword: that l is palatal (`metal-i`,
    `metropol-ü`, `istiklâl-i`). A few are written both ways (`futbol-u`, `futbol-ü`).
    """
    plain = end_of(lemma)
    front = plain._replace(front=True)
    if lemma in EITHER_SUFFIXES:
        return plain, front
    palatal = lemma.endswith(("al", "ol", "ul")) and not _BACK_L.fullmatch(lemma)
    if lemma in FRONT_SUFFIXES or lemma.endswith(("âl", "ûl")):
        return (front,)
    return (front,) if palatal and disharmony(lemma)[-1] else (plain,)


def stem_shapes(lemma: str, root_class: RootClass) -> list[tuple[str, End]]:
    """The forms of a stem with the ends that suffixes see, its plain form first.

    `kitap` also has the form `kitab` (a vowel must follow), `oğul` `oğl`, `hak` `hakk`, the verb
    `anla` `anl` (-iyor must follow); `saat` has an end that takes front suffixes. `lemma` is in
    lower case, of a verb the stem.
    """
    plain = end_of(lemma)
    if root_class == "V":
        return [(lemma, plain), *_verb_shapes(lemma, plain)]
    shapes = [(lemma, end) for end in dict.fromkeys((*noun_ends(lemma), plain))]
    changed: list[str] = []
    if lemma in DROPPED_VOWEL:
        short = lemma[:-2] + lemma[-1]  # kayıp, kayb-ı, but vakit, vakt-i
        changed += dict.fromkeys((voice_last(short), short))
    if lemma in DOUBLED:
        changed.append(DOUBLED[lemma])
    if voice_last(lemma) != lemma:
        changed.append(voice_last(lemma))
    if lemma in ("su", "ne"):
        changed.append(lemma + "y")
    needs_vowel = shapes[0][1]._replace(last="g")
    return [*shapes, *((letters, needs_vowel) for letters in changed)]


def _verb_shapes(stem: str, end: End) -> list[tuple[str, End]]:
    shapes = []
    if stem[-1] in "ae" and len(stem) > 1:
        shorter = end_of(stem[:-1]) if any(x in VOWELS for x in stem[:-1]) else end
        shapes.append((stem[:-1], shorter._replace(last="y")))
        if stem in ("de", "ye"):
            shapes.append((stem[:-1] + "i", end))
    if stem in VOICED_VERBS or stem.endswith("et"):
        shapes.append((voice_last(stem), end._replace(last="g")))
    return shapes


class Root(NamedTuple):
    """One analysis of some letters as a root."""

    root_class: RootClass  # of the root
    lemma: str  # its dictionary form; of a verb the stem
    cost: float  # -ln P(root), nats
    end: End  # what suffixes see of it


class Lexicon:
    """Known roots by their letters, and the cost of unknown ones."""

    def __init__(self, counts: Mapping[tuple[str, RootClass], int]) -> None:
        """`counts`: how often each lemma of each class was seen; listed roots are known besides."""
        totals, once = collections.Counter[str](), collections.Counter[str]()
        for (_, root_class), count in counts.items():
            totals[root_class] += count
            once[root_class] += count == 1
        everything = sum(totals.values())
        self._roots = collections.defaultdict[str, list[Root]](list)
        for (lemma, root_class), count in {**_LISTED, **counts}.items():
            if not totals[root_class]:
                continue
            # Good-Turing: the lemmas seen once are as likely together as all that were never seen.
            unseen = once[root_class] / totals[root_class]
            cost = -math.log((count - 0.5) * (1 - unseen) / everything)
            for index, (letters, end) in enumerate(stem_shapes(lemma, root_class)):
                root = Root(root_class, lemma, cost + 0.5 * (index > 0), end)
                self._roots[letters].append(root)
        for letters, lemma in {**PRONOUN_STEMS, **PRONOUN_FORMS}.items():
            if (lemma, "N") in counts:
                cost = -math.log(counts[lemma, "N"] / everything)
                root = Root("N", lemma, cost, stem_shapes(letters, "N")[0][1])
                self._roots[letters].append(root)
        self._unknown, self._spelling = {}, {}
        for kind in "NV":
            self._unknown[kind] = -math.log(max(once[kind], 1) / everything)
            self._spelling[kind] = _Spelling([lemma for lemma, other in counts if other == kind])

    def known(self, letters: str) -> list[Root]:
        """The known roots with exactly these letters."""
        return self._roots.get(letters, [])

    def unknown_costs(self, word: str, root_class: RootClass, limit: float) -> list[float]:
        """-ln P(unknown root) of each prefix of `word`, index 0 the empty one.

        The list ends where all longer prefixes cost at least `limit`.
        """
        return self._spelling[root_class].prefix_costs(word, self._unknown[root_class], limit)


class _Spelling:
    """A smoothed trigram model of letters; the end of a word counts as a letter."""

    def __init__(self, words: list[str]) -> None:
        spelled = [f"^^{word}$" for word in words]
        triples = [(x[i - 2], x[i - 1], x[i]) for x in spelled for i in range(2, len(x))]
        self._triples = collections.Counter(triples)
        self._pairs = collections.Counter((b, c) for _, b, c in triples)
        self._after_two = collections.Counter((a, b) for a, b, _ in triples)
        self._after_one = collections.Counter(b for _, b, _ in triples)
        self._cost = functools.cache(self._computed_cost)

    def _computed_cost(self, a: str, b: str, c: str) -> float:
        pair = (self._pairs[b, c] + 0.2) / (self._after_one[b] + 0.2 * _ALPHABET_SIZE)
        return -math.log((self._triples[a, b, c] + 3 * pair) / (self._after_two[a, b] + 3))

    def prefix_costs(self, word: str, start: float, limit: float) -> list[float]:
        costs, total = [start], start
        a, b = "^", "^"
        for letter in word:
            total += self._cost(a, b, letter)
            if total >= limit:
                break
            a, b = b, letter
            costs.append(total + self._cost(a, b, "$"))
        return costs
