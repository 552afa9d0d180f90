"""What the server has done and is doing, in Prometheus' text format."""

from collections import Counter

from mmrec_jax.serve.conversations import Conversations
from mmrec_jax.serve.engine import Engine


def metrics_text(
    engine: Engine, conversations: Conversations, responses: Counter[tuple[str, int]]
) -> str:
    """All metrics; `responses` counts by path and status."""
    counters = [
        (f'responses_total{{path="{path}",status="{status}"}}', float(count))
        for (path, status), count in sorted(responses.items())
    ]
    counters += [(f"{name}_total", float(count)) for name, count in sorted(engine.counts.items())]
    gauges = [
        ("slots", engine.slots),
        ("running_samples", engine.running),
        ("waiting_requests", engine.waiting),
        ("kept_conversations", len(conversations)),
        ("kept_bytes", conversations.num_bytes),
    ]
    lines, typed = [], set()
    for kind, values in (("counter", counters), ("gauge", gauges)):
        for name, value in values:
            family = name.partition("{")[0]
            if family not in typed:
                lines.append(f"# TYPE mmrec_{family} {kind}")
                typed.add(family)
            lines.append(f"mmrec_{name} {value}")
    return "\n".join(lines) + "\n"
