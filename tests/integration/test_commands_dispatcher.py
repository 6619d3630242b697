"""The commands of ``python -m dispatcher``: data on standard output, all else on error, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Ended, Running, command, piped
from tests.support.installation import Install, Installation
from tests.support.slowness import in_time
from tests.support.waiting import eventually

RUN_KEYS = {"id", "attempts", "worker", "queued_ms", "ran_ms"}


def dispatch(
    installation: Installation, *arguments: str, stdin: str | bytes = b"", within_s: float = 30.0
) -> Ended:
    return command(installation.environment, "dispatcher", *arguments, stdin=stdin, within_s=within_s)


def test_call_prints_the_result_or_the_whole_reply(installation: Installation) -> None:
    installation.worker()
    for arguments, out in (
        (["-a", "value=1"], "1\n"),
        (["-a", "value=one"], '"one"\n'),
        (["-a", "value=one", "-o", "plain"], "one\n"),
        (["-a", 'value={"a": [true, null, "ü"]}'], '{"a": [true, null, "ü"]}\n'),
        (["-a", "value=a=b"], '"a=b"\n'),
        (["-a", "value="], '""\n'),
        (["--json", '{"value": 1}', "-a", "value=2"], "2\n"),
        ([], "null\n"),
    ):
        ended = dispatch(installation, "call", "echo", *arguments)
        assert (ended.code, ended.out, ended.err) == (0, out, "")
    for output in ("json", "jsonl"):
        ended = dispatch(installation, "call", "echo", "-a", "value=1", "-o", output)
        whole = json.loads(ended.out)
        assert (ended.code, ended.err, whole["result"]) == (0, "", 1)
        assert whole.keys() == RUN_KEYS | {"result"}
        assert ended.out.count("\n") == 1 or output == "json"


def test_a_task_that_failed_is_reported_on_standard_error_with_exit_1(installation: Installation) -> None:
    installation.worker()
    ended = dispatch(installation, "call", "reject", "-a", "text=not mine")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: task ")
    assert "failed (rejected) after 1 attempt(s)" in ended.err
    assert "not mine" in ended.err
    ended = dispatch(installation, "call", "reject", "-o", "json")
    assert (ended.code, json.loads(ended.out)["error"]["code"]) == (1, "rejected")


@pytest.mark.every_broker(long=True)
def test_an_unknown_task_ends_with_4_and_the_known_ones(installation: Installation) -> None:
    for words in (["call", "task_c"], ["submit", "task_c"], ["call", "task_c", "--delay", "60"]):
        ended = dispatch(installation, *words)
        assert (ended.code, ended.out) == (4, "")
        assert "no queue is bound for task task_c" in ended.err
        assert "note, note_b" in ended.err
    ended = dispatch(installation, "map", "task_c", stdin="{}\n{}\n")
    assert (ended.code, [one["error"]["code"] for one in ended.objects]) == (4, ["unknown_task"] * 2)


def test_without_a_worker_the_timeout_ends_with_75(installation: Installation) -> None:
    installation.declare()
    ended = dispatch(installation, "call", "echo", "--timeout", "2")
    assert (ended.code, ended.out) == (75, "")
    assert "no reply for task" in ended.err
    assert "Check that a worker consumes its queue" in ended.err
    assert ended.wall_s >= 2
    assert in_time(ended.wall_s, 6)
    ended = dispatch(installation, "map", "echo", "--timeout", "0.5", stdin="{}\n")
    assert (ended.code, ended.objects[0]["error"]["code"]) == (75, "no_reply")


def test_an_option_before_the_command_is_not_ignored(installation: Installation) -> None:
    # Otherwise someone who bounds the wait in the wrong place waits for a minute.
    ended = dispatch(installation, "--timeout", "0.5", "call", "echo", within_s=8)
    assert ended.code in (2, 75)


def test_submit_prints_the_id_once_the_broker_has_the_task(installation: Installation) -> None:
    ended = dispatch(installation, "submit", "echo", "-a", "value=1")
    (letter,) = installation.vhost.messages("queue_a")
    assert (ended.code, ended.out, ended.err) == (0, letter.properties.message_id + "\n", "")
    assert (letter.value, letter.properties.reply_to) == ({"value": 1}, None)
    ended = dispatch(installation, "submit", "echo", "--mailbox", "box", "--expires", "60")
    (letter,) = installation.vhost.messages("queue_a")
    assert letter.properties.reply_to == "mailbox.box"
    assert int(letter.properties.expiration) <= 60_000


@pytest.mark.parametrize(
    "words",
    [
        ["call"],
        ["call", "echo", "-a", "value"],
        ["call", "echo", "-a", "=1"],
        ["call", "echo", "--json", "[1]"],
        ["call", "echo", "--json", "{"],
        ["call", "echo", "--timeout", "soon"],
        ["call", "echo", "--timeout", "0"],
        ["call", "echo", "--timeout", "nan"],
        ["call", "echo", "--delay", "-1"],
        ["call", "echo", "--delay", "200000"],
        ["call", "echo", "--expires", "0"],
        ["call", "echo", "--expires", "nan"],
        ["call", "echo", "-o", "xml"],
        ["map", "echo", "--window", "0"],
        ["map", "echo", "--batch", "0"],
        ["map", "echo", "--batch", "1001"],
        ["map", "echo", "no/such/file"],
        ["submit", "echo", "--mailbox", "No Box"],
        ["collect", "../box"],
        ["collect", "box", "-n", "0"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(installation: Installation, words: list[str]) -> None:
    ended = dispatch(installation, *words, within_s=8)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip()
    assert "Traceback" not in ended.err


@pytest.mark.every_broker(long=True)
def test_map_answers_each_line_with_its_number_and_goes_on_after_bad_ones(
    installation: Installation, tmp_path: Path
) -> None:
    installation.worker()
    text = '{"value": "ü"}\n\n{"value": 3}\nnot json\n[1]\n{"value": NaN}\n  \n{"value": 8}'
    file = tmp_path / "lines.jsonl"
    file.write_text(text)
    for ended in (
        dispatch(installation, "map", "echo", stdin=text),
        dispatch(installation, "map", "echo", str(file)),
    ):
        by_line = {one["line"]: one for one in ended.objects}
        assert (ended.code, sorted(by_line), ended.err) == (1, [1, 3, 4, 5, 6, 8], "")
        assert [by_line[line]["result"] for line in (1, 3, 8)] == ["ü", 3, 8]
        assert by_line[1].keys() == RUN_KEYS | {"line", "result"}
        assert [by_line[line]["error"]["code"] for line in (4, 5)] == ["bad_line", "bad_line"]
        assert by_line[4]["id"] is None
    ended = dispatch(installation, "map", "reject", stdin="{}\n")
    assert (ended.code, ended.objects[0]["error"]["code"]) == (1, "rejected")


def test_map_of_nothing_ends_at_once(installation: Installation, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for words in ("map echo /dev/null", f"map echo {empty}", f"map echo < {empty}", "map echo < /dev/null"):
        ended = piped(installation.environment, f"dispatcher {words}", within_s=6)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert dispatch(installation, "map", "echo").code == 0


def test_a_line_that_is_too_long_for_a_message_ends_alone(installation: Installation) -> None:
    installation.worker()
    lines = b"\n".join([b'{"value": 1}', b'{"value": "' + b"x" * 2_000_000 + b'"}', b'{"value": 3}'])
    ended = dispatch(installation, "map", "echo", stdin=lines)
    ends = {one["line"]: one.get("result", one.get("error", {}).get("code")) for one in ended.objects}
    assert (ended.code, ends) == (1, {1: 1, 2: "encoded_too_large", 3: 3})


def test_a_line_without_an_end_in_sight_is_refused_without_a_traceback(installation: Installation) -> None:
    ended = dispatch(installation, "map", "echo", stdin=b"x" * (64 * 1024 * 1024 + 2))
    assert ended.code == 1
    assert "Traceback" not in ended.err


def test_map_follows_a_slow_pipe_and_prints_each_reply_as_it_comes(installation: Installation) -> None:
    installation.worker()
    with Running(installation.environment, "dispatcher", "map", "echo") as mapping:
        for number in range(3):
            mapping.write(json.dumps({"value": number}) + "\n")
            assert json.loads(mapping.lines(number + 1)[-1])["result"] == number
        mapping.end_input()
        assert mapping.wait(10).code == 0


def test_a_reader_that_has_enough_ends_map_without_a_traceback(installation: Installation, tmp_path: Path) -> None:
    installation.worker()
    file = tmp_path / "lines.jsonl"
    file.write_text((json.dumps({"value": "x" * 1000}) + "\n") * 2000)
    ended = piped(installation.environment, f"dispatcher map echo {file} | head -n 1")
    assert (ended.code, ended.err, ended.out.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("words", [["call", "echo"], ["map", "echo"], []], ids=["call", "map", "workload"])
def test_ctrl_c_ends_a_command_promptly_with_130(install: Install, words: list[str]) -> None:
    installation = install(workload=[{"task": "echo"}])
    with Running(installation.environment, "dispatcher", *words) as waiting:
        if words[:1] == ["map"]:
            waiting.write("{}\n")
        vhost = installation.vhost
        eventually(lambda: vhost.exists("queue_a") and vhost.ready("queue_a") == 1, "the task")
        waiting.sigint()
        ended = waiting.wait(5)
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
def test_the_workload_runs_side_by_side_and_the_table_shows_both_workers(install: Install) -> None:
    # Each takes long enough for the start of a process to be of no account.
    workload = [{"task": task, "count": 2, "arguments": {"seconds": 1.0}} for task in ("task_a", "task_b")]
    installation = install(workload=workload)
    workers = [installation.worker("queue_a"), installation.worker("queue_b")]
    ended = dispatch(installation, "-o", "json")
    report = json.loads(ended.out)
    assert (ended.code, len(report["tasks"])) == (0, 4)
    assert report["sequence_s"] >= 4
    assert report["wall_s"] <= 0.75 * report["sequence_s"]
    assert "4 of 4 done" in ended.err
    for worker, task in zip(workers, ("task_a", "task_b"), strict=True):
        assert [one["worker"].endswith(f":{worker.pid}") for one in report["tasks"] if one["task"] == task] == [
            True
        ] * 2


def test_each_format_of_the_workload_shows_both_workers(install: Install) -> None:
    installation = install(workload=[{"task": "note"}, {"task": "note_b", "count": 2}])
    workers = [installation.worker("queue_a"), installation.worker("queue_b")]
    for output in ("table", "plain", "jsonl"):
        ended = dispatch(installation, "-o", output)
        assert ended.code == 0
        assert all(f":{worker.pid}" in ended.out for worker in workers)
        assert ("speed-up" in ended.out) is (output == "table")
        assert ("speed-up" in ended.err) is (output != "table")
        assert output != "plain" or [line.split("\t")[0] for line in ended.out.splitlines()] == [
            "note",
            "note_b",
            "note_b",
        ]


def test_the_worst_end_of_a_workload_is_its_exit_code(install: Install) -> None:
    installation = install(workload=[{"task": "echo"}, {"task": "reject"}, {"task": "note_b"}])
    installation.worker()
    ended = dispatch(installation, "--timeout", "1", "-o", "jsonl")
    assert [one.get("error", {}).get("code") for one in ended.objects] == [None, "rejected", "no_reply"]
    assert ended.code == 75
    assert "1 of 3 done" in ended.err


def test_an_empty_workload_is_no_failure(install: Install) -> None:
    ended = dispatch(install(workload=[]), "-o", "jsonl")
    assert (ended.code, ended.out) == (0, "")


def test_output_from_outside_cannot_move_the_cursor(install: Install) -> None:
    installation = install(workload=[{"task": "reject", "arguments": {"text": "\x1b[2J"}}])
    installation.worker()
    for words in ([], ["call", "reject", "--json", json.dumps({"text": "\x1b[2Jgone"})]):
        ended = dispatch(installation, *words)
        assert "\x1b" not in ended.out + ended.err
