"""What goes on inside a model, where its family says so."""

from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest

# What is read at each evaluation, at most.
_ROWS, _TOKENS = 4, 1024


def dashboard(request: EvaluationRequest) -> Evaluation:
    """The numbers of the family's dashboard on the longest rows; none if it has no dashboard."""
    observe = getattr(request.model, "dashboard", None)
    if observe is None:
        return Evaluation()
    config = request.config
    rows, length = min(config.train.batch_size, _ROWS), min(config.data.seq_len, _TOKENS)
    found = observe(request.params, request.data.longest(rows, length))
    return Evaluation(found.scalars, histograms=found.histograms)
