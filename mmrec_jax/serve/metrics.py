"""What the server has done and is doing, in Prometheus' text format."""

from collections.abc import Mapping

from mmrec_jax.serve.service import Service


def metrics_text(service: Service, responses: Mapping[tuple[str, int], int]) -> str:
    """All metrics; `responses` counts by path and status."""
    engine, conversations = service.engine, service.conversations
    values: dict[str, float] = {
        f'responses_total{{path="{path}",status="{status}"}}': count
        for (path, status), count in sorted(responses.items())
    }
    values |= {f"{name}_total": count for name, count in sorted(engine.counts.items())}
    values |= {"slots": engine.slots, "running_samples": engine.running}
    values |= {"waiting_requests": engine.waiting}
    values |= {"kept_conversations": len(conversations), "kept_bytes": conversations.num_bytes}
    kinds: dict[str, str] = {}
    for name in values:
        family = name.partition("{")[0]
        kinds[family] = "counter" if family.endswith("_total") else "gauge"
    types = [f"# TYPE mmrec_{family} {kind}" for family, kind in kinds.items()]
    return "\n".join([*types, *(f"mmrec_{name} {value}" for name, value in values.items()), ""])
