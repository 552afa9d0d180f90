"""Conversations as the data of a run."""

import dataclasses
from collections.abc import Mapping, Sequence

from mmrec_jax.data.chat_encoder import ChatEncoder
from mmrec_jax.data.instructions.example_store import Fit, encode_examples
from mmrec_jax.data.instructions.template_choice import choose_template
from mmrec_jax.data.kinds.instructions import ConversationsConfig
from mmrec_jax.data.split import Split
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.tokenizers.conversation import Conversation
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class InstructionDataset(TextDataset):
    """A training and a validation split of conversations; the tokenizer keeps their template."""

    fits: Mapping[Split, Fit] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_conversations(
        cls,
        config: ConversationsConfig,
        conversations: Mapping[Split, Sequence[Conversation]],
        tokenizer: Tokenizer,
    ) -> "InstructionDataset":
        """Encodes both splits, and gives the template to the tokenizer.

        Args:
          config: the data's.
          conversations: those of "train" and "validation".
          tokenizer: of the model.

        Raises:
          UserError: the template does not suit the tokenizer, or as `encode_examples`.
        """
        template = choose_template(config.template, tokenizer)
        encoder = ChatEncoder(template, tokenizer)
        stores, fits = {}, {}
        for split, examples in conversations.items():
            stores[split], fits[split] = encode_examples(
                examples, encoder, config.seq_len, config.overlong
            )
        tokenizer.chat_template = template
        return cls(config, tokenizer, (stores["train"],), stores["validation"], False, fits)

    def describe(self) -> str:
        """See `Dataset.describe`."""
        (train,), template = self.train, self.tokenizer.chat_template
        assert template is not None
        assert isinstance(train, TokenStore)
        assert train.weights is not None
        assert self.validation is not None
        long = "; ".join(f"{split} {fit}" for split, fit in self.fits.items())
        return (
            f"{self.config.source}, {train.num_documents:,} training examples, "
            f"{train.num_bytes:,} bytes of responses, {train.num_pairs:,} tokens, "
            f"{train.weights.sum() / train.num_pairs:.0%} of them in responses "
            f"({self.tokenizer.vocab_size:,} in the vocabulary, template {template.name}); "
            f"{self.validation.num_documents:,} validation examples; "
            f"longer than a row of {self.config.seq_len:,}: {long}"
        )
