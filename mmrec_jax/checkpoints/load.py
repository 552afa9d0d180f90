"""A trained model from the files of its run: parameters, adapters merged, tokenizer."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import jax

from mmrec_jax import dora
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.export import read_exported_facts, read_exported_params
from mmrec_jax.checkpoints.identity import difference, identity
from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.dora.adapted_model import adapter_rules
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.settings import role
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import abstract_on

Step = int | Literal["best", "last"] | str


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model as it was at one step of its run."""

    root: Path
    config: Config  # of the run
    model: FamilyConfig  # with the vocabulary of its tokenizer
    step: int
    params: Any  # on the first device, adapters merged
    tokenizer: Tokenizer


@dataclasses.dataclass(frozen=True)
class TrainedAdapters:
    """The adapters of one step of a run, without the base."""

    where: str  # the checkpoint, for messages
    config: Config
    model: FamilyConfig
    step: int
    adapters: Any
    base: dict[str, Any]  # `run`, `step` and `identity` of what they were trained on


def read_model(
    workdir: str | os.PathLike[str],
    step: Step = "best",
    *,
    adapter: str | os.PathLike[str] | None = None,
) -> TrainedModel:
    """The model of a run, or of a folder that `mmrec export` wrote (arguments as of `load`).

    Raises:
      UserError: there is no run or no such checkpoint; the config or the tokenizer is not the one
        it was trained with; or adapters belong to another base.
    """
    run = Workdir(Path(workdir))
    config, vocab_size = run.read_config()
    model = dataclasses.replace(config.model, vocab_size=vocab_size)
    chosen = choose_step(workdir, step)
    tokenizer = load_tokenizer(run.tokenizer)
    meta = _read_meta(run, config, chosen)
    where = str(run.checkpoints / str(chosen))
    check_same_tokenizer(tokenizer.fingerprint, meta["tokenizer"], where)
    if config.adapters.used:
        trained = read_adapters(workdir, chosen)
        base = read_model(_base_of(trained, run), trained.base["step"])
        params = merge_adapters(base, trained)
    else:
        abstract = _abstract(model)
        if run.model_file.is_file():
            params = read_exported_params(run.model_file, abstract)
        elif meta["format"] == 1:
            params = _restore_format_1(run, chosen, abstract, config, model.build())
        else:
            params = _restore(run, chosen, abstract)
    found = TrainedModel(run.root, config, model, chosen, params, tokenizer)
    if adapter is None:
        return found
    trained = read_adapters(adapter)
    # The same tokenizer, with whatever fine-tuning keeps beside it.
    own = load_tokenizer(Workdir(Path(adapter)).tokenizer)
    check_same_tokenizer(own.fingerprint, tokenizer.fingerprint, str(run.root))
    return dataclasses.replace(found, params=merge_adapters(found, trained), tokenizer=own)


def read_adapters(workdir: str | os.PathLike[str], step: Step = "best") -> TrainedAdapters:
    """The adapters of a run, without its base; `UserError` if it trained none."""
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
    where = str(run.checkpoints / str(chosen))
    adapters = _restore(run, chosen, abstract)
    return TrainedAdapters(where, config, model, chosen, adapters, meta["base"])


def merge_adapters(base: TrainedModel, trained: TrainedAdapters) -> Any:
    """The parameters of the base with the adapters merged; `UserError` if it is another base."""
    check_same_base(trained.base, base, trained.where)
    return jax.jit(dora.apply)(base.params, trained.adapters)


def base_record(base: TrainedModel) -> dict[str, Any]:
    """What a run keeps of the model that it began with, fit for JSON."""
    return {
        "run": str(base.root.resolve()),
        "step": base.step,
        "identity": identity(base.model, base.params),
    }


def check_same_base(record: dict[str, Any], base: TrainedModel, where: str) -> None:
    """Refuses a base that is not the recorded one, bit for bit, naming the first difference."""
    differing = difference(record["identity"], identity(base.model, base.params))
    if differing:
        raise UserError(
            f"{where} has adapters of another base ({record['run']}, step {record['step']}) than "
            f"{base.root}, step {base.step}: {differing}"
        )


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
    """The model, parameters and tokenizer of a run.

    Args:
      workdir: the run's folder, or one that `mmrec export` wrote; a run of adapters is merged with
        its base.
      step: which checkpoint: the one with the lowest validation loss, the newest, or a step.
      adapter: a run that was trained on this one: its adapters (its best step) are merged.

    Returns:
      What `mmrec_jax.generate` takes; the parameters are on the first device.

    Raises:
      UserError: as `read_model`.
    """
    trained = read_model(workdir, step, adapter=adapter)
    return trained.model.build(), trained.params, trained.tokenizer


def load_base(
    config: Config, run: Workdir, meta: dict[str, Any] | None, where: str
) -> TrainedModel | None:
    """The model of `config.init_from`, if there is one.

    A run that is continued (from the checkpoint `where`, with `meta`) gets the step that it began
    with, whatever its base did since; any other is a `UserError`.
    """
    if not config.init_from:
        return None
    origin = Path(config.init_from).expanduser()
    if origin.resolve() == run.root.resolve():
        raise UserError(f"config.init_from is {config.init_from}, the run's own --workdir")
    record = (meta or {}).get("base")
    base = read_model(origin, record["step"] if record else "best")
    if record:
        check_same_base(record, base, where)
    return base


def with_base_model(config: Config, base: TrainedModel) -> Config:
    """The config with the model of the base; how it is trained stays as it is."""
    names = [field.name for field in dataclasses.fields(base.model) if role(field) == "run"]
    values = {name: getattr(config.model, name) for name in names if hasattr(config.model, name)}
    return dataclasses.replace(config, model=dataclasses.replace(base.model, **values))


def _abstract(model: FamilyConfig) -> Params:
    return jax.eval_shape(model.build().init, jax.random.key(0))


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
    """The parameters of a checkpoint, on the first device."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with contextlib.closing(Checkpointer(run.checkpoints, read_only=True)) as checkpointer:
        return checkpointer.restore_params(step, abstract_on(abstract, here))


def _restore_format_1(
    run: Workdir, step: int, abstract: Params, config: Config, model: LanguageModel
) -> Params:
    """As `_restore`, where UBOO's predictors were parameters of the model, `blocks/uboo`."""
    if "uboo" not in config.objectives:
        return _restore(run, step, abstract)
    objective = config.objectives.uboo.build(model, None)  # it asks for no tokenizer
    own = jax.eval_shape(lambda key: objective.init(key, model), jax.random.key(0))
    params = _restore(run, step, abstract | {"blocks": abstract["blocks"] | {"uboo": own}})
    del params["blocks"]["uboo"]
    return params


def _base_of(trained: TrainedAdapters, run: Workdir) -> Path:
    """The folder of the base: where it was, beside the run, or where the run's config says."""
    was = Path(trained.base["run"])
    beside = run.root.resolve().parent / was.name
    for base in (was, beside, Path(trained.config.init_from).expanduser()):
        if Workdir(base).config.is_file():
            return base
    raise UserError(
        f"{run.root}: its adapters need their base, and there is no run in {was} or {beside}; "
        f"move it there, or set config.init_from in {run.config} to where it is now"
    )
