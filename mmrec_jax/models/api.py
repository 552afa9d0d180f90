"""What a language model is to everything outside `models/`.

A family is a config (`family_config.py`), a class that fulfils `LanguageModel` (most derive from
`linen.LinenModel`) and one line in `registry.py`. Adapters (`mmrec_jax/dora`) and embedding noise
(`noise.py`) wrap a model and return one.

Models are pytrees, so that they are arguments of compiled functions: a family without leaves, a
wrapper with those that it keeps (a frozen base, say).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax

from mmrec_jax.curves import Panel
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.typing import Array, Bool, Float, Int

Params = Any  # nested dicts of arrays
State = Any  # a tree of arrays: recurrent state, or a cache; None where a model keeps nothing


class Training(NamedTuple):
    """Given to a forward pass in training; without it there is neither dropout nor noise."""

    key: Array  # of all randomness
    step: Array  # int32: updates done


@flax.struct.dataclass
class Probe:
    """Sums that are taken inside a model, so that what they are of is never there as a whole.

    `sums(params, inside, rows)` is called for each layer, with as many tokens of each row at a time
    as the model likes; it returns a dict of arrays, which are added up over the tokens of a row.
    What there is `inside` is one of `LanguageModel.probeable`:

    "states": the hidden states `h [B, C, E]` of C tokens, and `previous`, those a token before.
    "recall": of a long-term memory of keys and values, where `rows` has `back`, int [B, C]: another
      token, which is so many before each one in its row. `reads [B, C, H, K]` is what the memories
      after each token answer to the key of the other one, `values` what was written with that key.
      Values are constants to the gradient.
    """

    params: Params  # leaves [L, ...]
    rows: dict[str, Array]  # [B, T, ...] each
    of: str = flax.struct.field(pytree_node=False)
    sums: Callable[..., dict[str, Array]] = flax.struct.field(pytree_node=False)
    reach: int = flax.struct.field(pytree_node=False, default=0)  # the most of `back`


class Output(NamedTuple):
    """What a forward pass returns; logits are made by whoever asks for them.

    `head` is a pytree (`jax.tree_util.Partial`) of a pure function, [..., D] -> [..., V] float32 at
    least, and of the parameters that it uses, so that it may be an argument of transformed code.
    """

    hidden: Float[Array, "B T D"]  # after the last norm
    head: Callable[[Array], Array]
    state: State  # after the last token that is not padding
    metrics: dict[str, Array]  # scalars for the log
    # What `capture` asked for; and by the name of each probe its sums, [L, ...]
    captured: dict[str, Any]

    @property
    def logits(self) -> Float[Array, "B T V"]:
        """Of the whole vocabulary; those at t predict token t + 1."""
        return self.head(self.hidden)


class Dashboard(NamedTuple):
    """What a family has to say about what goes on inside its model."""

    scalars: dict[str, float]  # for the log
    record: dict[str, Any]  # every number, fit for JSON
    table: str  # for the console
    panels: Sequence[Panel]  # for a picture


class LanguageModel(Protocol):
    """A causal language model.

    A family may have one method more, which `mmrec inspect` and the evaluator "dashboard" look for:

        def dashboard(self, params: Params, batch: Mapping, *, thorough: bool = False) -> Dashboard

    It reads a batch (`data/batch.py`) whose rows each hold one document from its beginning;
    `thorough` asks for what takes more time to measure, too.
    """

    @property
    def config(self) -> FamilyConfig:
        """Its family's config, with the vocabulary of its tokenizer."""

    def init(self, key: Array) -> Params:
        """Parameters to begin with. Traceable."""

    def apply(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        state: State = None,
        segment_ids: Int[Array, "B T"] | None = None,
        *,
        training: Training | None = None,
        perturb: Callable[[Array], Array] | None = None,
        capture: Sequence[str] = (),
        probes: Mapping[str, Probe] | None = None,
        collections: Mapping[str, Any] | None = None,
    ) -> Output:
        """Reads T tokens.

        Args:
          params: the parameters.
          tokens: ids.
          state: what has been read before; None: nothing.
          segment_ids: 0 at padding, a document's id (> 0) elsewhere; a token whose id differs from
            that of the last real token (the state's included) begins a document and sees nothing
            before it. None: all tokens continue the state's document.
          training: switches dropout and noise on.
          perturb: what is done to the embedded tokens [B, T, D].
          capture: names of values inside, of the family's own, to be returned.
          probes: what is summed inside, by any names.
          collections: of variables beside the parameters, such as those of `dora.intercept`.
        """

    @property
    def probeable(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """What probes may be of: [layers, channels] of "states", [layers, memories] of "recall"."""

    def initial_state(self, batch: int) -> State:
        """The state of rows that have read nothing."""

    @property
    def state_batch_axes(self) -> Any:
        """A tree like the state: which axis of each array is the batch."""

    def continues(self, segment_ids: Int[Array, "B T"], state: State) -> Bool[Array, "B T"]:
        """Real tokens whose predecessor (the state's last token included) is of their document."""

    def partition_specs(self, params: Params) -> Any:
        """A tree like `params` of `PartitionSpec`s over the axes "fsdp" and "tensor"."""

    def kept_specs(self) -> Any:
        """A tree like the model of `PartitionSpec`s: of what it keeps beside its parameters."""

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to the parameter at a path."""

    @property
    def head_parameters(self) -> tuple[str, ...]:
        """The entries of the parameters that `Output.head` uses."""

    @property
    def not_adaptable(self) -> str:
        """A regular expression: found in the paths of parameters that get no adapters."""

    def mixing_flops(self, length: int) -> float:
        """Forward FLOPs per token beside two for each parameter, in rows of `length` tokens."""

    def unwrap(self, params: Params) -> "tuple[LanguageModel, Params]":
        """The family's model without wrappers, and the parameters that make it this function."""
