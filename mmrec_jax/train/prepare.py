"""From a config to everything the loop needs, with every check before any compilation."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mmrec_jax import dora
from mmrec_jax.checkpoints.checkpointer import Checkpointer, abstract_on
from mmrec_jax.checkpoints.init_from import read_beginning, with_model_of
from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.checkpoints.trained_model import base_record
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config, DataConfig
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.formats.paths import require_outside
from mmrec_jax.data.instructions.conversation_sources import INSTRUCTION_SOURCES, load_conversations
from mmrec_jax.data.instructions.instruction_dataset import InstructionDataset
from mmrec_jax.data.instructions.template_choice import training_texts
from mmrec_jax.data.prepared.prepared_dataset import open_prepared
from mmrec_jax.data.sources import load_documents
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.data.tasks.registry import TASKS
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.data.tokenizer_cache import build_tokenizer
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.objectives.vowel_harmony import HarmonyObjective
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.adapter_rules import adapter_rules
from mmrec_jax.train.compile_cache import enable_compile_cache
from mmrec_jax.train.mesh import make_mesh, place_everywhere, split_cpu, state_shardings
from mmrec_jax.train.noise import Noise, make_noise
from mmrec_jax.train.processes import (
    barrier,
    is_process_zero,
    process_zero_first,
    require_same,
    require_shared,
)
from mmrec_jax.train.state import Base, TrainState, initial_state
from mmrec_jax.train.time_pieces import fit_time_chunk
from mmrec_jax.turkish.suffix_weights import SuffixWeights
from mmrec_jax.turkish.vowel_table import vowel_table
from mmrec_jax.turkish_config import TurkishConfig

RunData = TextDataset | StreamDataset | TaskDataset


@dataclasses.dataclass
class Prepared:
    """A run that is ready to step."""

    config: Config
    workdir: Workdir
    mesh: Mesh
    data: RunData
    model: MMRecLM
    optimizer: optax.GradientTransformation
    harmony: HarmonyObjective | None
    steps: int
    noise: Noise | None
    base: dict[str, Any] | None  # what the run began with, for its checkpoints
    batches: TrainIterator
    checkpointer: Checkpointer
    state: TrainState
    start: int  # updates done in earlier sessions
    meta: dict[str, Any] | None  # of the checkpoint that the run continues from


def prepare(config: Config, workdir: Path, *, fresh: bool) -> Prepared:
    """Reads the data, makes or finds the tokenizer, and restores the newest checkpoint.

    Raises:
      UserError: anything in the config, the files or the checkpoint is wrong.
    """
    place = Workdir(workdir)
    _require_other_folders(config.data, workdir)
    split_cpu(config.train)
    mesh = make_mesh(config.train)
    base = read_beginning(config, place, fresh=fresh)
    if base is not None:
        config = with_model_of(config, base)
    with process_zero_first("data"):  # it makes the tokenizer that they find
        data = load_data(config, place, None if base is None else base.tokenizer)
    require_same(json.dumps(to_dict(config)), "the processes were given different configs")
    require_shared(place.root, "--workdir")
    enable_compile_cache()
    tokenizer = data.tokenizer
    batches = data.batches(
        config.train.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    steps = run_length(config, data)
    fitted = fit_time_chunk(config.model, config.train, mesh)
    model = MMRecLM(model_config(fitted, tokenizer))
    optimizer = build_optimizer(config.optim, steps)
    noise = make_noise(config.train, steps, tokenizer)
    check_prompt(config.train.sample_prompt, tokenizer)

    if fresh:
        if is_process_zero():
            place.clear()
        barrier("cleared")
    checkpointer = Checkpointer(
        place.checkpoints, keep_last=config.train.keep_last, keep_best=config.train.keep_best
    )
    start, meta = checkpointer.latest_step() or 0, None
    require_same(str(start), f"{place.checkpoints}: the processes see different steps; try again")
    if start:
        where = str(place.checkpoints / str(start))
        meta = checkpointer.read_meta(start)
        check_same_run(config, meta["config"], where)
        check_same_tokenizer(tokenizer.fingerprint, meta["tokenizer"], where)
    if is_process_zero():
        place.write_config(config, model.config.vocab_size)
        tokenizer.save(place.tokenizer)

    rules = adapter_rules(config.adapters)

    def new_state(params: Any) -> TrainState:
        rows = config.train.batch_size if config.train.carry_state else None
        seed = config.train.seed
        return initial_state(model, optimizer, seed, rows, params=params, rules=rules)

    params = None if base is None else place_everywhere(base.params, mesh)
    shardings = state_shardings(mesh, carry_state=config.train.carry_state)
    if start:
        abstract = abstract_on(jax.eval_shape(new_state, params), shardings)
        state, position = checkpointer.restore(start, abstract)
        if rules:
            squares = jax.jit(dora.squares)(params, state.params)
            state = dataclasses.replace(state, base=Base(params, squares))
        batches.set_state(position)
    else:
        state = jax.jit(new_state, out_shardings=shardings)(params)
    return Prepared(
        config=config,
        workdir=place,
        mesh=mesh,
        data=data,
        model=model,
        optimizer=optimizer,
        harmony=harmony_objective(config, tokenizer, model.config.vocab_size),
        steps=steps,
        noise=noise,
        base=None if base is None else base_record(base),
        batches=batches,
        checkpointer=checkpointer,
        state=state,
        start=start,
        meta=meta,
    )


def _require_other_folders(data: DataConfig, workdir: Path) -> None:
    """Refuses a run in a folder that it reads, where its own files would become data."""
    for name in ("train", "validation"):
        pattern = getattr(data, name)
        if pattern and data.source != "prepared":
            require_outside(workdir, "--workdir", pattern, f"config.data.{name}")


def load_data(config: Config, place: Workdir, tokenizer: Tokenizer | None = None) -> RunData:
    """The run's data. The workdir is made once the data is there, before a tokenizer is trained.

    Args:
      config: the run.
      place: its folder.
      tokenizer: that of the model it begins with; None: the one that `config.tokenizer` says.

    Raises:
      UserError: the data, the tokenizer or a field for them is wrong; the workdir cannot be made.
    """
    turkish = config.turkish
    if config.data.source in TASKS:
        if turkish != TurkishConfig():
            raise UserError(
                f'config.turkish is for text; with config.data.source "{config.data.source}" its '
                "fields must be at their defaults"
            )
        task = TaskDataset(config)
        if tokenizer is not None:
            check_same_tokenizer(
                task.tokenizer.fingerprint, tokenizer.fingerprint, config.init_from
            )
        make_directory(place.root)
        return task
    if turkish.scored_samples and not config.train.sample_tokens:
        raise UserError(
            f"config.turkish.scored_samples is {turkish.scored_samples}, but "
            "config.train.sample_tokens is 0: there is no text to score; raise it"
        )
    if config.data.source in INSTRUCTION_SOURCES:
        for name, off in (("suffix_weight", 1), ("scored_samples", 0)):
            if getattr(turkish, name) != off:
                raise UserError(
                    f"config.turkish.{name} is {getattr(turkish, name)}; with config.data.source "
                    f'"{config.data.source}" it must be {off}: it is for running text'
                )
        if config.train.sample_tokens and not config.train.sample_prompt.strip():
            raise UserError(
                "config.train.sample_prompt is empty; with config.data.source "
                f'"{config.data.source}" name a message to respond to, or set '
                "config.train.sample_tokens=0"
            )
        conversations = load_conversations(config)
        texts = training_texts(config.instructions, conversations["train"])
        make_directory(place.root)
        tokenizer = tokenizer or build_tokenizer(
            config.tokenizer,
            texts,
            place.tokenizer_cache,
            default_vocab_size=config.model.vocab_size,
        )
        return InstructionDataset.from_conversations(config, conversations, tokenizer)
    if config.data.source in ("stream", "prepared"):
        if turkish.suffix_weight != 1:
            raise UserError(
                f"config.turkish.suffix_weight is {turkish.suffix_weight}; with config.data.source "
                f'"{config.data.source}" it must be 1'
            )
        data: RunData
        if config.data.source == "stream":
            data = StreamDataset.open(config, place.tokenizer_cache, tokenizer)
        else:
            data = open_prepared(config, tokenizer)
        make_directory(place.root)
        return data
    documents = {split: load_documents(config.data, split) for split in ("train", "validation")}
    make_directory(place.root)
    weigh = SuffixWeights(turkish.suffix_weight) if turkish.suffix_weight != 1 else None
    return TextDataset.from_documents(config, documents, place.tokenizer_cache, tokenizer, weigh)


def harmony_objective(
    config: Config, tokenizer: Tokenizer, vocab_size: int
) -> HarmonyObjective | None:
    """The `vowel_harmony` objective for the run's vocabulary, None where it is off."""
    weight = config.turkish.vowel_harmony
    if weight is None:
        return None
    return HarmonyObjective(vowel_table(tokenizer), vocab_size, weight)


def model_config(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """`config` with the tokenizer's vocabulary.

    Raises:
      UserError: the tokenizer has more ids than the model may have.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"config.model.vocab_size is {config.vocab_size}, but the tokenizer has "
            f"{tokenizer.vocab_size} ids; raise it to at least that"
        )
    return dataclasses.replace(config, vocab_size=tokenizer.vocab_size)


def check_prompt(prompt: str, tokenizer: Tokenizer) -> None:
    """Refuses a prompt that the tokenizer cannot spell, long before it is needed."""
    try:
        tokenizer.encode(prompt)
    except UserError as error:
        raise UserError(f"config.train.sample_prompt: {error}") from None


def run_length(config: Config, data: Dataset) -> int:
    """The run's length in steps, whichever unit the config gives it in."""
    if config.train.steps is not None:
        return config.train.steps
    return data.steps_for(
        config.train.batch_size, epochs=config.train.epochs, tokens=config.train.tokens
    )


def make_directory(path: Path) -> None:
    """Creates the workdir, or says in one line why it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir {path}: {error.strerror}") from None
