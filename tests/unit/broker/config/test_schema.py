"""``config schema``: what it says of the configuration is what reading it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.config.loader import load
from broker.config.schema import MEANINGS, schema
from broker.errors import ConfigError

SCHEMA = schema()
SHIPPED = yaml.safe_load((Path(__file__).parents[4] / "config.yml").read_text())


def sections() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "Settings", SCHEMA
    yield from SCHEMA["$defs"].items()


def shapes(shape: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a shape, references followed."""
    found = [one for part in shape.get("anyOf", [shape]) for one in ([part] if part is shape else shapes(part))]
    return [SCHEMA["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in found]


def types_of(value: object) -> set[str]:
    kinds = {bool: {"boolean"}, int: {"integer", "number"}, float: {"number"}, str: {"string"}}
    return kinds.get(
        type(value), {"null"} if value is None else {"object" if isinstance(value, dict) else "array"}
    )


def assert_fits(value: Any, shape: dict[str, Any], place: str) -> None:
    """What of JSON Schema is used here, and no more."""
    fitting = [one for one in shapes(shape) if one.get("type") in types_of(value) | {None}]
    assert fitting, f"{place}: {value!r} is none of {shapes(shape)}"
    (one,) = fitting
    if isinstance(value, dict) and one.get("additionalProperties") is not True:
        assert set(one.get("required", [])) <= set(value), place
        for key, below in value.items():
            further = one.get("additionalProperties")
            known = one.get("properties", {}).get(key) or further
            assert known, f"{place}.{key} is in no schema"
            assert_fits(below, known, f"{place}.{key}")
    elif isinstance(value, list):
        for item in value:
            assert_fits(item, one["items"], place)
    assert value in one.get("enum", [value])


def test_the_shipped_configuration_fits() -> None:
    assert_fits(SHIPPED, SCHEMA, "config.yml")


@pytest.mark.parametrize(
    "text",
    ["queues: {q: }", "worker: ", "broker: {url: [amqp://h, amqp://k]}", "worker: {grace_s: }", "limits: {}"],
)
def test_what_may_be_left_out_may_be_null(text: str, tmp_path: Path) -> None:
    assert_fits(yaml.safe_load(text), SCHEMA, text)
    (tmp_path / "c.yml").write_text(text)
    load(tmp_path / "c.yml", {})


@pytest.mark.parametrize(
    "text", ["wroker: {}", "path: /x", "worker: {concurrency: x}", "tasks: {t: {queue: queue_a}}", "replies: both"]
)
def test_what_reading_refuses_does_not_fit(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        assert_fits(yaml.safe_load(text), SCHEMA, text)
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(ConfigError):
        load(tmp_path / "c.yml", {})


def test_every_key_says_what_it_means_and_in_which_unit() -> None:
    for name, section in sections():
        for key, shape in section["properties"].items():
            assert len(shape["description"]) > 5, f"{name}.{key}: add it to MEANINGS of broker/config/schema.py"
            if key.endswith("_s"):
                assert (shape["x-unit"], shape["description"][-11:]) == ("seconds", "In seconds.")
            if key.endswith("_bytes"):
                assert shape["x-unit"] == "bytes"


def test_there_is_a_meaning_for_nothing_else() -> None:
    known = {(name, key) for name, section in sections() for key in section["properties"]}
    assert {(name, key) for name, keys in MEANINGS.items() for key in keys} <= known


def test_bounds_and_defaults_are_there() -> None:
    concurrency = SCHEMA["$defs"]["WorkerSettings"]["properties"]["concurrency"]
    (number,) = [one for one in concurrency["anyOf"] if one["type"] == "integer"]
    assert (number["minimum"], number["maximum"], concurrency["default"]) == (1, 1000, 2)
