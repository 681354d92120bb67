"""The layers of the package: who may import whom, and which library lives in which room."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.architecture.sources import Import, imports, modules

# From the bottom up; a room imports its own line and lower ones.
LAYERS = (
    ("_version", "clock", "errors", "isolation", "notices", "progress", "types"),
    ("ledger",),
    ("queries",),
    ("checkpoints", "dynamics", "evaluation", "export", "hyperparameters", "signals"),
    ("session",),
    ("capture", "service"),
    ("", "api", "integration"),  # "" is weightslab itself
    ("bench", "demo", "maintenance"),
    ("__main__", "cli", "studio"),
    ("weightslab_lightning",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# The command line and the studio see a run through queries, a client or the demo, and never hold
# a session; the demo and the plugin use nothing but what a user has; maintenance knows files alone.
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {
        "_version",
        "clock",
        "demo",
        "bench",
        "errors",
        "maintenance",
        "notices",
        "queries",
        "service",
        "types",
    },
    "demo": {"", "demo", "errors"},
    "maintenance": {"errors", "ledger", "notices", "types"},
    "studio": {"_version", "clock", "errors", "queries", "service", "types"},
    "weightslab_lightning": {"", "errors", "integration"},
}

# Library -> the rooms, or single modules, that may import it. Torch and polars decide what a
# process without a training, and a DataLoader worker, must load.
HOMES = {
    "torch": {
        "bench", "capture", "checkpoints", "demo", "evaluation.ambient", "evaluation.isolation",
        "evaluation.runner", "evaluation.switches", "evaluation.tensors", "integration",
        "isolation", "signals.static", "weightslab_lightning",
    },
    "polars": {"api", "bench", "demo", "dynamics", "evaluation", "export", "queries", "service",
               "signals", "studio"},
    "pyarrow": {"export", "ledger", "maintenance", "queries"},
    "click": {"cli"},
    "rich": {"cli", "progress"},
    "grpc": {"service"},
    "starlette": {"studio"},
    "uvicorn": {"studio"},
    "omegaconf": {"hyperparameters"},
    "yaml": {"hyperparameters"},
    "sklearn": {"demo"},
    "lightning": {"weightslab_lightning"},
    "accelerate": {"weightslab_lightning"},
    "hydra": {"weightslab_lightning"},
}  # fmt: skip

IMPORTS = imports()


def room(module: str) -> str:
    """The room of a module of ours: its first part below weightslab, or the plugin as a whole."""
    package, _, rest = module.partition(".")
    return package if package != "weightslab" else rest.partition(".")[0]


def ours(found: Import) -> bool:
    """Is the imported module one of ours."""
    return found.target.partition(".")[0] in {"weightslab", "weightslab_lightning"}


def test_every_room_has_a_layer() -> None:
    """A new folder takes its place in the picture before anything imports it."""
    assert {room(module) for module in modules()} <= set(LEVEL)


def test_imports_point_down() -> None:
    """No room imports a higher one, not even inside a function or for types alone."""
    upward = [
        str(found)
        for found in IMPORTS
        if ours(found) and LEVEL[room(found.target)] > LEVEL[room(found.module)]
    ]
    assert upward == []


@pytest.mark.parametrize("importer", sorted(MAY_IMPORT))
def test_the_edges_know_little(importer: str) -> None:
    """Command line, studio, demo and plugin import only the rooms that are named for them."""
    allowed = MAY_IMPORT[importer] | {importer}
    found = [
        str(found)
        for found in IMPORTS
        if room(found.module) == importer and ours(found) and room(found.target) not in allowed
    ]
    assert found == []


def test_no_circles() -> None:
    """Modules can be loaded in some order: what they import on load forms no circle."""
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for found in IMPORTS:
        if ours(found) and not found.for_types_only and not found.inside_function:
            graph[found.module].add(found.target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_library_stays_in_its_rooms(library: str) -> None:
    """A library is imported by the rooms that own it alone; types are free for all."""
    strays = [
        str(found)
        for found in IMPORTS
        if found.target.partition(".")[0] == library
        and not found.for_types_only
        and room(found.module) not in HOMES[library]
        and found.module.removeprefix("weightslab.") not in HOMES[library]
    ]
    assert strays == []
