"""The imports of every module of the package, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import weightslab

SRC = Path(weightslab.__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target."""

    module: str
    """The importing module, dotted."""
    target: str
    """The imported module, dotted."""
    line: int
    for_types_only: bool
    """Stands in an `if TYPE_CHECKING` block."""
    inside_function: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Dotted name -> file, of both packages."""
    found = {}
    for package in ("weightslab", "weightslab_lightning"):
        for path in sorted((SRC / package).rglob("*.py")):
            parts = path.relative_to(SRC).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> list[Import]:
    """Every import of every module, in order."""
    known = modules()
    return [
        found
        for module, path in known.items()
        for found in _walk(module, ast.parse(path.read_text("utf-8")), known)
    ]


def _walk(
    module: str,
    node: ast.AST,
    known: dict[str, Path],
    *,
    typed: bool = False,
    inside: bool = False,
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(module, name.name, child.lineno, typed, inside)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno}: relative imports hide a direction"
            for name in child.names:
                # `from a import b` means the module a.b where there is one.
                deeper = f"{child.module}.{name.name}"
                target = deeper if deeper in known else str(child.module)
                yield Import(module, target, child.lineno, typed, inside)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from _walk(module, child, known, typed=True, inside=inside)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(module, child, known, typed=typed, inside=inside or function)
