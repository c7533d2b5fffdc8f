"""The rows of a body: their own text, or a refusal that names the line."""

from __future__ import annotations

import gzip
import json

import pytest

from pipeline.core.input_limits import MAX_ROW_BYTES
from pipeline.feeds.receive.bodies import MOST_ROWS, Form, check_encoding, decompressed, form_of, rows_of
from pipeline.feeds.receive.cloud_events import structured
from pipeline.feeds.receive.refusal import RefusalError

EXACT = '{"event_id":"e1","tokens":123456789012345678901234567890.10000000000000000000000001,"tiny":1e-400}'


@pytest.mark.parametrize(
    ("body", "form", "lines"),
    [
        (EXACT, Form.DOCUMENT, [EXACT]),
        (EXACT, Form.LINES, [EXACT]),
        (f"[{EXACT} , {EXACT}]", Form.DOCUMENT, [EXACT, EXACT]),
        ('\n {\n "a":\t"line\\nend",\r\n "b": [1,\n2]}\n', Form.DOCUMENT, ['{  "a":\t"line\\nend",   "b": [1, 2]}']),
        ('{"a":1}\r\n\n  {"a":2}', Form.LINES, ['{"a":1}', '{"a":2}']),
        ('\ufeff{"a":"ä😀\u2028"}', Form.DOCUMENT, ['{"a":"ä😀\u2028"}']),
        ("[ ]", Form.DOCUMENT, []),
        ('{"digits":' + "7" * 5000 + "}", Form.DOCUMENT, ['{"digits":' + "7" * 5000 + "}"]),
    ],
)
def test_each_row_is_its_own_text_on_one_line(body: str, form: Form, lines: list[str]) -> None:
    rows = rows_of(body.encode(), form)
    assert rows.lines.decode().split("\n") == [*lines, ""]
    assert rows.count == len(lines)


@pytest.mark.parametrize(
    ("body", "form", "reason"),
    [
        (b'{"a":1}\n{"a" 2}\n', Form.LINES, "Line 2, column 6: not valid JSON"),
        (b'{"a":1}\n[1]\n', Form.LINES, "Line 2: not a JSON object."),
        (b'{"a":1}{"a":2}\n', Form.LINES, "Line 1: more than one JSON object."),
        (b'\n\n{"a":"\x01"}', Form.LINES, "Line 3, column 7: not valid JSON"),
        (b" \n", Form.LINES, "The body has no rows."),
        (b"", Form.DOCUMENT, "Line 1: not a JSON object."),
        (b'[{"a":1},\n{"b" 2}]', Form.DOCUMENT, "Row 2, line 2, column 6: not valid JSON"),
        (b'[{"a":1},\n3]', Form.DOCUMENT, "Row 2, line 2: not a JSON object."),
        (b'[{"a":1} {"b":2}]', Form.DOCUMENT, "Line 1: neither a comma nor the end of the array after row 1."),
        (b'[{"a":1}', Form.DOCUMENT, "Line 1: neither a comma"),
        (b'[{"a":1},]', Form.DOCUMENT, "Row 2, line 1: not a JSON object."),
        (b'{"a":1}\n{"a":2}', Form.DOCUMENT, "Line 2: more after the body's JSON."),
        (b'[{"a":1}]x', Form.DOCUMENT, "Line 1: more after the body's JSON."),
        (b'{"a":NaN}', Form.DOCUMENT, "Line 1: NaN and Infinity are no JSON numbers."),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Form.DOCUMENT, "Line 1: nested too deep."),
        (b'{"a":1}\n{"a":"\xff"}', Form.LINES, "Line 2 is not UTF-8."),
        (b'{"a":1}\x80\x00', Form.DOCUMENT, "Line 1 is not UTF-8."),
    ],
)
def test_a_body_that_is_not_json_is_refused_with_its_line(body: bytes, form: Form, reason: str) -> None:
    with pytest.raises(RefusalError) as refused:
        rows_of(body, form)
    assert refused.value.status == 400
    assert refused.value.reason.startswith(reason)


def test_a_row_may_be_as_large_as_landing_accepts_and_no_larger() -> None:
    def row(size: int) -> bytes:
        return b'{"a":"' + b"x" * (size - 8) + b'"}'

    assert len(rows_of(row(MAX_ROW_BYTES), Form.DOCUMENT).lines) == MAX_ROW_BYTES + 1
    with pytest.raises(RefusalError, match="Line 2 has 65,537 bytes") as refused:
        rows_of(b'{"a":1}\n' + row(MAX_ROW_BYTES + 1), Form.LINES)
    assert refused.value.status == 413


def test_a_body_may_have_so_many_rows_and_no_more() -> None:
    lines, array = b"{}\n" * MOST_ROWS, b"[" + b",".join([b"{}"] * MOST_ROWS)
    assert rows_of(lines, Form.LINES).count == rows_of(array + b"]", Form.DOCUMENT).count == MOST_ROWS == 50_000
    for body, form in ((lines + b"{}", Form.LINES), (array + b",{}]", Form.DOCUMENT)):
        with pytest.raises(RefusalError, match="50,000 rows") as refused:
            rows_of(body, form)
        assert refused.value.status == 413


def test_gzip_is_decompressed_up_to_the_limit_and_no_further() -> None:
    body = b'{"a":1}\n' * 1000
    assert decompressed(gzip.compress(body), len(body)) == body
    assert decompressed(gzip.compress(body) + gzip.compress(body), 2 * len(body)) == 2 * body
    for wrong, status in (
        (gzip.compress(bytes(100 << 20)), 413),
        (gzip.compress(body * 2) * 90, 413),
        (gzip.compress(b"") * 101 + gzip.compress(body), 400),
        (gzip.compress(body)[:-9], 400),
        (gzip.compress(body)[:-4] + b"abcd", 400),
        (gzip.compress(body) + b"x", 400),
        (body, 400),
    ):
        with pytest.raises(RefusalError) as refused:
            decompressed(wrong, 1 << 20)
        assert refused.value.status == status


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded"]
)
def test_other_content_types_and_encodings_are_refused(content_type: str) -> None:
    with pytest.raises(RefusalError) as refused:
        form_of(content_type)
    assert refused.value.status == 415
    with pytest.raises(RefusalError):
        check_encoding("br")
    assert form_of('Application/JSON; charset="UTF-8"; x=y') is Form.DOCUMENT
    assert (check_encoding("gzip"), check_encoding("identity"), check_encoding("")) == (True, False, False)


def test_a_cloud_event_in_binary_mode_becomes_a_structured_one() -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/a%20b",
        "ce-type": "com.example.sandbox.started",
        "ce-subject": "%C3%A4da",
        "content-type": "application/json",
        "user-agent": "x",
    }
    event = structured(headers, b' {"vcpu_count": 1.00}\n')
    assert b'"data":  {"vcpu_count": 1.00}' in event
    assert json.loads(event) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/a b",
        "type": "com.example.sandbox.started",
        "subject": "äda",
        "datacontenttype": "application/json",
        "data": {"vcpu_count": 1},
    }
    assert "data" not in json.loads(structured(headers, b""))


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({"ce-id": ""}, b"{}"),
        ({"ce-data": "1"}, b"{}"),
        ({"ce-subject": "%ff"}, b"{}"),
        ({"ce-a_b": "x"}, b"{}"),
        ({}, b'1, "subject": "another"'),
        ({}, b"\xff"),
    ],
)
def test_a_cloud_event_that_is_incomplete_or_changes_its_attributes_is_refused(changed: dict[str, str], body: bytes) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t", "content-type": "application/json"}
    with pytest.raises(RefusalError) as refused:
        structured(headers | changed, body)
    assert refused.value.status == 400
