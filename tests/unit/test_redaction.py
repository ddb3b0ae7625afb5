"""Secrets: which variables hold one, which guesses may be hidden, and that no spelling of one is left."""

from __future__ import annotations

import dataclasses
import html
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from harness import events as ev
from harness.checkers._secrets import credential_in
from harness.discovery import with_own_secrets
from harness.errors import UsageError
from harness.history import FILE_NAME, Clock, History, read_history
from harness.redaction import (
    GUESSED,
    Secrets,
    can_be_hidden,
    is_named_secret,
    masked,
    names_of,
    redact,
    redact_logs,
    secrets_in,
    secrets_of,
    spellings,
)
from harness.report import base
from harness.targets.model import External, Launch, Target, Tokens
from tests.unit import report_samples as samples

PLANTED = "pl4nted-7f3a"


@pytest.mark.parametrize(
    "name",
    ["API_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "apikey", "GITHUB_PAT", "X_AUTHORIZATION", "db-pass"],
)
def test_a_variable_named_like_a_secret_is_one(name: str) -> None:
    assert is_named_secret(name)


@pytest.mark.parametrize("name", ["PATH", "KEYBOARD", "MONKEY", "TOKEN_FILE", "SSH_AUTH_SOCK", "COMPASS", ""])
def test_a_variable_named_otherwise_is_none(name: str) -> None:
    assert not is_named_secret(name)


@pytest.mark.parametrize(
    "secret",
    [
        *(
            PLANTED,
            "hunter2",
            "S3cret!",
            "correcthorsebatterystaple",
            "a b c 1x2y",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        ),
        *("planted-secret-token", "my-super-secret-password", "correct-horse-battery-staple", "sk_live_1234567890"),
        *(
            "PLANTED_TOKEN_42",
            "token-12345",
            "admin-token",
            "audit-password",
            "changemeplease",
            "audit-1234567890123456",
        ),
        *("1234567890123456", "123456789012", "4111-1111-1111-1111"),
    ],
)
def test_a_guess_that_is_no_everyday_word_may_be_hidden(secret: str) -> None:
    assert can_be_hidden(secret)


@pytest.mark.parametrize(
    "word",
    [
        *("", "postgres", "event_date", "2025_12", "audit_events_2025_12", "864000", "127.0.0.1:5432", "abc12"),
        *("supersecret", "token-123", "12345678901", "20251201", "2025-12-01", "2025-12-01T00:00:00Z"),
        *("2025-12-01 00:00:00.000000+00:00", "192.168.100.100:54321", "authentication", "partition-harness"),
    ],
)
def test_a_word_that_histories_use_themselves_is_left_to_its_shape(word: str) -> None:
    assert not can_be_hidden(word)


def test_a_part_of_a_name_that_is_told_anyway_is_left(tmp_path: Path) -> None:
    external = External(
        "postgresql://harness@h/prod-ledger-db?sslmode=require", "marker", "http://h:8474", "edge-proxy-one"
    )
    path = tmp_path / "my-shared-project" / "target.toml"
    target = Target(name="team-ledger-service", path=path, launch=None, url="http://h", external=external)
    told = ("prod-ledger-db", "edge-proxy-one", "my-shared-project", "team-ledger-service", "ledger-outage-claim")
    environment = {f"T{number}_TOKEN": value for number, value in enumerate((*told, "prod-ledger-password"))}
    guessed = secrets_of(target, environment, ("ledger-outage-claim",)).guessed
    assert not set(told) & set(guessed)
    assert "prod-ledger-password" in guessed
    assert not can_be_hidden("prod-ledger-db", names_of(target))
    assert set(told) <= set(secrets_of(None, environment).guessed), "without the target nobody tells them"


def test_secrets_are_found_by_the_names_of_variables_and_within_urls_and_connection_strings(tmp_path: Path) -> None:
    found = set(
        secrets_in(
            {
                "SOME_TOKEN": PLANTED,
                "UPSTREAM": "https://user:p%40ss-1@host/x",
                "DATABASE_URL": "host=h password='it''s' user=u password=w0rd-2",
                "PLACE_KEY": str(tmp_path),
                "HOME": "/home/x",
            }
        )
    )
    assert {PLANTED, "p%40ss-1", "p@ss-1", "w0rd-2"} <= found
    assert str(tmp_path) not in found, "a path says where something is"
    assert "/home/x" not in found


@pytest.mark.parametrize("start", ["/", "~nobody-has-this-name/", "~"])
def test_a_secret_that_begins_like_a_path_is_one_all_the_same(start: str) -> None:
    value = start + "x1" * 200
    assert list(secrets_in({"API_TOKEN": value})) == [value]


def test_a_target_tells_of_its_tokens_its_environment_and_its_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text("# host:port:db:user:n0t-this\nh:5432:*:u:from-f1le\\:x\n")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    monkeypatch.setenv("CALLER_TOKEN", "c4ller-secret")
    launch = Launch(("run", "--dsn", "postgres://u:c0mmand@h/x"), {"API_KEY": PLANTED, "PORT": "0"})
    external = External("host=h", "marker", "http://a:t0xi-pass@h:8474", "postgres")
    target = Target(
        name="t",
        path=tmp_path / "target.toml",
        launch=launch,
        url="http://me:url-p4ss@h",
        tokens=Tokens(admin="admin"),
        external=external,
    )
    secrets = secrets_of(target, {"METRICS_TOKEN": "0verride"})
    wanted = {PLANTED, "c0mmand", "url-p4ss", "t0xi-pass", "from-f1le:x", "c4ller-secret", "0verride"}
    assert wanted <= set(secrets.guessed)
    assert "n0t-this" not in secrets.guessed
    assert secrets.known == ("admin",), "what is declared to be one is hidden whatever it is"


def test_no_spelling_of_a_secret_is_left() -> None:
    secret = 'pä"ss <w0rd>&/1'
    spelt = [secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), html.escape(secret)]
    text = " ".join((*spelt, html.escape(secret, quote=False), quote(secret, safe="")))
    assert "w0rd" in text
    assert "w0rd" not in redact(text, spellings([secret]))


def test_a_secret_that_holds_another_is_hidden_as_a_whole() -> None:
    assert redact("token-1-extended", spellings(["token-1", "token-1-extended"])) == "***"
    both = Secrets(guessed=("token-1-extended", "other-secret")).and_known(["token-1"])
    assert both == Secrets(("token-1-extended", "token-1"), ("other-secret",))
    assert both.hidden("it is token-1-extended") == "it is ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://slm:hunter2@h/db", "postgresql://slm:***@h/db"),
        ("password=hunter2 host=h", "password=*** host=h"),
        ('{"api_key": "a b c"}', '{"api_key": "***"}'),
        ('{"line": "{\\"token\\": \\"abc\\"}"}', '{"line": "{\\"token\\": \\"***\\"}"}'),
        ("Authorization: Bearer abcdef.123", "Authorization: Bearer ***"),
        ("SERVICE_TOKEN=abc", "SERVICE_TOKEN=***"),
        ("ALTER ROLE slm PASSWORD 'a b'; next", "ALTER ROLE slm PASSWORD '***'; next"),
        ('{"Authorization": "a-b-c-1"}', '{"Authorization": "***"}'),
        ("SECRET_KEY=planted-secret", "SECRET_KEY=***"),
        ("at 3: SECRET_KEY=planted-secret next", "at 3: SECRET_KEY=*** next"),
        ("x GITHUB_PAT=abc, DB_PASS: abc", "x GITHUB_PAT=***, DB_PASS: ***"),
        ("x AWS_SECRET_ACCESS_KEY = abc y", "x AWS_SECRET_ACCESS_KEY = *** y"),
        (
            "aws_secret_access_key=abc github_pat=abc db_pass=abc",
            "aws_secret_access_key=*** github_pat=*** db_pass=***",
        ),
        ('{"SESSION_COOKIE": "a \\"b\\" c", "X": 1}', '{"SESSION_COOKIE": "***", "X": 1}'),
        ("environ({'API_TOKEN': \"it's mine\", 'X': '1'})", "environ({'API_TOKEN': \"***\", 'X': '1'})"),
        ('{"line": "{\\"DB_PASS\\": \\"a b\\"}"}', '{"line": "{\\"DB_PASS\\": \\"***\\"}"}'),
        ("SCENARIO_PASSPHRASE=pl4nted of scenario 1\nPORT=0", "SCENARIO_PASSPHRASE=***\nPORT=0"),
        ('SOME_SECRET=q"uoted <pl4nted> & ünique', "SOME_SECRET=***"),
        ('declare -x STRIPE_KEY="a b"', 'declare -x STRIPE_KEY="***'),
        ("x HTTP_AUTHORIZATION: Bearer abcdef.123", "x HTTP_AUTHORIZATION: *** ***"),
        ("PASS: 3 checks, KEY: 7", "PASS: 3 checks, KEY: 7"),
        ("PARTITION=2025_12 TOKEN_FILE=x", "PARTITION=2025_12 TOKEN_FILE=x"),
        ('"API_KEY": null, "DB_PASS": ""', '"API_KEY": null, "DB_PASS": ""'),
        ("SSH_KEY=/", "SSH_KEY=/"),
        ("partition_key=2025_12, Key (event_id)=(1)", "partition_key=2025_12, Key (event_id)=(1)"),
        ("external.token is missing", "external.token is missing"),
        ('"password": null', '"password": null'),
        ("http://host:8080/path", "http://host:8080/path"),
    ],
)
def test_what_has_the_shape_of_a_credential_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


def test_a_history_tells_known_secrets_from_guessed_ones_and_judges_them_by_their_words(tmp_path: Path) -> None:
    history = History(tmp_path, Clock())
    history.hide(("kn0wn-one",), (PLANTED,))
    for message in ("dsn is: kn0wn-one", f"replica: {PLANTED}", f"token={PLANTED}"):
        history.add(ev.LogLine(1.0, "INFO", message))
    history.close()
    said = [record.message for record in read_history(tmp_path) if isinstance(record, ev.LogLine)]
    assert said == [f"dsn is: {ev.HIDDEN}", f"replica: {GUESSED}", f"token={GUESSED}"]
    assert [credential_in(line) for line in said] == [True, False, True]


def test_marks_are_heard_as_they_are_written_so_without_secrets(tmp_path: Path) -> None:
    heard: list[ev.FaultMark | ev.PhaseMark] = []
    history = History(tmp_path, Clock(), heard.append)
    history.hide(("kn0wn-one",))
    history.add(ev.Note(0.5, "probe", "not heard"))
    history.add(ev.FaultMark(1.0, 0, "detach", ev.FaultStep.CONFIRMED, "password kn0wn-one"))
    history.add(ev.PhaseMark(2.0, "during"))
    history.close()
    assert heard == [
        ev.FaultMark(1.0, 0, "detach", ev.FaultStep.CONFIRMED, f"password {ev.HIDDEN}"),
        ev.PhaseMark(2.0, "during"),
    ]


def test_logs_are_rewritten_where_they_hold_a_secret_and_left_alone_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "service.log").write_bytes(b"\xff start\nkey is pl4nted-7f3a and postgres://u:x@h\n")
    (tmp_path / "postgres.log").write_text("ready\n")
    before = (tmp_path / "postgres.log").stat().st_mtime_ns
    redact_logs(tmp_path, Secrets(guessed=spellings([PLANTED])))
    assert (tmp_path / "service.log").read_bytes() == b"\xff start\nkey is *** and postgres://u:***@h\n"
    assert (tmp_path / "postgres.log").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "line",
    [
        "postgres://u:x@h",
        "PASSWORD=x",
        "db_passwd: x",
        "passphrase = x",
        "Token: x",
        "SECRET=x",
        "apikey=x",
        "api_key=x",
        "API-KEY: x",
        "bearer abcdef",
        "Basic abcdef",
        "password 'x'",
        '"authorization": "x"',
        "access_key=x",
        "private-key: x",
        "first_pass=x",
        "db-pwd=x",
        "gh_pat=x",
        "x A_PWD=x",
        "x A_AUTH=x",
        "x A_COOKIE=x",
        "x A_CREDENTIALS=x",
        "x A_KEY=x",
    ],
)
def test_a_log_is_masked_wherever_a_text_would_be(tmp_path: Path, line: str) -> None:
    assert masked(line) != line
    (tmp_path / "service.log").write_text(f"before\n{line}\nafter\n")
    redact_logs(tmp_path, Secrets())
    assert (tmp_path / "service.log").read_text() == f"before\n{masked(line)}\nafter\n"


def test_no_report_has_a_secret_of_the_environment_even_if_a_result_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", PLANTED)
    run = samples.sample_run(5, hostile=PLANTED)
    base.write_all(samples.result_of(samples.lost(hostile=PLANTED)), run, tmp_path)
    base.write_suite(samples.suite_of(samples.result_of(samples.lost(hostile=PLANTED))), tmp_path)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) >= 6
    assert [path.name for path in files if PLANTED.encode() in path.read_bytes()] == []


def test_a_replay_gets_the_values_that_its_history_keeps_back_from_the_scenario_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from harness.scenario import Load, Scenario\n"
        f'SCENARIO = Scenario(name="mine", claim="c.", requirements=(), load=Load(months=()), '
        f'service_environment={{"API_TOKEN": "{PLANTED}", "SIZE": "1"}})\n'
    )
    stored = dataclasses.replace(samples.SCENARIO, name="mine", service_environment={"API_TOKEN": GUESSED, "SIZE": "2"})
    assert with_own_secrets(stored, tmp_path).service_environment == {"API_TOKEN": PLANTED, "SIZE": "2"}
    plain = dataclasses.replace(stored, service_environment={"SIZE": "2"})
    assert with_own_secrets(plain, tmp_path / "gone") is plain
    with pytest.raises(UsageError, match="no scenario named 'other'"):
        with_own_secrets(dataclasses.replace(stored, name="other"), tmp_path)


def test_a_history_that_is_read_back_is_whole_after_redaction(tmp_path: Path) -> None:
    history = History(tmp_path, Clock())
    history.hide(spellings(['q"uote-1']), spellings(["back\\slash-2"]))
    history.add(ev.Note(1.0, 'q"uote-1', "back\\slash-2"))
    history.close()
    assert "uote-1" not in (tmp_path / FILE_NAME).read_text()
    assert read_history(tmp_path) == [ev.Note(1.0, ev.HIDDEN, GUESSED)]
