"""A model from the files of its run or of others: parameters, adapters merged, tokenizer."""

import contextlib
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmrec_jax import dora
from mmrec_jax.adapter_config import AdapterConfig, ExtendConfig
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.export import read_exported_facts, read_exported_params
from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.checkpoints.saved_model import SavedModel, TrainedModel, check_same_base
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.dora.adapted_model import adapter_rules
from mmrec_jax.dora.base import base_converter
from mmrec_jax.dora.peft_format import CONFIG_FILE as PEFT_FILE
from mmrec_jax.dora.peft_format import Names, read_peft
from mmrec_jax.dora.rules import STACKED
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import tensors
from mmrec_jax.pretrained.extended import extend, read_extended
from mmrec_jax.pretrained.published import find_published, open_published
from mmrec_jax.pretrained.reading import Convert, is_quantised, read_params
from mmrec_jax.quantised import Quantised, dequantise
from mmrec_jax.settings import role
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import abstract_on, first_device, replicated, shardings
from mmrec_jax.tree import map_named, named_leaves

Step = int | Literal["best", "last"] | str
_LONGEST = 1024  # tokens of the rows that a pretrained model is evaluated on


@dataclasses.dataclass(frozen=True)
class TrainedAdapters:
    """The adapters of one step of a run, without the base."""

    where: str  # the checkpoint, for messages
    config: Config
    model: FamilyConfig
    step: int
    adapters: Any
    base: dict[str, Any]  # `run`, `step` and `identity` of what they were trained on


def open_model(workdir: str | os.PathLike[str], step: Step = "best") -> SavedModel:
    """The model of a run, of a folder that `mmrec export` wrote, or a pretrained one (see `load`).

    Raises:
      UserError: there is no such model or checkpoint; or the config or the tokenizer is not the one
        it was trained with.
    """
    found = find_published(workdir)
    if found is not None:
        return _open_published(found, step)
    run = Workdir(Path(workdir))
    config, vocab_size = run.read_config()
    model = dataclasses.replace(config.model, vocab_size=vocab_size)
    chosen = choose_step(workdir, step)
    tokenizer = load_tokenizer(run.tokenizer)
    meta = _read_meta(run, config, chosen)
    check_same_tokenizer(tokenizer.fingerprint, meta["tokenizer"], str(run.root))

    def read(mesh: Mesh | None, convert: Convert | None) -> Params:
        if config.adapters.used:
            trained = read_adapters(workdir, chosen, mesh=mesh)
            base = open_model(_base_of(trained, run), trained.base["step"])
            params = merge_adapters(base, trained, tokenizer, mesh).params
        else:
            abstract = _abstract(model, mesh)
            if run.model_file.is_file():
                params = read_exported_params(run.model_file, abstract)
            elif meta["format"] == 1:
                params = _restore_format_1(run, chosen, abstract, config, model.build())
            else:
                params = _restore(run, chosen, abstract)
        return params if convert is None else _converted(params, convert)

    return SavedModel(run.root, config, model, chosen, tokenizer, read)


def read_model(
    workdir: str | os.PathLike[str],
    step: Step = "best",
    *,
    adapter: str | os.PathLike[str] | None = None,
) -> TrainedModel:
    """The model with its parameters on the first device (arguments as of `load`).

    Raises:
      UserError: as `open_model`; the parameters are damaged; or adapters belong to another base.
    """
    found = open_model(workdir, step)
    return found.read() if adapter is None else with_adapter(found, adapter)


def with_adapter(base: SavedModel, adapter: str | os.PathLike[str]) -> TrainedModel:
    """The model with the adapters of a run, or of a folder of `peft`'s, merged.

    Raises:
      UserError: they belong to another base or have another tokenizer, or a file is damaged.
    """
    if (Path(adapter) / PEFT_FILE).is_file():
        read = base.read()
        found = read_peft(adapter, read.params, tensor_names(base.model))
        return dataclasses.replace(read, params=_merged(read.params, found))
    # The same tokenizer, with whatever fine-tuning keeps beside it.
    trained = read_adapters(adapter)
    own = load_tokenizer(Workdir(Path(adapter)).tokenizer)
    merged = merge_adapters(base, trained, own)
    check_same_tokenizer(own.fingerprint, merged.tokenizer.fingerprint, str(base.root))
    return dataclasses.replace(merged, tokenizer=own)


def extended(base: SavedModel, config: ExtendConfig, tokenizer: Tokenizer) -> SavedModel:
    """The model with rows for all tokens of `tokenizer`.

    Raises:
      UserError: as `pretrained.extended.extend`.
    """
    model, with_rows = extend(config, base.model, base.tokenizer, tokenizer)

    def read(mesh: Mesh | None, convert: Convert | None) -> Params:
        return with_rows(base.read_params(mesh, convert), mesh)

    facts = base.root, base.config, model, base.step, tokenizer
    return SavedModel(*facts, read_params=read)


def _open_published(found: Path | str, step: Step) -> SavedModel:
    """A pretrained model, with a config of which the data is the built-in Turkish text."""
    published = open_published(found)
    if step not in ("best", "last", 0, "0"):
        raise UserError(f"{found}: there is no step {step!r}; a pretrained model has step 0 alone")
    model = published.config
    data = TreebankConfig(seq_len=min(_LONGEST, model.max_length))

    def read(mesh: Mesh | None, convert: Convert | None) -> Params:
        params = read_params(published, model, mesh, convert)
        if is_quantised(published):
            params = _converted(params, convert or (lambda _, leaf: dequantise(leaf)))
        return params

    config = Config(model=model, data=data)
    return SavedModel(Path(published.name), config, model, 0, published.tokenizer, read)


def read_adapters(
    workdir: str | os.PathLike[str], step: Step = "best", *, mesh: Mesh | None = None
) -> TrainedAdapters:
    """The adapters of a run, without its base; `UserError` if it trained none.

    They are on the first device, or on every one of `mesh`.
    """
    if find_published(workdir) is not None:
        raise UserError(f"{workdir}: this is a pretrained model; it has no adapters")
    run = Workdir(Path(workdir))
    config, vocab_size = run.read_config()
    if not config.adapters.used:
        raise UserError(f"{run.root}: this run trained all parameters; it has no adapters")
    model = dataclasses.replace(config.model, vocab_size=vocab_size)
    chosen = choose_step(workdir, step)
    meta = _read_meta(run, config, chosen)
    rules = adapter_rules(config.adapters, model.build())
    abstract = jax.eval_shape(
        lambda key, params: dora.init(key, params, rules), jax.random.key(0), _abstract(model)
    )
    abstract = abstract_on(abstract, replicated(mesh) if mesh else first_device())
    where = str(run.checkpoints / str(chosen))
    adapters = _restore(run, chosen, abstract)
    return TrainedAdapters(where, config, model, chosen, adapters, meta["base"])


def continued_values(
    config: AdapterConfig, model: LanguageModel, base: TrainedModel
) -> dict[str, Any]:
    """What a run's adapters on `base` begin with, by path: those of the run `config.init_from`.

    Raises:
      UserError: that run has another base, or trained what this one of `model` does not.
    """
    if not config.init_from:
        return {}
    trained = read_adapters(config.init_from)
    check_same_base(trained.base, base, trained.where)
    values = named_leaves(trained.adapters)
    own = named_leaves(jax.eval_shape(model.init, jax.random.key(0)))
    for name, value in values.items():
        if name not in own or own[name].shape != value.shape:
            raise UserError(
                f"config.adapters.init_from {config.init_from}: it trained {name} "
                f"{list(value.shape)}, which adapters as this config has them do not"
            )
    return values


def merge_adapters(
    base: SavedModel, trained: TrainedAdapters, tokenizer: Tokenizer, mesh: Mesh | None = None
) -> TrainedModel:
    """The base as the run of the adapters kept it, with their `tokenizer`, and them merged.

    It is a `UserError` if it is another base.
    """
    if trained.config.extend.tokenizer:
        base = extended(base, trained.config.extend, tokenizer)
    read = base.read(mesh, base_converter(trained.config.adapters))
    check_same_base(trained.base, read, trained.where)
    return dataclasses.replace(read, params=_merged(read.params, trained.adapters))


def _merged(params: Params, adapters: Any) -> Params:
    """The parameters, which are taken over, with adapters."""
    leaves = named_leaves(params)
    quantised = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Quantised)}
    places = map_named(lambda name, x: (x.codes if name in quantised else x).sharding, params)
    taken = () if quantised else 0  # codes are no buffers for what is merged
    return jax.jit(dora.apply, donate_argnums=taken, out_shardings=places)(params, adapters)


def tensor_names(model: FamilyConfig) -> Names | None:
    """What `peft` calls the parameters of a model; None: as we do."""
    return tensors(model) if isinstance(model, TransformerConfig) else None


def choose_step(workdir: str | os.PathLike[str], step: Step = "best") -> int:
    """The number of the checkpoint that `step` means in a run, or the one of an exported model."""
    run = Workdir(Path(workdir))
    if run.model_file.is_file():
        only = int(read_exported_facts(run.model_file)["step"])
        if step not in ("best", "last", only, str(only)):
            raise UserError(f"{run.root}: there is no step {step!r}; this model is of step {only}")
        return only
    with contextlib.closing(Checkpointer(run.checkpoints, read_only=True)) as checkpointer:
        return checkpointer.choose(step)


def load(
    workdir: str | os.PathLike[str],
    step: Step = "best",
    *,
    adapter: str | os.PathLike[str] | None = None,
) -> tuple[LanguageModel, Params, Tokenizer]:
    """The model, parameters and tokenizer of a run, or of a pretrained model.

    Args:
      workdir: the run's folder, or one that `mmrec export` wrote; a run of adapters is merged with
        its base. Or a pretrained model: a Hugging Face folder, a GGUF file, a Hub id (`org/name`).
      step: which checkpoint: the one with the lowest validation loss, the newest, or a step.
      adapter: a run that was trained on this one: its adapters (its best step) are merged.

    Returns:
      What `mmrec_jax.generate` takes; the parameters are on the first device.

    Raises:
      UserError: as `read_model`.
    """
    trained = read_model(workdir, step, adapter=adapter)
    return trained.model.build(), trained.params, trained.tokenizer


def load_base(config: Config, run: Workdir, meta: dict[str, Any] | None) -> SavedModel | None:
    """The model of `config.init_from`, if there is one, to be read, with the rows of new tokens.

    A run that is continued (from a checkpoint with `meta`) gets the step that it began with,
    whatever its base did since.
    """
    if not config.init_from:
        return None
    if Path(config.init_from).expanduser().resolve() == run.root.resolve():
        raise UserError(f"config.init_from is {config.init_from}, the run's own --workdir")
    record = (meta or {}).get("base")
    base = open_model(config.init_from, record["step"] if record else "best")
    if not config.extend.tokenizer:
        return base
    if record:
        return extended(base, config.extend, load_tokenizer(run.tokenizer))
    new = read_extended(config.extend, base.model, base.tokenizer)
    return extended(base, config.extend, new)


def with_base_model(config: Config, base: FamilyConfig) -> Config:
    """The config with the model of the base; how it is trained stays as it is."""
    names = [field.name for field in dataclasses.fields(base) if role(field) == "run"]
    values = {name: getattr(config.model, name) for name in names if hasattr(config.model, name)}
    return dataclasses.replace(config, model=dataclasses.replace(base, **values))


def _abstract(model: FamilyConfig, mesh: Mesh | None = None) -> Params:
    """Shapes and dtypes on the first device, or as the model's table says on `mesh`."""
    built = model.build()
    abstract = jax.eval_shape(built.init, jax.random.key(0))
    return abstract_on(abstract, shardings(abstract, built.partition_specs(abstract), mesh))


def _converted(params: Params, convert: Convert) -> Params:
    """What is kept of each parameter, found layer by layer where they are stacked."""

    def converted(name: str, leaf: Any) -> Any:
        one = functools.partial(convert, name)
        stacked = name.startswith(STACKED)
        function = (lambda x: jax.lax.map(one, x)) if stacked else one
        before, after = (jax.eval_shape(x, leaf) for x in (lambda x: x, function))
        return leaf if before == after else jax.jit(function)(leaf)

    return map_named(converted, params)


def _read_meta(run: Workdir, config: Config, step: int) -> dict[str, Any]:
    """What the checkpoint or the exported file says of itself, if the config agrees with it."""
    if run.model_file.is_file():
        meta, where = read_exported_facts(run.model_file), str(run.model_file)
    else:
        where = str(run.checkpoints / str(step))
        with contextlib.closing(Checkpointer(run.checkpoints, read_only=True)) as checkpointer:
            meta = checkpointer.read_meta(step)
    check_same_run(config, meta["config"], where)
    return meta


def _restore(run: Workdir, step: int, abstract: Params) -> Params:
    """The parameters of a checkpoint, with the shardings of `abstract`."""
    with contextlib.closing(Checkpointer(run.checkpoints, read_only=True)) as checkpointer:
        return checkpointer.restore_params(step, abstract)


def _restore_format_1(
    run: Workdir, step: int, abstract: Params, config: Config, model: LanguageModel
) -> Params:
    """As `_restore`, where UBOO's predictors were parameters of the model, `blocks/uboo`."""
    if "uboo" not in config.objectives:
        return _restore(run, step, abstract)
    objective = config.objectives.uboo.build(model, None)  # it asks for no tokenizer
    own = jax.eval_shape(lambda key: objective.init(key, model), jax.random.key(0))
    place = jax.tree.leaves(abstract)[0].sharding
    if isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, PartitionSpec())
    own = abstract_on(own, place)
    params = _restore(run, step, abstract | {"blocks": abstract["blocks"] | {"uboo": own}})
    del params["blocks"]["uboo"]
    return params


def _base_of(trained: TrainedAdapters, run: Workdir) -> Path | str:
    """The base: where it was, beside the run, or where the run's config says; or a Hub id."""
    was = Path(trained.base["run"])
    beside = run.root.resolve().parent / was.name
    for base in (was, beside, Path(trained.config.init_from).expanduser()):
        if Workdir(base).config.is_file() or (base.suffix == ".gguf" and base.is_file()):
            return base
    if isinstance(found := find_published(trained.config.init_from), str):
        return found
    raise UserError(
        f"{run.root}: its adapters need their base, and there is no run in {was} or {beside}; "
        f"move it there, or set config.init_from in {run.config} to where it is now"
    )
