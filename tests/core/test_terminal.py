"""Printed and logged text contains no control characters and no secrets."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import rich.console
from rich.progress import Progress, TextColumn
from rich.table import Table

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.plain_text import plain_json, plain_line, plain_text, redact, remember_secret
from pipeline.core.terminal import Console, plain, protect_logging, protected_output
from pipeline.landing import checks
from pipeline.landing.record_kinds import Kind
from pipeline.store.alert_log import OperationalAlert
from pipeline.stripe.client import local_emulator
from tests.support import Outcome, billhouse, event, prepare, query, write_jsonl

HOSTILE = "Eve\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp\u2066\u200b\ufeff\rEve\nline\u2028two[bold]"
SHOWN = "Eve\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\x7f\\u202egnp\\u2066\\u200b\\ufeff\\rEve\\nline\\u2028two[bold]"
NUMBER_SIGNS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Formatting characters that are visible: they enclose the digits that follow."""


def acting(text: str, allowed: str = "\n\t") -> set[str]:
    """The characters of a text that control a terminal, or are invisible."""
    categories = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {
        one for one in text if one not in allowed and unicodedata.category(one) in categories and ord(one) not in NUMBER_SIGNS
    }


def test_every_control_character_becomes_a_visible_escape() -> None:
    for code in range(0x110000):
        if acting(chr(code), allowed=""):
            assert plain_line(chr(code)).isascii(), hex(code)
            assert plain_line(chr(code)).startswith("\\"), hex(code)
            assert plain_text(chr(code)) in (plain_line(chr(code)), "\n", "\t")
    assert plain_line(HOSTILE) == SHOWN


def test_names_in_any_script_are_unchanged() -> None:
    for name in ("0 名前", "مرحبا", "💥👍🏽", "葛\U000e0100飾", "é", "नमस्ते", "[brackets]", "a\\b", "Zoë & Söhne"):
        assert plain_line(name) == name


def test_tables_lines_and_progress_bars_are_escaped() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=200, color_system="truecolor")
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(f"[red]name[/] {plain(HOSTILE)}")
    with Progress(TextColumn("{task.description}"), console=console) as bar:
        bar.add_task(plain(HOSTILE))
    ours = written.getvalue()
    for part in ("]0;owned\x07", "\x1b[2J\x9b", "\x9b", "\u202e", "\u200b", "\u2066", "\ufeff"):
        assert part not in ours
    assert "\x1b[31mname\x1b[0m" in ours, "our own colours stay"


def test_output_of_other_code_is_escaped_and_colours_of_rich_remain() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), protected_output():
        print(HOSTILE)
        print("error", HOSTILE, file=sys.stderr)
        sys.stderr.writelines([HOSTILE])
        logging.lastResort.handle(logging.getLogger("other").makeRecord("x", 40, "f", 1, "%s", (HOSTILE,), None))  # type: ignore[union-attr]
        rich.console.Console(force_terminal=True, color_system="standard").print("[red]colour[/]")
    assert not acting(stdout.getvalue().replace("\x1b[31mcolour\x1b[0m", ""))
    assert not acting(stderr.getvalue())
    assert "\x1b[31mcolour\x1b[0m" in stdout.getvalue()
    assert SHOWN.replace("\\n", "\n") in stdout.getvalue()
    assert stderr.getvalue().count("owned") == 3


def test_log_records_and_their_tracebacks_are_made_safe() -> None:
    factory, written = logging.getLogRecordFactory(), io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(written))
    try:
        protect_logging()
        logger.warning("%s", HOSTILE)
        try:
            raise ValueError(f"{HOSTILE} sk_live_51Habc")
        except ValueError:
            logger.exception("failed")
    finally:
        logging.setLogRecordFactory(factory)
    assert not acting(written.getvalue())
    assert written.getvalue().count("owned") == 2
    assert "Traceback" in written.getvalue()
    assert "51Habc" not in written.getvalue()


def test_a_terminal_with_a_small_character_set_gets_escapes() -> None:
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw, encoding="ascii")), protected_output():
        print("名前 \udcff")
        sys.stdout.flush()
        assert raw.getvalue() == b"\\u540d\\u524d \\udcff\n"


def test_json_output_is_valid_and_has_no_control_characters() -> None:
    data = {"name": HOSTILE, HOSTILE: 1, "file": "caf\udce9.csv"}
    assert json.loads(plain_json(data)) == data
    assert not acting(plain_json(data), allowed="")


def test_errors_and_problems_are_escaped_when_they_are_created() -> None:
    error = BillhouseError(f"{HOSTILE} has no plan.", f"Ask {HOSTILE}.")
    for text in (str(error), error.message, error.next_step, str(Problem(HOSTILE, 3, HOSTILE, HOSTILE))):
        assert not acting(text)
    assert "\n" not in str(Problem(HOSTILE, 3, HOSTILE, HOSTILE))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> dict[str, Outcome]:
    """The output of every command for a month whose customer, files, ids and memos are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    usage = [
        event("start", "2026-09-10T10:00:00Z", user=HOSTILE, sandbox=f"box{HOSTILE}", vcpu_count=100, **{f"vcpu{HOSTILE}": 3}),
        event("stop", "2026-09-10T15:00:00Z", user=HOSTILE, sandbox=f"box{HOSTILE}"),
    ]
    plans = [{"customer_id": HOSTILE, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"}]
    people = [{"customer_id": HOSTILE, "name": HOSTILE, "email": "x@example.com"}]
    gifts = [{"grant_id": HOSTILE, "customer_id": HOSTILE, "amount": "1", "granted_at": "2026-09-01T00:00:00Z"}]
    named = HOSTILE.replace("/", "")
    with patch.object(checks, "_id_errors", lambda *_: []):
        home = prepare(
            folder / "home",
            parsed_project,
            {Kind.SUBSCRIPTIONS: plans, Kind.CUSTOMERS: people, Kind.CREDIT_GRANTS: gifts},
        )
        landed = write_jsonl(folder / f"{named}.jsonl", usage)
        outcomes = {"land": billhouse(home, "land", landed)}
    undecodable = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\x1b.jsonl"))
    write_jsonl(undecodable, [{"event_id": HOSTILE}, HOSTILE])
    missing = folder / f"missing{named}.jsonl"
    calls: dict[str, tuple[Any, ...]] = {
        "land badly": ("land", undecodable, missing),
        "land again": ("land", "--again"),
        "quarantine": ("quarantine",),
        "rows in quarantine": ("quarantine", "--file", undecodable.name),
        "build": ("build", "--as-of", "2026-10-05T00:00:00Z"),
        "invoices": ("invoices",),
        "status": ("status",),
        "close": ("close", "2026-09"),
        "waiting": ("approve", "2026-09"),
        "wrong approver": ("approve", "2026-09", "--all", "--by", HOSTILE),
        "approve": ("approve", "2026-09", "--all", "--by", "cfo"),
        "dry run": ("publish", "2026-09", "--dry-run"),
        "publish": ("publish", "2026-09"),
        "sync": ("sync-stripe",),
        "by hand": (),
        "reconcile": ("reconcile",),
        "explain": ("explain", "INVOICE", "--line", "LINE"),
        "explain what is not there": ("explain", HOSTILE),
        "credit what is not there": ("credit-note", HOSTILE),
        "alerts": ("alerts",),
        "verify": ("verify",),
        "export": ("export", "2026-09"),
        "simulate": ("simulate", "--prices", PROJECT_ROOT / "seeds", "--from", "2026-09", "--to", "2026-09"),
        "simulate nothing": ("simulate", "--prices", folder / named, "--from", "2026-09", "--to", "2026-09"),
        "wrong kind": ("land", "--kind", HOSTILE, landed),
        "wrong option": (f"--{HOSTILE}",),
        "wrong command": (HOSTILE,),
        "wrong month": ("close", HOSTILE),
        "wrong source": ("collect", "--url", f"ftp://{HOSTILE}"),
    }
    for name, words in calls.items():
        if name == "by hand":
            with local_emulator(Home(home)) as connection:
                customer = connection.client.v1.customers.list().data[0]
                connection.client.v1.customers.update(customer.id, {"metadata": {"billhouse_customer_id": f"other{HOSTILE}"}})
                connection.client.v1.invoices.create({"customer": customer.id, "currency": "usd"})
            outcomes["sync again"] = billhouse(home, "sync-stripe")
            continue
        if name == "explain":
            (invoice,) = query(Home(home), "from invoices where period = '2026-09'")
            lines = billhouse(home, "explain", invoice["invoice_id"], "--json").json["lines"]
            metered = next(line["line_id"] for line in lines if "vcpu" in json.dumps(line).lower())
            words = ("explain", invoice["invoice_id"], "--line", metered)
        outcomes[name] = billhouse(home, *words)
        if name not in ("approve", "build", "close", "export", "publish", "simulate") and not name.startswith("wrong"):
            outcomes[f"{name} --json"] = billhouse(home, *words, "--json")
    return outcomes


def test_no_command_prints_a_character_that_acts_on_a_terminal(shown: dict[str, Outcome]) -> None:
    for name, outcome in shown.items():
        assert not acting(outcome.stdout + outcome.stderr), (name, acting(outcome.stdout + outcome.stderr))
    for name in ("land badly", "invoices", "waiting", "explain", "reconcile", "alerts", "wrong kind", "wrong command", "build"):
        text = shown[name].stdout + shown[name].stderr
        assert "Eve" in text if name not in ("build",) else text, name


def test_every_command_fails_with_a_message_and_prints_valid_json(shown: dict[str, Outcome]) -> None:
    for name, outcome in shown.items():
        assert "Traceback" not in outcome.stderr, (name, outcome.stderr)
        assert "Unexpected error" not in outcome.stderr, (name, outcome.stderr)
        if name.endswith("--json"):
            assert outcome.json, name
    for name in ("land", "build", "close", "approve", "publish", "sync", "verify", "export"):
        assert shown[name].code == 0, (name, shown[name].stderr)
    assert shown["wrong approver"].code == 2


# Secrets

KEYS = ("sk_live_51HabcDEF", "rk_live_51HabcDEF", "sk_test_51HabcDEF", "rk_test_51HabcDEF", "whsec_MfKQ9r8GKYqrTwjU")


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_redacted_wherever_it_is_shown_or_kept(key: str) -> None:
    secret = key.rpartition("_")[2]
    error = BillhouseError(f"No such key: {key}.", f"Not {key}")
    alert = OperationalAlert("publish_failed", f"publish {key}", f"Stripe said: '{key}'")
    for text in (redact(key), plain_text(key), plain_json({"key": key}), str(error), alert.subject, alert.text):
        assert secret not in text
    assert redact(f"Use a test key (sk_test_... or rk_test_...), not {key}.").startswith("Use a test key (sk_test_... or rk_")


def test_the_configured_key_is_redacted_in_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "not/a key")
    remember_secret('tok"en+of/a?source')
    monkeypatch.setenv("HTTPS_PROXY", "http://ops:hunter22@proxy:3128")
    shown = redact('not/a key, not%2Fa%20key, tok"en+of/a?source, tok\\"en+of/a?source, http://ops:hunter22@proxy')
    assert shown == "[redacted], [redacted], [redacted], [redacted], http://ops:[redacted]@proxy"
    assert redact("Authorization: Bearer abcDEF0123456789.xyz-") == "Authorization: Bearer [redacted]"
    assert redact("Basic authentication, bearer tokens") == "Basic authentication, bearer tokens"
