"""What the server has done and is doing, in Prometheus' text format."""

from mmrec_jax.serve.service import Service


def metrics_text(service: Service) -> str:
    """All metrics."""
    engine, conversations = service.engine, service.conversations
    counters = {f"{name}_total": count for name, count in sorted(engine.counts.items())}
    gauges = {
        "slots": engine.slots,
        "running_samples": engine.running,
        "waiting_requests": engine.waiting,
        "kept_conversations": len(conversations),
        "kept_bytes": conversations.num_bytes,
    }
    lines = []
    for kind, values in (("counter", counters), ("gauge", gauges)):
        for name, value in values.items():
            lines += [f"# TYPE mmrec_{name} {kind}", f"mmrec_{name} {value}"]
    return "\n".join([*lines, ""])
