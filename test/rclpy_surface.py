"""What rclpy offers: the names of its modules, classes and functions, and their parameters, read from its source.

python test/rclpy_surface.py RCLPY_FOLDER > test/humble_rclpy.json

wrote the file of that name from the branch `humble` of ros2/rclpy (3.3.15): Humble has no wheels to test against.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Surface = dict[str, dict[str, Any]]


def read_surface(folder: Path) -> Surface:
    """Returns name -> entry for each module of a package: where it is from, or its parameters and members."""
    surface: Surface = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        entries: dict[str, Any] = {}
        package = parts[:-1]
        for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
            entries.update(_entries(node, package))
        surface[name] = dict(sorted(entries.items()))
    return surface


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements of a module or class, those under `if` and `try` too."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            handlers = [item for handler in getattr(node, "handlers", []) for item in handler.body]
            yield from _statements([*node.body, *node.orelse, *handlers])


def _entries(node: ast.stmt, package: list[str]) -> dict[str, Any]:
    if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("rclpy")):
        home = package[: len(package) + 1 - node.level] if node.level else []
        origin = ".".join([*home, *filter(None, [node.module])])
        return {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in node.names}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name: _parameters(node)}
    if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
        return {node.name: {"bases": bases, "members": _members(node)}}
    return dict.fromkeys(_assigned(node))


def _members(node: ast.ClassDef) -> dict[str, Any]:
    """Returns method -> parameters, and attribute -> None; those that methods set on self too."""
    members: dict[str, Any] = {}
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
            if isinstance(item.value, ast.Name) and item.value.id == "self":
                members[item.attr] = None
    for statement in _statements(node.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            members[statement.name] = _parameters(statement)
        else:
            members.update(dict.fromkeys(_assigned(statement)))
    return dict(sorted(members.items()))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Returns the names of a function's parameters, ending with ** where it takes any keyword."""
    names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")] + ["**"] * (node.args.kwarg is not None)


def _assigned(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


if __name__ == "__main__":
    json.dump(read_surface(Path(sys.argv[1])), sys.stdout, separators=(",", ":"))
