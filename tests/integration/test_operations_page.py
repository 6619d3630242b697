"""docs/operations.md is executed: logs, configuration and completion; and its pictures are true."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.integration.test_readme import assert_printed, commands_of, run_block
from tests.pictures import PICTURES, draw
from tests.support.vhost import Vhost
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()


def block_of(section: str) -> str:
    """The one console block under a heading."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block: str
    [block] = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return block


def test_the_log_for_machines_is_as_the_page_shows(vhost: Vhost, tmp_path: Path) -> None:
    block = block_of("Logs")
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))


def test_what_waits_is_seen_moved_and_removed_as_the_page_shows(vhost: Vhost, tmp_path: Path) -> None:
    block = block_of("What waits")
    if "4.3" in vhost.broker.version:
        block = "".join(line for line in block.splitlines(True) if not line.startswith("note: "))
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))


def test_the_configuration_is_shown_and_checked_as_the_page_shows(tmp_path: Path) -> None:
    block = block_of("Configuration")
    assert_printed(block.replace("/srv/glassrabbit", str(ROOT)), run_block(block, tmp_path))


def test_a_secret_is_taken_from_a_file_as_the_page_shows(tmp_path: Path) -> None:
    block = block_of("Secrets").replace("/tmp/broker-url", str(tmp_path / "broker-url"))
    assert_printed(block, run_block(block, tmp_path))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_for_other_shells_are_printed_as_the_page_says(shell: str, tmp_path: Path) -> None:
    assert f"python -m broker completion {shell}" in PAGE
    assert run_block(f"$ python -m broker completion {shell}\n", tmp_path)


def test_bash_takes_the_script_as_the_page_says(tmp_path: Path) -> None:
    block = block_of("Shell completion")
    assert len(commands_of(block)) == 1
    printed = run_block(block + "$ complete -p python python3\n", tmp_path)
    assert len(printed) == 2
    assert all("-F _glassrabbit" in line for line in printed)


def test_the_pictures_are_what_the_commands_print(vhost: Vhost, tmp_path: Path) -> None:
    draw(tmp_path, {"BROKER_URL": vhost.url, "GLASSRABBIT__BROKER__MANAGEMENT_URL": vhost.broker.management.url})
    for name in PICTURES:
        assert f"]({name}.svg)" in PAGE
        ours, theirs = (words_of(folder / f"{name}.svg") for folder in (ROOT / "docs", tmp_path))
        missing = ours - theirs
        assert len(missing) <= len(ours) / 10, f"python -m tests.pictures: {name} has no longer {missing}"


def test_the_pictures_have_the_columns_and_checks_that_the_page_has() -> None:
    """Of these none may be missing. The pictures ask for no probe, and are of workers that are not steered."""
    heads = [line for line in block_of("Status").splitlines() if line.startswith(("  queue  ", "  host  "))]
    checks = re.findall(r"^[✓✗–] (.{17}) ", block_of("Doctor"), re.MULTILINE)
    assert (len(heads), len(checks)) == (2, 25)
    shown = " ".join(check for check in checks if check.strip() not in ("probe", "steering"))
    for name, words in (("status", " ".join(heads)), ("doctor", shown)):
        assert set(re.findall(r"[a-z]{2,}", words)) <= words_of(ROOT / "docs" / f"{name}.svg"), name


def words_of(picture: Path) -> set[str]:
    """What is read in a picture, without numbers, which differ from run to run."""
    text = " ".join(ElementTree.parse(picture).getroot().itertext())  # noqa: S314 - it is ours
    return set(re.findall(r"[a-z]{2,}", text.replace("\xa0", " ")))
