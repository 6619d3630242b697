"""Which attack is tried by which tests. The numbers are those of the project's list of attacks, S01 to S46.

A test that is named here and is not there fails this file, and so does a file of this folder that is not named.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

#: Attack → files of tests that try it, each with the words of the names of the tests (none: all of the file).
TRIED: dict[str, dict[str, tuple[str, ...]]] = {
    "S01 a body that is pickle, yaml or json, or says so": {
        "unit/test_architecture.py": ("nothing_is_unpickled", "imported_by_name"),
        "hostile/test_bodies.py": ("refused_with_its_code",),
        "hostile/test_socket_messages.py": ("no_body_runs", "short_string"),
    },
    "S02 a compressed body, a bomb": {
        "hostile/test_bodies.py": ("refused_with_its_code",),
        "hostile/test_socket_messages.py": ("short_string",),
    },
    "S03 extension types": {"hostile/test_bodies.py": ("refused_with_its_code",)},
    "S04 timestamps that are none": {"hostile/test_bodies.py": ("refused_with_its_code",)},
    "S05 lengths that are only claimed": {"hostile/test_bodies.py": ("ten_times_the_body",)},
    "S06 arrays in arrays that claim": {
        "unit/protocol/test_codec.py": ("little_memory",),
        "hostile/test_bodies.py": ("ten_times_the_body",),
        "hostile/test_memory.py": ("ten_times_its_size",),
    },
    "S07 depth": {
        "hostile/test_bodies.py": ("deepest_body",),
        "unit/protocol/test_codec.py": ("limits_themselves",),
    },
    "S08 keys that are no text, or stand twice": {"hostile/test_bodies.py": ("refused_with_its_code",)},
    "S09 many keys, time and memory": {
        "hostile/test_bodies.py": ("time_grows", "unique_keys"),
        "hostile/test_memory.py": ("keys_that_come_once",),
    },
    "S10 odd numbers and text": {
        "hostile/test_bodies.py": ("odd_value", "refused_with_its_code"),
        "hostile/test_socket_messages.py": ("odd_value",),
    },
    "S11 cut anywhere, a bit flipped, bytes after the end": {
        "hostile/test_bodies.py": ("cut_anywhere", "any_bit_flipped", "cut_or_with"),
        "hostile/test_properties.py": ("any_bit_flipped", "cut_anywhere", "cut_or_with", "any_bytes"),
    },
    "S12 fields missing, of another type, out of range": {
        "hostile/test_socket_messages.py": ("header_of_any_kind",),
        "unit/protocol/test_task.py": ("no_properties_raise",),
    },
    "S13 a body over the limit": {
        "hostile/test_memory.py": ("ten_times_its_size",),
        "hostile/test_socket_messages.py": ("no_body_runs",),
    },
    "S14 a timestamp out of range": {
        "unit/broker/amqp/test_wire.py": (),
        "hostile/test_socket_messages.py": ("header_of_any_kind",),
        "hostile/test_messages.py": ("cannot_be_decoded",),
    },
    "S15 nested tables, 128 kB of headers, every kind of field": {
        "hostile/test_socket_messages.py": ("header_of_any_kind",),
        "hostile/test_memory.py": ("ten_times_its_size",),
    },
    "S16 short strings that are not UTF-8, or of 255 bytes": {
        "hostile/test_socket_messages.py": ("short_string",),
    },
    "S17 CC and BCC": {"hostile/test_forgeries.py": ("nothing_forged",)},
    "S18 forged deaths and counts": {
        "hostile/test_forgeries.py": ("nothing_forged", "forged_death", "forged_attempt"),
    },
    "S19 expiration, priority, delivery mode": {
        "integration/test_dispatcher_calls.py": ("could_not_keep",),
        "hostile/test_socket_messages.py": ("broker_refuses", "short_string"),
        "hostile/test_forgeries.py": ("nothing_forged",),
    },
    "S20 a user id, true or false": {
        "hostile/test_forgeries.py": ("true_user_id",),
        "hostile/test_permission_matrix.py": ("speak_for_another",),
    },
    "S22 reply_to of another queue": {"hostile/test_reply_addresses.py": ("address_that_is_none",)},
    "S23 reply_to that looks like an address": {
        "hostile/test_reply_addresses.py": ("address_that_is_none",),
        "faults/test_network_answers.py": ("closes_the_connection",),
        "unit/protocol/test_addresses.py": (),
    },
    "S24 a guess at a reply": {
        "hostile/test_reply_addresses.py": ("guesses_at_replies",),
        "hostile/test_forgeries.py": ("id_of_another",),
    },
    "S25 replies that are none": {"hostile/test_replies.py": ()},
    "S26 names of other things": {"hostile/test_socket_messages.py": ("no_name_is_imported",)},
    "S27 arguments that do not fit": {"hostile/test_socket_messages.py": ("arguments_that_do_not_fit",)},
    "S28 an error by the name of something else": {"hostile/test_replies.py": ("reported_by_its_name",)},
    "S29 an exception with secrets in it": {"hostile/test_shown.py": ("a_text_of_1_kb",)},
    "S30 control characters, a megabyte of text": {"hostile/test_shown.py": ("the_log_of_a_worker",)},
    "S31 many unknown names": {"hostile/test_shown.py": ("thousand_names",)},
    "S32 the password": {
        "hostile/test_canary.py": (),
        "integration/test_commands_failures.py": ("password_is_in_no_output",),
        "integration/test_private_node.py": ("password_shows_nowhere",),
        "unit/broker/config/test_loader.py": ("password",),
        "unit/broker/config/test_endpoint.py": ("never_the_password",),
    },
    "S33 options in a URL": {"unit/broker/config/test_endpoint.py": ("never_the_password",)},
    "S34 TLS": {"integration/test_tls.py": (), "unit/broker/config/test_tls.py": ()},
    "S35 no encryption, guest": {
        "integration/test_tls.py": ("without_encryption",),
        "integration/test_private_node.py": ("generated_password",),
        "integration/test_compose.py": ("loopback_only",),
    },
    "S36 every operation that a role does not need": {
        "hostile/test_permission_matrix.py": (),
        "hostile/test_permissions.py": (),
    },
    "S37 another tenant": {"hostile/test_permission_matrix.py": ("enter_another_vhost",)},
    "S41 hostile letters before a person's eyes": {
        "hostile/test_letters.py": (),
        "hostile/test_shown.py": ("shown_without_its_escapes", "diff_and_prune"),
        "integration/test_dead_letters.py": ("hostile_letters",),
    },
    "S42 files and images": {
        "integration/test_private_node.py": ("owner_only",),
        "integration/test_compose.py": ("is_not_root", "cannot_change_its_own_code"),
    },
    "S43 wrong keys of the configuration": {
        "unit/broker/config/test_loader.py": ("wrong_value", "wrong_variable", "not_plain_yaml"),
        "integration/test_commands_failures.py": ("wrong_configuration",),
    },
}
#: Attacks on what there is not, or that another party has to bear.
NOT_TRIED = {
    "S21": "messages are not signed",
    "S38": "nothing listens for HTTP",
    "S39": "nothing listens for HTTP",
    "S40": "nothing listens for HTTP",
    "S44": "limits of users are the administrator's",
    "S45": "a hostile broker: TLS with verification keeps it out",
    "S46": "dependencies are pinned by pyproject.toml",
}


def names_of(file: Path) -> list[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"]


@pytest.mark.parametrize("attack", TRIED)
def test_the_tests_that_try_an_attack_are_there(attack: str) -> None:
    for file, words in TRIED[attack].items():
        names = names_of(TESTS / file)
        assert names
        for word in words:
            assert any(word in name for name in names), f"{file} has no test about {word}"


def test_every_attack_is_tried_or_there_is_nothing_to_attack() -> None:
    numbers = [attack.split()[0] for attack in TRIED] + list(NOT_TRIED)
    assert sorted(numbers) == [f"S{number:02d}" for number in range(1, 47)]


def test_every_file_of_this_folder_tries_some_attack() -> None:
    named = {file for files in TRIED.values() for file in files}
    here = {f"hostile/{file.name}" for file in Path(__file__).parent.glob("test_*.py")}
    assert here - named == {"hostile/test_table.py"}
