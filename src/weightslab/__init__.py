"""WeightsLab: see, while a PyTorch model trains, what every sample does.

Importing this package does nothing: no thread, no file, no banner; torch and
polars load with the first verb that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightslab._version import __version__

if TYPE_CHECKING:
    from weightslab.api.arrays import arrays
    from weightslab.api.compute import compute_signals
    from weightslab.api.control import keep_serving, pause, resume, status
    from weightslab.api.evaluation import eval_fn, request_evaluation, run_pending_evaluation
    from weightslab.api.export import write_dataframe, write_history
    from weightslab.api.history import (
        get_current_experiment_hash,
        history,
        query_instance_history,
        query_sample_history,
        query_signal_history,
        samples,
        scan_history,
    )
    from weightslab.api.session import Session, reset
    from weightslab.api.signals import (
        SignalContext,
        current_ids,
        save_instance_signals,
        save_signals,
        signal,
    )
    from weightslab.api.tags import (
        discard_samples,
        get_discarded_samples,
        get_samples_by_tag,
        register_categorical_tag,
        set_categorical_tag,
        tag_samples,
    )
    from weightslab.api.watch import watch_or_edit
    from weightslab.errors import WeightsLabError, WeightsLabWarning

__all__ = [
    "Session",
    "SignalContext",
    "WeightsLabError",
    "WeightsLabWarning",
    "__version__",
    "arrays",
    "compute_signals",
    "current_ids",
    "discard_samples",
    "eval_fn",
    "get_current_experiment_hash",
    "get_discarded_samples",
    "get_samples_by_tag",
    "history",
    "keep_serving",
    "pause",
    "query_instance_history",
    "query_sample_history",
    "query_signal_history",
    "register_categorical_tag",
    "request_evaluation",
    "reset",
    "resume",
    "run_pending_evaluation",
    "samples",
    "save_instance_signals",
    "save_signals",
    "scan_history",
    "set_categorical_tag",
    "signal",
    "status",
    "tag_samples",
    "watch_or_edit",
    "write_dataframe",
    "write_history",
]

# Where each public name lives; a verb's module loads when the verb is first asked for.
_HOMES = {
    "Session": "weightslab.api.session",
    "SignalContext": "weightslab.api.signals",
    "WeightsLabError": "weightslab.errors",
    "WeightsLabWarning": "weightslab.errors",
    "arrays": "weightslab.api.arrays",
    "compute_signals": "weightslab.api.compute",
    "current_ids": "weightslab.api.signals",
    "discard_samples": "weightslab.api.tags",
    "eval_fn": "weightslab.api.evaluation",
    "get_current_experiment_hash": "weightslab.api.history",
    "get_discarded_samples": "weightslab.api.tags",
    "get_samples_by_tag": "weightslab.api.tags",
    "history": "weightslab.api.history",
    "keep_serving": "weightslab.api.control",
    "pause": "weightslab.api.control",
    "query_instance_history": "weightslab.api.history",
    "query_sample_history": "weightslab.api.history",
    "query_signal_history": "weightslab.api.history",
    "register_categorical_tag": "weightslab.api.tags",
    "request_evaluation": "weightslab.api.evaluation",
    "reset": "weightslab.api.session",
    "resume": "weightslab.api.control",
    "run_pending_evaluation": "weightslab.api.evaluation",
    "samples": "weightslab.api.history",
    "save_instance_signals": "weightslab.api.signals",
    "save_signals": "weightslab.api.signals",
    "scan_history": "weightslab.api.history",
    "set_categorical_tag": "weightslab.api.tags",
    "signal": "weightslab.api.signals",
    "status": "weightslab.api.control",
    "tag_samples": "weightslab.api.tags",
    "watch_or_edit": "weightslab.api.watch",
    "write_dataframe": "weightslab.api.export",
    "write_history": "weightslab.api.export",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use, and keep it."""
    if name not in _HOMES:
        raise AttributeError(_unknown(name))
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, __all__, n=1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return f"module 'weightslab' has no attribute {name!r}{hint}"
