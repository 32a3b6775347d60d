"""The verdict on health as the body of `/readyz`: what to do about it first, how old each look is, and no secrets."""

from typing import Any

from nymgate.watch.health import Health


def health_body(health: Health) -> dict[str, Any]:
    """For JSON. ``age_seconds`` of a layer is null where what is said is always up to date."""
    return {
        "ready": health.ready,
        "state": health.state.value,
        "layer": health.layer,
        "code": health.code,
        "what": health.what,
        "todo": health.todo,
        "asleep": health.asleep,
        "workers": {"ready": health.workers_ready, "expected": health.workers},
        "layers": [
            {
                "layer": layer.name,
                "state": layer.state.value,
                "code": layer.code,
                "what": layer.what,
                "todo": layer.todo,
                "age_seconds": (
                    None
                    if layer.checked_unix is None
                    else round(max(0.0, health.checked_unix - layer.checked_unix), 1)
                ),
            }
            for layer in health.layers
        ],
        "checked_unix": round(health.checked_unix, 3),
    }
