"""What goes on inside a model, where its family says so."""

from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest

# What is read at each evaluation of a run, at most.
_ROWS, _TOKENS = 4, 1024


def dashboard(
    request: EvaluationRequest,
    *,
    rows: int | None = None,
    tokens: int | None = None,
    thorough: bool = False,
) -> Evaluation:
    """What the family's dashboard says of the longest rows; nothing if it has no dashboard.

    `rows` and `tokens` of each, at most; None: few, within the sizes of training. `thorough`
    measures what takes more time, too (`LanguageModel.dashboard`), with a table and a picture.
    """
    observe = getattr(request.model, "dashboard", None)
    if observe is None:
        return Evaluation()
    rows = min(request.config.train.batch_size, _ROWS) if rows is None else rows
    tokens = min(request.config.data.seq_len, _TOKENS) if tokens is None else tokens
    batch = request.data.longest(rows, tokens)
    if not thorough:
        found = observe(request.params, batch)
        return Evaluation(found.scalars)
    found = observe(request.params, batch, thorough=True)
    rows, length = batch["inputs"].shape
    read = int((batch["segment_ids"] > 0).sum())
    what = f"step {request.step:,}, {request.source}"
    return Evaluation(
        found.scalars,
        text=f"{what}: {read:,} tokens in {rows} rows of up to {length:,}\n{found.table}",
        record={"source": request.source, "rows": rows, "length": length, **found.record},
        panels=found.panels,
        title=f"{what}, {read:,} tokens",
    )
