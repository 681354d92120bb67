"""The one door to tests, lint, types and benchmarks: `nox -s <session>`.

Every install takes the pins of constraints.txt. A session's environment may be
reused (`nox -r`): the package itself is always installed afresh.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_external_run = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
SCRATCH_THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def group(name: str) -> list[str]:
    """Requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install(session: nox.Session, *requirements: str) -> None:
    """Install with the pins of the project."""
    session.install("-c", "constraints.txt", *requirements)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite against the installed wheel."""
    install(session, ".[demo]", *group("test"))
    # Two processes with one torch thread each: more only fight over the cores.
    session.run("pytest", "-n", "2", *session.posargs, env=SCRATCH_THREADS)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; change nothing."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check src/ with mypy, strict."""
    install(session, ".[demo,lightning,accelerate,hydra]", *group("types"))
    install(session, "torchmetrics", "torchdata", "pandas")
    session.run("mypy", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Print every measured goal as a ratio to a floor of the same run."""
    install(session, ".[demo]")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Kill the processes of a run a thousand times; nothing may be lost, doubled or wrong."""
    install(session, ".")
    session.run("python", "-m", "tests.crash.suite", *session.posargs, env=SCRATCH_THREADS)


@nox.session
def soak(session: nox.Session) -> None:
    """Train for half an hour; memory and files must stay flat."""
    install(session, ".")
    session.run("python", "-m", "tests.soak.suite", *session.posargs, env=SCRATCH_THREADS)


@nox.session
def scale(session: nox.Session) -> None:
    """Write and ask 100 million rows; DuckDB and PySpark (where there is Java) must agree."""
    install(session, ".", *group("scale"))
    session.run("python", "-m", "tests.scale.suite", *session.posargs, env=SCRATCH_THREADS)
