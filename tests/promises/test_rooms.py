"""Promise: imports run down only, lazy ones included; no circle; torch stays where it belongs."""

from __future__ import annotations

import ast

import pytest
from package_source import DOOR, LEVELS, PACKAGE, declared, imports, modules, rooms


def test_every_folder_is_a_room_of_the_design_and_holds_code() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__", "models"}
    assert folders <= set(LEVELS), f"not in the design: {sorted(folders - set(LEVELS))}"
    for room in rooms():
        count = sum(1 for module in modules().values() if module.room == room)
        assert count > 1, f"{room} is an empty room; rooms appear with their content"


def test_every_file_at_the_top_is_a_door() -> None:
    top = {m.name.removeprefix("ponder").lstrip(".") for m in modules().values()}
    top = {name for name in top if "." not in name} - set(LEVELS)
    assert top <= DOOR, f"files outside every room: {sorted(top - DOOR)}"


@pytest.mark.parametrize("room", rooms())
def test_room_may_open_lower_rooms_only(room: str) -> None:
    said = declared(room)
    assert said <= set(LEVELS), f"{room} names unknown rooms: {sorted(said - set(LEVELS))}"
    up = {other for other in said if LEVELS[other] >= LEVELS[room]}
    assert not up, f"{room} (level {LEVELS[room]}) says it may open {sorted(up)}"


@pytest.mark.parametrize("room", rooms())
def test_room_opens_what_it_says_and_no_more(room: str) -> None:
    allowed = declared(room) | {room}
    if room == "cli":
        allowed.add("api")  # the command stands on the public door
    wrong = [
        str(edge)
        for edge in imports()
        if edge.importer.split(".")[1:2] == [room]
        and edge.target != "ponder"
        and edge.target.split(".")[1] not in allowed
    ]
    assert not wrong, f"{room} may open {sorted(allowed)}:\n" + "\n".join(wrong)


def test_no_import_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for edge in imports():
        if not (edge.importer == "ponder" and edge.for_types):
            graph[edge.importer].add(edge.target)
    done: set[str] = set()

    def visit(name: str, road: tuple[str, ...]) -> None:
        assert name not in road, "circle: " + " -> ".join([*road[road.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name] - {name}):
                visit(target, (*road, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_internal_imports_stand_at_the_top_outside_cli() -> None:
    lazy = [
        str(edge)
        for edge in imports()
        if edge.in_function
        and not edge.importer.startswith("ponder.cli")
        # the door resolves its public names when they are first used
        and edge.importer != "ponder"
    ]
    assert not lazy, "\n".join(lazy)


def test_torch_is_imported_by_train_and_the_torch_op_set_only() -> None:
    wrong: list[str] = []
    for module in modules().values():
        if module.room == "train" or module.name.startswith("ponder.model.ops.torch"):
            continue
        for node in ast.walk(module.tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            heavy = {name.split(".")[0] for name in names} & {"torch", "transformers"}
            wrong += [f"{module.where}:{node.lineno} imports {name}" for name in heavy]  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", rooms())
def test_room_re_exports_at_most_seven_names(room: str) -> None:
    for node in modules()[f"ponder.{room}"].tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert len(names) <= 7, f"{room} re-exports {len(names)} names: {names}"
