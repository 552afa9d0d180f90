"""The built-in instructions: small tasks in Turkish, made from the treebank and its annotations.

Each of its sentences that is fit for it becomes one example of one of three tasks, in which
the response follows from the prompt and the language alone:

| prompt | response |
|---|---|
| `Bu sözcüklerin köklerini yaz: ` and up to four inflected words of the sentence | their roots |
| `Bu cümlenin yüklemi hangi sözcük? ` and the sentence | its predicate, as it stands there |
| `Bu cümleyi tamamla: ` and the first half of the sentence | the other half |

Which task a sentence gets depends on its name alone. Roots are the lemmas of the annotation (small
letters, no apostrophe), the predicate is the word whose relation is `root`.
"""

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.treebank import Word, annotated_words, treebank_sentences
from mmrec_jax.tokenizers.conversation import Conversation, Message

_MOST_WORDS = 4
_SHORTEST = 4  # words of a sentence
_INFLECTED = ("NOUN", "VERB", "ADJ")


def treebank_pairs() -> list[tuple[str, Conversation]]:
    """The name of the document and the example of each sentence, sorted by the sentence's name.

    Raises:
      UserError: the package is not installed or its files are gone.
    """
    pairs = []
    for sentence in sorted(treebank_sentences()):
        task = (_roots, _predicate, _rest)[hashed_seed("treebank pair", sentence.name) % 3]
        words = list(annotated_words(sentence.conllu, sentence.name))
        pair = task(sentence.text, words) if len(words) >= _SHORTEST else None
        if pair is not None:
            messages = (Message("user", pair[0]), Message("assistant", pair[1]))
            pairs.append((sentence.document, Conversation(sentence.name, messages)))
    return pairs


def _roots(text: str, words: list[Word]) -> tuple[str, str] | None:
    chosen = [
        word
        for word in words
        if word.groups[0][3] in _INFLECTED
        and word.form.isalpha()
        and len(word.form) > len(word.lemma)
    ][:_MOST_WORDS]
    if not chosen:
        return None
    forms = ", ".join(word.form for word in chosen)
    return f"Bu sözcüklerin köklerini yaz: {forms}", ", ".join(word.lemma for word in chosen)


def _predicate(text: str, words: list[Word]) -> tuple[str, str] | None:
    found = [word.form for word in words if word.groups[-1][7] == "root"]
    return (f"Bu cümlenin yüklemi hangi sözcük? {text}", found[0]) if found else None


def _rest(text: str, words: list[Word]) -> tuple[str, str] | None:
    parts = text.split(" ")
    half = len(parts) // 2
    if half < 2:
        return None
    return f"Bu cümleyi tamamla: {' '.join(parts[:half])}", " ".join(parts[half:])
