"""Subword tokenizers of the sentencepiece library: trained here, or an existing `.model`.

sentencepiece: Kudo and Richardson 2018 (arXiv:1808.06226); unigram model: Kudo 2018
(arXiv:1804.10959); byte-pair merges: Sennrich et al. 2016 (arXiv:1508.07909).
"""

import io
import re
from collections.abc import Iterable
from typing import ClassVar, Literal, Self

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# sentencepiece writes a space as this character and cannot tell it from the character itself.
_META = "\u2581"
_META_UTF8 = _META.encode()
_META_BYTES = tuple(f"<0x{byte:02X}>" for byte in _META_UTF8)
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

    def __init__(self, content: bytes, name: str) -> None:
        self.content = content
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(content)
            self.vocab_size = self._processor.get_piece_size()
        except RuntimeError:
            raise UserError(f"{name}: this is not a sentencepiece model") from None
        self.eos_id = self._processor.eos_id()
        if self.eos_id < 0:
            self.eos_id = next((i for i in map(self._find, _EOS_PIECES) if i is not None), -1)
        if self.eos_id < 0:
            raise UserError(
                f"{name}: the model has no end-of-text piece; one of {', '.join(_EOS_PIECES)} "
                "is needed"
            )
        bos = self._processor.bos_id()
        self.bos_id = bos if bos >= 0 else self.eos_id
        pieces = [self._find(piece) for piece in _META_BYTES]
        self._meta_ids = [index for index in pieces if index is not None]
        self._spellings = self._find_spellings()

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Self:
        """See `Tokenizer.from_content`."""
        return cls(content, name)

    def _find(self, piece: str) -> int | None:
        index: int = self._processor.piece_to_id(piece)
        return index if self._processor.id_to_piece(index) == piece else None

    def _find_spellings(self) -> list[bytes] | None:
        """The bytes of each id; None for a model whose pieces do not spell its text exactly."""
        processor = self._processor
        spellings = []
        for index in range(self.vocab_size):
            piece = processor.id_to_piece(index)
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

    def encode_utf8(self, text: bytes) -> NDArray[np.int32]:
        """See `Tokenizer.encode_utf8`."""
        if self._spellings is None or _META_UTF8 not in text:
            # A copy: the library's own array is read-only.
            return np.array(self._processor.encode(text, return_type="numpy"), np.int32)
        ids: list[int] = []
        for index, part in enumerate(text.split(_META_UTF8)):
            if index:
                ids += self._meta_ids
            ids += self._processor.encode(part)
        return np.asarray(ids, np.int32)

    def _encode(self, text: str) -> NDArray[np.int32]:
        return self.encode_utf8(text.encode("utf-8"))

    def _decode(self, ids: NDArray[np.int64]) -> str:
        numbers = ids.tolist()
        if self._spellings is not None:
            spelled = b"".join(self._spellings[index] for index in numbers)
            return spelled.decode("utf-8", errors="replace")
        special = (self.bos_id, self.eos_id)
        text: str = self._processor.decode([index for index in numbers if index not in special])
        return text

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        piece: str = self._processor.id_to_piece(index)
        return piece


def train_sentencepiece(
    texts: Iterable[str], kind: Literal["unigram", "bpe"], vocab_size: int, field: str
) -> SentencePieceTokenizer:
    """Trains a tokenizer; the same texts and settings give the same bytes.

    Nothing is normalised, stripped or lower-cased; digits stand alone; a newline is a piece of its
    own; characters outside the commonest 99.95 % are spelled in bytes.

    Args:
      texts: NFC texts.
      kind: the algorithm.
      vocab_size: the exact number of ids: 3 special ones, newline, 256 bytes, and the pieces.
      field: the config field that holds `vocab_size`, for error messages.

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
