"""Subword tokenizers of the sentencepiece library: trained here, or an existing `.model`.

sentencepiece: Kudo and Richardson 2018 (arXiv:1808.06226); unigram model: Kudo 2018
(arXiv:1804.10959); byte-pair merges: Sennrich et al. 2016 (arXiv:1508.07909).
"""

import functools
import io
import re
from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from sentencepiece import sentencepiece_model_pb2

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer, looks_like_control

# sentencepiece writes a space as this character and cannot tell it from the character itself.
_META = "\u2581"
_META_BYTES = tuple(f"<0x{byte:02X}>" for byte in _META.encode())
# Lines end at newlines; a line with one of the others would be skipped by the trainer or misread.
_SEPARATORS = re.compile(f"[\n\0{_META}\u2585]")
# Beyond this the trainer sees evenly spaced lines: its memory grows by about 20 bytes a byte.
_MAX_TRAINING_CHARACTERS = 50_000_000
_EOS_PIECES = ("</s>", "<eos>", "<|endoftext|>", "<|im_end|>", "[EOS]")


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece model.

    A model made by `train_sentencepiece` spells every string: U+2581, which sentencepiece itself
    would turn into a space, goes through its three byte pieces.
    """

    kind: ClassVar[str] = "sentencepiece"
    content_file: ClassVar[str] = "sentencepiece.model"

    def __init__(self, content: bytes, name: str, begin: str = "", end: str = "") -> None:
        super().__init__(content, name)
        processor = _load(content, name)
        try:
            pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
        except UnicodeDecodeError as error:
            raise UserError(f"{name}: a piece of the model is not UTF-8: {error}") from None
        self.vocab_size = len(pieces)
        ids = {piece: index for index, piece in enumerate(pieces)}
        bos, eos = processor.bos_id(), processor.eos_id()
        usual = pieces[bos] if bos >= 0 else ""
        usual_end = pieces[eos] if eos >= 0 else next((x for x in _EOS_PIECES if x in ids), "")
        special = [pieces[i] for i in range(len(pieces)) if processor.is_control(i)]
        first, last = self._choose_ends(name, ids, (begin, end), (usual, usual_end), special)
        self.bos_id, self.eos_id, self.unknown_id = ids[first], ids[last], processor.unk_id()
        self._model = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]
        control = {first, last, *special}
        hidden = [
            each
            for each in self._model.pieces
            if (each.piece in control and each.type in (each.NORMAL, each.USER_DEFINED))
            or (each.type == each.USER_DEFINED and looks_like_control(each.piece))
        ]
        for each in hidden:  # the library finds no control piece in a text
            each.type = each.CONTROL
        self.control_ids = frozenset(ids[x] for x in {*control, *(each.piece for each in hidden)})
        self._processor = _load(self._model.SerializeToString(), name) if hidden else processor
        self._decoder = processor  # which knows the text of user-defined pieces
        self._pieces = pieces
        self._meta_ids = [ids[piece] for piece in _META_BYTES if piece in ids]
        self._spellings = self._find_spellings()
        self.lossless = self._spellings is not None

    @functools.cached_property
    def _continuing(self) -> sentencepiece.SentencePieceProcessor:
        """The same without the space that a model may put before every text."""
        plain = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
        plain.CopyFrom(self._model)
        plain.normalizer_spec.add_dummy_prefix = False
        return _load(plain.SerializeToString(), "a sentencepiece model")

    def _find_spellings(self) -> list[bytes] | None:
        """The bytes of each id; None for a model whose pieces do not spell its text exactly."""
        processor = self._processor
        spellings = []
        for index, piece in enumerate(self._pieces):
            special = processor.is_control(index) or processor.is_unknown(index)
            if special or index in (self.bos_id, self.eos_id):
                spellings.append(b"")
            elif processor.is_byte(index):
                spellings.append(bytes([int(piece[3:5], 16)]))
            else:
                spellings.append(piece.replace(_META, " ").encode())
        probe = "  \uff21 a\n\t\n b\u01c6  "  # spaces and characters that other models change
        spelled = b"".join(spellings[index] for index in processor.encode(probe))
        return spellings if len(self._meta_ids) == 3 and spelled == probe.encode() else None

    def _encode(self, text: str) -> NDArray[np.int32]:
        if self._spellings is None or _META not in text:
            # A copy: the library's own array is read-only.
            return np.array(self._processor.encode(text, return_type="numpy"), np.int32)
        ids: list[int] = []
        for index, part in enumerate(text.split(_META)):
            if index:
                ids += self._meta_ids
            ids += self._processor.encode(part)
        return np.asarray(ids, np.int32)

    def _encode_continuation(self, text: str) -> NDArray[np.int32]:
        rules = self._model.normalizer_spec
        # Where leading spaces are dropped, the one put there stands for them.
        space_stands = rules.remove_extra_whitespaces and text[:1].isspace()
        if rules.add_dummy_prefix and not space_stands:
            return np.asarray(self._continuing.encode(text), np.int32)
        return self._encode(text)

    def _decode(self, ids: NDArray[np.int64]) -> str:
        numbers = ids.tolist()
        if self._spellings is not None:
            spelled = b"".join(self._spellings[index] for index in numbers)
            return spelled.decode("utf-8", errors="replace")
        special = (self.bos_id, self.eos_id)
        text: str = self._decoder.decode([index for index in numbers if index not in special])
        return text

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        return self._pieces[index]


def _load(content: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
        processor.get_piece_size()
    except RuntimeError:
        raise UserError(f"{name}: this is not a sentencepiece model") from None
    return processor


def train_sentencepiece(
    texts: Iterable[str], kind: Literal["unigram", "bpe"], vocab_size: int, field: str
) -> SentencePieceTokenizer:
    """Trains a tokenizer; the same texts and settings give the same bytes.

    Nothing is normalised, stripped or lower-cased; digits stand alone; a newline is a piece of its
    own; characters outside the commonest 99.95 % are spelled in bytes. `texts` are NFC; errors call
    `vocab_size`, the exact number of ids (3 special ones, newline, 256 bytes, and the pieces),
    `field`.

    Raises:
      UserError: there is no text, or `vocab_size` is too small or too large for it.
    """
    lines = [line for text in texts for line in _SEPARATORS.split(text) if line]
    if not lines:
        raise UserError("the training text is empty: there is nothing to train a tokenizer on")
    stride = -(-sum(map(len, lines)) // _MAX_TRAINING_CHARACTERS)
    lines = lines[::stride]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            max_sentence_length=4 * max(map(len, lines)) + 1,  # bytes; longer ones are dropped
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            user_defined_symbols=["\n"],
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=2,  # part of the result: the sums of each thread are rounded apart
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _vocabulary_error(error, kind, vocab_size, field) from None
    return SentencePieceTokenizer(model.getvalue(), f"the {kind} model trained here")


def _vocabulary_error(error: RuntimeError, kind: str, vocab_size: int, field: str) -> Exception:
    """The library states the limits only inside its messages."""
    message = str(error)
    start = f"{field} is {vocab_size}; with tokenizer.kind {kind!r} this training text"
    if found := re.search(r"set it to a value <= (\d+)", message):
        return UserError(f"{start} allows at most {found[1]}")
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UserError(f"{start} needs at least {found[1]}")
    return error
