"""Which file may know which: the rules that keep the four packages apart."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "broker", "worker", "dispatcher")
#: What each package may import of the others.
BELOW = {
    "protocol": {"protocol"},
    "broker": {"protocol", "broker"},
    "worker": {"protocol", "broker", "worker"},
    "dispatcher": {"protocol", "broker", "dispatcher"},
}
PIKA = {
    f"broker/amqp/{name}.py"
    for name in ("pika_connection", "pika_transport", "connection", "channel", "pika_errors")
}
#: Modules that do input or output, or wait.
IO = {
    "asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "pathlib", "select", "selectors",
    "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "urllib", "time",
}  # fmt: skip
#: Modules and calls that turn bytes into code or objects.
MODULES_THAT_BUILD_FROM_BYTES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "imp"}
CALLS_THAT_BUILD_FROM_TEXT = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {"load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader", "load"}
TOP_LEVEL = {
    "broker", "worker", "dispatcher", "protocol", "docker", "compose.yaml", "config.yml", "tests",
    "pyproject.toml", "README.md", "Makefile", "LICENSE", "docs", "findings",
}  # fmt: skip
#: What Python and the tools leave behind, which .gitignore names.
LEFT_BEHIND = {"dist", "__pycache__", "bench.json"}

SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def imports(file: Path) -> Iterator[str]:
    """Every module that the file imports anywhere, with what is imported from it."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(file: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(file)}


every_source = pytest.mark.parametrize("file", SOURCES, ids=name_of)


@every_source
def test_imports_point_one_way(file: Path) -> None:
    package = name_of(file).split("/")[0]
    assert tops(file) & set(PACKAGES) <= BELOW[package]


@every_source
def test_the_product_does_not_import_its_tests(file: Path) -> None:
    assert not {"tests", "glassrabbit_testing"} & tops(file)


def test_the_testing_kit_is_shipped_and_so_imports_none_of_our_tests() -> None:
    kit = sorted((ROOT / "tests" / "kit" / "glassrabbit_testing").glob("*.py"))
    assert kit
    assert [name_of(file) for file in kit if "tests" in tops(file)] == []


def test_pika_is_imported_in_five_modules_and_nowhere_else() -> None:
    assert {name_of(file) for file in SOURCES if "pika" in tops(file)} == PIKA


@pytest.mark.parametrize("file", sorted((ROOT / "protocol").rglob("*.py")), ids=name_of)
def test_the_protocol_does_no_input_or_output_and_never_waits(file: Path) -> None:
    assert not tops(file) & IO
    third_party = tops(file) - {"msgpack", "protocol"}
    assert third_party <= set(sys.stdlib_module_names)


def test_of_the_operating_system_the_protocol_uses_random_bytes_alone() -> None:
    used = {
        f"os.{node.attr}"
        for file in (ROOT / "protocol").rglob("*.py")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert used == {"os.urandom"}


@every_source
def test_nothing_is_unpickled_evaluated_or_built_by_name(file: Path) -> None:
    assert not tops(file) & MODULES_THAT_BUILD_FROM_BYTES
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in CALLS_THAT_BUILD_FROM_TEXT, f"{name_of(file)}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yaml":
            assert node.attr not in UNSAFE_YAML, f"{name_of(file)}:{node.lineno}"


def test_modules_are_imported_by_name_only_where_handlers_are_loaded_and_our_own_commands_start() -> None:
    loading = {name_of(file) for file in SOURCES if "importlib" in tops(file)}
    assert loading == {"worker/execution/handler.py", "broker/console/start.py"}


def test_the_folder_docker_is_no_package() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()


def test_the_top_of_the_repository_shows_what_the_design_names() -> None:
    shown = {entry.name for entry in ROOT.iterdir() if not entry.name.startswith(".")}
    assert {name for name in shown if not name.endswith(".egg-info")} - LEFT_BEHIND <= TOP_LEVEL


def folders() -> dict[str, set[str]]:
    """Which folder imports which: siblings and their descendants, not a folder's own parents."""
    found: dict[str, set[str]] = {}
    for file in SOURCES:
        here = file.parent.relative_to(ROOT).parts
        for module in imports(file):
            there = tuple(module.split("."))
            while there and not (ROOT.joinpath(*there) / "__init__.py").exists():
                there = there[:-1]
            if there and here[: len(there)] != there and there[: len(here)] != here:
                found.setdefault("/".join(here), set()).add("/".join(there))
    return found


def test_no_folder_imports_another_that_imports_it_by_whatever_way() -> None:
    direct = folders()

    def reached(folder: str, on_the_way: tuple[str, ...] = ()) -> None:
        assert folder not in on_the_way, f"a circle: {' → '.join((*on_the_way, folder))}"
        for other in sorted(direct.get(folder, ())):
            reached(other, (*on_the_way, folder))

    for folder in direct:
        reached(folder)


def test_each_folder_says_what_it_promises() -> None:
    for folder in {file.parent for file in SOURCES}:
        assert ast.get_docstring(tree_of(folder / "__init__.py")), name_of(folder)
