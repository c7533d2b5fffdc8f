"""Every failure gives a message with the next step; failures that affect money also raise an alert."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import duckdb
import pytest
import stripe
from filelock import FileLock

from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing.record_kinds import Kind
from pipeline.store.alert_log import alert_states
from pipeline.stripe.client import connect
from tests.feeds.fake_api import Answer, serving
from tests.http_servers import http_server
from tests.landing.raw import event_line
from tests.stripe.publisher import QUICK
from tests.support import Outcome, billhouse, copy_home, event, prepare, query, write_jsonl

KEY = "sk_test_51HabcDEFghi"
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A home with August published and September ready to be closed."""
    usage = [
        event("start", "2026-08-10T10:00:00Z", vcpu_count=100),
        event("stop", "2026-08-10T15:00:00Z"),
        event("start", "2026-09-10T10:00:00Z", sandbox="later", vcpu_count=100),
        event("stop", "2026-09-10T15:00:00Z", sandbox="later"),
    ]
    plans = [{"customer_id": "ada", "plan_id": "pro", "effective_at": "2026-08-01T00:00:00Z"}]
    return prepare(
        tmp_path_factory.mktemp("failures") / "home",
        parsed_project,
        {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans},
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-08"),
        ("approve", "2026-08", "--all", "--by", "cfo"),
    )


@pytest.fixture
def home(ready: Path, tmp_path: Path) -> Home:
    return copy_home(ready, tmp_path / "home")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stripe.client.RetryPolicy", lambda: QUICK)


def assert_fails(outcome: Outcome, *words: str, code: int = 1) -> None:
    """The command failed with a message that contains these words, and without a traceback."""
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.stderr + outcome.stdout
    assert "Unexpected error" not in outcome.stderr
    for word in words:
        assert word in outcome.stderr, outcome.stderr


def alerts(home: Home) -> dict[str, str]:
    """The text of each alert, by kind."""
    return {alert["kind"]: alert["text"] for alert in alert_states(home)}


# Stripe


@contextmanager
def answering(status: int, *, reads: bool = False) -> Iterator[str]:
    """The URL of a Stripe that responds to every request with one status, and repeats the key that it was sent.

    `reads`: lists succeed, and are empty.
    """

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        sent = request.headers["Authorization"]
        answer: dict[str, Any] = {"error": {"message": f"Invalid: {sent}\x1b[2J", "type": "api_error"}}
        if is_well := reads and request.command == "GET":
            answer = {"object": "list", "data": [], "has_more": False, "url": "/v1/things"}
        body = json.dumps(answer).encode()
        request.send_response(200 if is_well else status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with http_server(respond) as address:
        yield address


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "Stripe failed (500)"), (503, "Stripe failed (503)"), (401, "Stripe refuses the key"), (429, "too many requests")],
)
def test_a_failing_stripe_gives_a_clear_message_and_alerts_without_the_key(
    home: Home, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    (invoice,) = query(home, "from invoices where period = '2026-08'")
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    with answering(status) as address:
        monkeypatch.setenv("BILLHOUSE_STRIPE_URL", address)
        for command in (("publish", "2026-08"), ("sync-stripe",)):
            outcome = billhouse(home.path, *command)
            assert_fails(outcome, words)
            assert KEY not in outcome.stderr
            assert "\x1b[2J" not in outcome.stderr
        assert_fails(billhouse(home.path, "credit-note", invoice["invoice_id"]), "Stripe does not have")
    raised = alerts(home)
    assert raised.keys() == {"publish_failed", "sync_failed", "credit_note_failed"}
    assert words in raised["publish_failed"]
    assert words in raised["sync_failed"]
    assert not any("51Habc" in text for text in raised.values())


def test_a_key_that_stripe_repeats_is_neither_printed_nor_stored(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    with answering(400, reads=True) as address:
        monkeypatch.setenv("BILLHOUSE_STRIPE_URL", address)
        outcomes = [billhouse(home.path, "publish", "2026-08"), billhouse(home.path, "publish", "2026-08", "--json")]
    for outcome in outcomes:
        assert outcome.code == 1
        assert "Invalid: Bearer [redacted]" in outcome.stdout
        assert "51Habc" not in outcome.stdout + outcome.stderr
    assert "Invalid: Bearer [redacted]" in alerts(home)["publish_failed"]
    assert "51Habc" not in alerts(home)["publish_failed"]
    notes = duckdb.execute(f"select note from read_parquet('{home.outbox}/*.parquet') where note <> ''").fetchall()
    assert [note.replace("sk_test_", "") for (note,) in notes] == ["Invalid: Bearer [redacted]\\x1b[2J"] * 2


@pytest.mark.parametrize(
    ("key", "address", "words"),
    [
        ("sk_test_x", "http://stripe.example.com", "not encrypted"),
        ("sk_test_x", "http://10.0.0.7:12111", "not encrypted"),
        ("sk_live_x", "http://stripe.example.com", "a live key is never sent unencrypted"),
        ("rk_live_x", "http://127.0.0.1:12111", "a live key is never sent unencrypted"),
        ("sk_test_x", "ftp://stripe.example.com", "is not a valid URL"),
        ("sk_test_x", "stripe.example.com", "is not a valid URL"),
        ("sk_test_x", "https://[::1", "is not a valid URL"),
        ("sk_test_x", "https://name:hunter22@stripe.example.com", "contains a user name or a password"),
    ],
)
def test_a_key_is_not_sent_where_it_could_be_read(
    home: Home, monkeypatch: pytest.MonkeyPatch, key: str, address: str, words: str
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", key)
    monkeypatch.setenv("BILLHOUSE_STRIPE_URL", address)
    live = ("--live",) if "_live_" in key else ()
    for command in (("publish", "2026-08"), ("sync-stripe",)):
        refused = billhouse(home.path, *command, *live)
        assert_fails(refused, words)
        assert "hunter22" not in refused.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:12111", "http://localhost:1", "http://[::1]:1", "https://other.example"])
def test_a_test_key_may_go_to_this_machine_or_encrypted(home: Home, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_x")
    monkeypatch.setenv("BILLHOUSE_STRIPE_URL", address)
    with connect(home) as connection:
        assert connection.where == address


# A proxy in the environment


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_not_asked_for_this_machine_itself(home: Home, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, CLOSED_PORT)
    published = billhouse(home.path, "publish", "2026-08", "--json")
    assert (published.code, published.json["published"]) == (0, 1)
    with serving(lambda _: Answer({"data": [json.loads(event_line("e1", vcpu_count=1))]})) as api:
        assert billhouse(home.path, "collect", "--url", api.url, "--json").json["rows"] == 1


def test_a_proxy_that_does_not_answer_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_x")
    monkeypatch.setenv("HTTPS_PROXY", CLOSED_PORT)
    assert_fails(billhouse(home.path, "publish", "2026-08"), "through the proxy in HTTPS_PROXY")


# The disk

MONEY = {"close": "close_failed", "publish": "publish_failed", "sync-stripe": "sync_failed"}
WRITING: dict[str, tuple[Any, ...]] = {
    "land": ("land", "MORE"),
    "close": ("close", "2026-09"),
    "approve": ("approve", "2026-08", "--all", "--revoke"),
    "publish": ("publish", "2026-08"),
    "sync-stripe": ("sync-stripe",),
    "export": ("export", "2026-08"),
    "build": ("build",),
    "simulate": ("simulate", "--prices", PROJECT_ROOT / "seeds", "--from", "2026-08", "--to", "2026-08"),
    "health": ("health",),
}
READING = (("invoices",), ("status",), ("explain", "INVOICE"), ("verify",), ("alerts",), ("check-prices",))


def words_of(words: tuple[Any, ...], home: Home, more: Path) -> list[Any]:
    (invoice,) = query(home, "from invoices where period = '2026-08'")
    return [{"MORE": more, "INVOICE": invoice["invoice_id"]}.get(word, word) for word in words]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("command", ["land", "close", "approve", "publish", "sync-stripe", "health"])
def test_a_file_that_cannot_be_written_gives_a_clear_message(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", [event("start", "2026-09-11T10:00:00Z", sandbox="more", vcpu_count=1)])
    words = words_of(WRITING[command], home, more)
    failed: list[Any] = []
    for name in ("replace", "rename"):
        real = getattr(os, name)

        def fail(source: Any, target: Any, *args: Any, real: Any = real, **rest: Any) -> None:
            # Fails once, so that the alert about it can be written.
            if not failed and str(target).startswith(str(home.path)):
                failed.append(target)
                raise OSError(code, os.strerror(code), str(target))
            real(source, target, *args, **rest)

        monkeypatch.setattr(os, name, fail)
    outcome = billhouse(home.path, *words)
    assert_fails(outcome)
    said = {
        errno.ENOSPC: "The disk is full",
        errno.EDQUOT: "quota is used up",
        errno.EROFS: "read-only",
        errno.EACCES: "Access is denied",
        errno.EIO: "cannot be read or written",
    }[code]
    assert said in outcome.stderr + outcome.stdout
    if command in MONEY:
        assert said in alerts(home)[MONEY[command]]


def test_an_alert_that_cannot_be_recorded_is_reported_in_the_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr(os, "replace", fail)
    assert_fails(
        billhouse(home.path, "sync-stripe"), "The disk is full", "The alert could not be recorded either: The disk is full"
    )


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of a set size; skips the test if this user may not mount one."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs the right to mount a file system")
    size = f"size={megabytes}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Fill a disk to its last byte."""
    with pytest.raises(OSError, match="No space left"), file.open("wb", buffering=0) as filler:  # noqa: PT012
        while True:
            filler.write(bytes(4096))


def test_every_command_reports_a_full_or_read_only_disk_or_works_without_writing(ready: Path, tmp_path: Path) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", [event("start", "2026-09-11T10:00:00Z", sandbox="more", vcpu_count=1)])
    disk = tmp_path / "disk"
    disk.mkdir()

    def assert_commands_report(home: Home, reason: str, before_each: Callable[[], object]) -> None:
        for words in (*WRITING.values(), *READING):
            before_each()
            outcome = billhouse(home.path, *words_of(words, home, more))
            if words in WRITING.values():
                assert_fails(outcome)
                assert reason in outcome.stderr + outcome.stdout, (words, outcome)
            else:
                assert "Traceback" not in outcome.stderr
                assert outcome.code == 0 or reason in outcome.stderr, (words, outcome)

    with small_disk(disk, megabytes=200):
        home = copy_home(ready, disk / "home")
        shutil.rmtree(home.path / ".tmp", ignore_errors=True)
        assert_commands_report(home, "full", lambda: fill(disk / "filler"))
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert_commands_report(home, "read-only", lambda: None)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        published = billhouse(home.path, "publish", "2026-08", "--json")
        assert (published.code, published.json["published"]) == (0, 1), "the next run succeeds"


# Other programs

_HOLD = "import duckdb, sys, time; held = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(600)"


@contextmanager
def held_open(database: Path) -> Iterator[int]:
    """A database that another process has open; yields the process id."""
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(database)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def test_a_locked_database_is_reported_with_the_program_that_locked_it(home: Home) -> None:
    with held_open(home.warehouse) as process:
        for words in (("build",), ("close", "2026-09")):
            assert_fails(
                billhouse(home.path, *words), "warehouse.duckdb open", f"process {process}", "billhouse.duckdb read-only"
            )
    assert "process" in alerts(home)["close_failed"]
    assert billhouse(home.path, "close", "2026-09").code == 0


def test_reports_that_another_program_locked_are_reported(home: Home) -> None:
    home.analysts_file.chmod(0o600)
    with held_open(home.analysts_file) as process:
        assert_fails(billhouse(home.path, "invoices"), "billhouse.duckdb open", f"process {process}")


def test_a_sync_that_waits_too_long_for_another_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stripe.mirror._LOCK_TIMEOUT_SECONDS", 0.05)
    assert billhouse(home.path, "sync-stripe").code == 0
    with FileLock(home.raw / "stripe" / ".lock"):
        assert_fails(billhouse(home.path, "sync-stripe"), "Another command has been syncing with Stripe")
    assert "Wait until it is done" in alerts(home)["sync_failed"]


def test_a_request_that_is_not_possible_yet_raises_no_alert(home: Home) -> None:
    assert_fails(billhouse(home.path, "close", "2026-11"), "2026-11 had not begun")
    assert alerts(home) == {}


def test_an_emulator_whose_port_is_taken_reports_it(tmp_path: Path) -> None:
    with serving() as api:
        port = api.url.rpartition(":")[2]
        command = [sys.executable, "-m", "pipeline.stripe_emulator", "--database", str(tmp_path / "s.sqlite"), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (1, "The port is taken. Stop the program that uses it, or choose another port.\n")


# Unexpected errors


def test_an_unexpected_error_says_how_to_report_it_and_shows_its_traceback_on_request(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError(f"by {KEY}\x1b[2J\nsecond line")

    monkeypatch.setattr("pipeline.warehouse.reports.list_invoices", fail)
    outcome = billhouse(home.path, "invoices")
    assert outcome.code == 1
    assert "ZeroDivisionError: by sk_test_[redacted]" in outcome.stderr
    assert "BILLHOUSE_TRACEBACK=1" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    printed = billhouse(home.path, "invoices", "--json").json
    assert "ZeroDivisionError" in printed["error"]
    assert "BILLHOUSE_TRACEBACK=1" in printed["next_step"]
    monkeypatch.setenv("BILLHOUSE_TRACEBACK", "1")
    outcome = billhouse(home.path, "invoices")
    assert "Traceback" in outcome.stderr
    assert "in fail" in outcome.stderr
    assert "51Habc" not in outcome.stderr
    assert "\x1b[2J" not in outcome.stderr


def test_a_closed_output_pipe_is_not_an_error(home: Home) -> None:
    command = f"{sys.executable} -m pipeline.cli.app --home '{home.path}' invoices --json | true"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/home/a"), "The disk is full (/home/a)."),
        (PermissionError(errno.EACCES, "Permission denied", "/home/a"), "Access is denied (/home/a)."),
        (OSError(errno.EMFILE, "Too many open files"), "Too many files are open."),
        (OSError("Error writing bytes. Detail: [errno 28] No space left on device"), "The disk is full."),
        (duckdb.IOException('Could not write file "/h/w.duckdb": No space left on device'), "The disk is full (/h/w.duckdb)."),
        (duckdb.OutOfMemoryException("could not allocate"), "The build reached its memory limit"),
        (duckdb.SerializationException("Failed to deserialize"), "A database file is damaged"),
        (MemoryError(), "There is not enough memory."),
        (stripe.APIError("down", http_status=502), "Stripe failed (502)"),
        (stripe.InvalidRequestError("no", "id", http_status=404), "Stripe refused a request (404)"),  # type: ignore[no-untyped-call]
    ],
)
def test_errors_of_the_system_and_of_libraries_have_messages(error: Exception, words: str) -> None:
    for raised in (error, caused_by(error)):
        failure = to_billhouse_error(raised)
        assert failure.message.startswith(words)
        assert failure.next_step


def caused_by(error: Exception) -> Exception:
    """An error that was caused by this one."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("something failed") from cause
    except RuntimeError as raised:
        return raised
