"""Stems that break a rule of vowel harmony or change before a suffix. Lewis (2000), I and II."""

_FRONT_SUFFIXES = """
ahval alkol amiral ampul anormal celal cemaat cemal dijital dikkat emsal enstrümantal eşkal
federal feodal festival final fiskal formol general genital glikol global gol hakikat hal harf
harp hayal helal hilal hilkat hiperbol hâl ideal idol idrak ihlal ihmal ihtilal ihtimal ikbal
ikmal infial integral intikal iptal ishal istikbal istiklal istimal itaat ithal itidal işgal
iştigal kabahat kabul kalp kanaat kapital kardinal karnaval katedral kemal kolesterol kontrol
kristal kıraat liberal lokal lügat mahal mahsul makbul maksimal makul mareşal marjinal materyal
meal mecal menfaat menkul mentol mesul meçhul meşgul mineral minimal misal moral müzikal nasihat
normal optimal orijinal parabol petrol protokol radikal refakat resital riyal rol saat sadakat
santral sembol seyahat sinyal sosyal spiral sual sürat sıhhat terminal total tropikal usul vals
ventral viral vital vokal zeval ziraat şefaat şefkat şeriat şimal şümul
"""
# The last vowel is a back one, the suffixes are front: saat-ler, rol-ü, kalp-i.
FRONT_SUFFIXES = frozenset(_FRONT_SUFFIXES.split())

# Both are written: futbol-u and futbol-ü, futbol-cu.
EITHER_SUFFIXES = frozenset({"futbol", "basketbol", "voleybol", "hentbol", "beyzbol"})

_DROPPED_VOWEL = """
ahit akis akit akıl alın asıl atıf ayıp azil azim ağız bahis bağır beniz beyin beyit boyun burun
böğür cebir cehil cevir cezir cisim cürüm defin devir ecir emir fasıl fecir fesih fetih fikir
gasıp gönül göğüs hacim haciz hapis hayır hazım hüküm hüzün hıfız hışım ilim isim izin kabir kadir
kahır karın kasıt katil kavim kavis kayın kayıp kayıt kesir keyif keşif kibir koyun kutup kutur
küfür kısım lahit lütuf meyil misil mühür nabız nakil nakit nakış nefis nehir nesil nesir nezir
neşir nutuk omuz oğul rahim remiz resim ritim sabır satıh seyir sihir tavır vakit vakıf vasıf
vehim zehir zihin zikir zulüm ömür özür şehir şekil şükür
"""
# The vowel of the last syllable drops before a vowel: oğul, oğl-u.
DROPPED_VOWEL = frozenset(_DROPPED_VOWEL.split())

_DOUBLED = "hak his hat şık zan af hac sır had zam rab haz men müstakil"
# The last consonant is doubled before a vowel: hak, hakk-ı. What is doubled stands behind.
DOUBLED = {stem: stem + stem[-1] for stem in _DOUBLED.split()} | {
    "tıp": "tıbb",
    "ret": "redd",
    "zıt": "zıdd",
    "cet": "cedd",
    "serhat": "serhadd",
}

# Verbs whose t is voiced before a vowel, beside those that end in -et: git-, gid-er.
VOICED_VERBS = frozenset({"git", "güt", "tat", "dit"})

# Pronouns: another stem before suffixes, or whole forms. Stem or form -> lemma.
PRONOUN_STEMS = {"on": "o", "bun": "bu", "şun": "şu", "kendin": "kendi"}
PRONOUN_FORMS = {"bana": "ben", "sana": "sen", "benim": "ben", "bizim": "biz"}
