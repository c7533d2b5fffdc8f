"""Signed webhooks: valid, wrong, old and replayed ones."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.feeds.receive.signatures import Scheme, Signer, signer_of
from tests.feeds.receive.running import Receiving, error_of, receiving

STANDARD = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
E2B = "a-secret-of-e2b-0123"
EVENT = json.dumps(
    {"version": "v2", "id": "ev-1", "type": "sandbox.lifecycle.created", "sandboxId": "box", "timestamp": "2026-01-05T10:00:00Z"}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    signers = [
        Signer(Scheme.E2B, "e2b-events", "an-older-secret-0123456"),
        Signer(Scheme.E2B, "e2b-events", E2B),
        Signer(Scheme.STANDARD, "cloudevents", STANDARD),
    ]
    with receiving(Home.open(tmp_path_factory.mktemp("signatures") / "home"), signers) as running:
        yield running


def e2b(body: str | bytes, secret: str = E2B) -> str:
    """As in E2B's documentation of lifecycle webhooks."""
    content = body if isinstance(body, bytes) else body.encode()
    signed = base64.b64encode(hashlib.sha256(secret.encode() + content).digest()).decode()
    return signed.replace("+", "-").replace("/", "_").rstrip("=")


def standard(body: str, at: datetime | None = None, id: str = "msg_1", secret: str = STANDARD) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "webhook_id": id,
        "webhook_timestamp": str(int(at.timestamp())),
        "webhook_signature": Webhook(secret).sign(id, at, body),
    }


def test_a_webhook_of_e2b_is_stored_and_a_wrong_signature_is_not(server: Receiving) -> None:
    accepted = server.post(EVENT, "e2b-events", Authorization="", e2b_signature=e2b(EVENT), e2b_signature_version="v1")
    assert (accepted.status_code, accepted.json()) == (202, {"name": "e2b-events", "rows": 1})
    assert EVENT in server.lines("e2b-events")
    before = server.lines("e2b-events")
    refused = [
        server.post(EVENT + " ", "e2b-events", Authorization="", e2b_signature=e2b(EVENT)),
        server.post(EVENT, "e2b-events", Authorization="", e2b_signature=e2b(EVENT, "another-secret-012345")),
        server.post(EVENT, "e2b-events", Authorization="", e2b_signature=""),
        server.post(EVENT, "e2b-events", Authorization="", e2b_signature=e2b(EVENT), e2b_signature_version="v2"),
        server.post(EVENT, "usage", Authorization="", e2b_signature=e2b(EVENT)),
        server.post(EVENT, "cloudevents", Authorization="", e2b_signature=e2b(EVENT)),
        server.post(EVENT, "e2b-events", Authorization="", **standard(EVENT)),
        server.post(EVENT, "e2b-events", Authorization="Bearer bhk_wrong", e2b_signature=e2b(EVENT)),
    ]
    assert [it.status_code for it in refused] == [401] * len(refused)
    assert server.lines("e2b-events") == before
    assert server.lines() == []


def test_a_hash_of_e2b_that_was_extended_without_the_secret_stores_nothing(server: Receiving) -> None:
    """Who has seen one signed event can sign it with more behind it: length extension of SHA-256."""
    size = len(E2B) + len(EVENT)
    padding = b"\x80" + bytes((55 - size) % 64) + struct.pack(">Q", size * 8)
    extended = EVENT.encode() + padding + b'\n{"id":"forged"}'
    before = server.lines("e2b-events")
    response = server.post(extended, "e2b-events", "application/x-ndjson", Authorization="", e2b_signature=e2b(extended))
    assert error_of(response, 400) == "Line 1 is not UTF-8."
    assert server.lines("e2b-events") == before


def test_a_standard_webhook_is_stored_and_a_wrong_or_old_one_is_not(server: Receiving) -> None:
    assert server.post(EVENT, "cloudevents", Authorization="", **standard(EVENT)).status_code == 202
    several = standard(EVENT) | {"webhook_signature": "v1,AAAA " + standard(EVENT)["webhook_signature"]}
    assert server.post(EVENT, "cloudevents", Authorization="", **several).status_code == 202
    before = server.lines("cloudevents")
    assert before == [EVENT, EVENT]  # what is sent twice is stored twice here, and landing drops the second
    now = datetime.now(UTC)
    good = standard(EVENT)
    refused = [
        standard(EVENT + " "),
        good | {"webhook_id": "msg_2"},
        standard(EVENT, secret="whsec_" + base64.b64encode(b"another").decode()),
        standard(EVENT, now - timedelta(minutes=6)),  # a replay of a request that was recorded
        standard(EVENT, now + timedelta(minutes=6)),
        good | {"webhook_timestamp": str(int(now.timestamp()) + 60)},
        good | {"webhook_timestamp": "nan"},
        good | {"webhook_timestamp": "9" * 400},
        good | {"webhook_signature": "v1"},
        good | {"webhook_signature": "v1,%%%"},
        good | {"webhook_signature": "v2," + good["webhook_signature"].partition(",")[2]},
        good | {"webhook_id": ""},
    ]
    for headers in refused:
        assert "signature" in error_of(server.post(EVENT, "cloudevents", Authorization="", **headers), 401), headers
    assert server.post(b"\xff", "cloudevents", Authorization="", **good).status_code == 401
    assert server.lines("cloudevents") == before


def test_headers_make_no_event_of_a_signed_body(server: Receiving) -> None:
    """Who has seen one signed webhook could otherwise send it again as events with other ids, for which no signature exists."""
    before = server.lines("cloudevents"), server.lines("e2b-events")
    forged = {"ce_specversion": "1.0", "ce_id": "forged", "ce_source": "/x", "ce_type": "sandbox.started"}
    for name, signature in (("cloudevents", standard(EVENT)), ("e2b-events", {"e2b_signature": e2b(EVENT)})):
        response = server.post(EVENT, name, Authorization="", **signature, **forged)
        assert error_of(response, 400) == "A signed webhook must be a CloudEvent in structured mode."
    assert (server.lines("cloudevents"), server.lines("e2b-events")) == before


def test_a_secret_is_read_from_its_variable_only_and_checked_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", E2B)
    monkeypatch.setenv("SHORT", "short")
    assert signer_of(Scheme.E2B, "e2b-events=A_SECRET") == Signer(Scheme.E2B, "e2b-events", E2B)
    assert E2B not in repr(signer_of(Scheme.E2B, "e2b-events=A_SECRET"))
    for scheme, option, reason in (
        (Scheme.E2B, "e2b-events", "is written as NAME=VARIABLE"),
        (Scheme.E2B, "e2b-events=NOT_SET", "NOT_SET is not set"),
        (Scheme.E2B, "e2b-events=SHORT", "fewer than 16 characters"),
        (Scheme.STANDARD, "cloudevents=SHORT", "no secret of Standard Webhooks"),
    ):
        with pytest.raises(WrongUsageError, match=reason) as refused:
            signer_of(scheme, option)
        assert "short" not in str(refused.value)
    with (
        pytest.raises(WrongUsageError, match="There is no source 'nothing'"),
        receiving(Home.open(tmp_path / "home"), [Signer(Scheme.E2B, "nothing", E2B)]),
    ):
        pass
