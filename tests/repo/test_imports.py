"""No module imports itself by way of others: in a circle, the order of imports decides what works."""

from __future__ import annotations

from collections.abc import Callable, Collection

import grimp

ROOMS = ("fleet", "images", "harness", "scenarios", "reports")


def circles(modules: Collection[str], imported_by: Callable[[str], Collection[str]]) -> list[list[str]]:
    """Modules that import each other, directly or not: what is left when nothing can be taken away from either end."""
    left = {module: set(imported_by(module)) & set(modules) for module in modules}
    while True:
        wanted = {module for needs in left.values() for module in needs}
        ends = {module for module, needs in left.items() if not needs or module not in wanted}
        if not ends:
            break
        left = {module: needs - ends for module, needs in left.items() if module not in ends}
    found: dict[frozenset[str], None] = {}
    for module in left:
        found[frozenset(_reached(module, left) & {other for other in left if module in _reached(other, left)})] = None
    return sorted(sorted(group) for group in found if group)


def _reached(module: str, left: dict[str, set[str]]) -> set[str]:
    """What a module imports, and what that imports."""
    found, open_ends = set[str](), [module]
    while open_ends:
        for needed in left[open_ends.pop()] - found:
            found.add(needed)
            open_ends.append(needed)
    return found


def test_no_imports_go_round() -> None:
    graph = grimp.build_graph(*ROOMS, cache_dir=None)
    assert circles(graph.modules, graph.find_modules_directly_imported_by) == []


def test_the_look_finds_circles() -> None:
    """A test of the test."""
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set[str](), "f": {"g"}, "g": {"f"}}
    assert circles(imports.keys(), lambda module: imports[module]) == [["a", "b", "c"], ["f", "g"]]
