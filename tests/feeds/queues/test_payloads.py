"""What the rows in a message's payload are."""

from __future__ import annotations

import pytest

from pipeline.feeds.queues.payloads import rows_of

NUMBER = "3.00000000000000000001"


@pytest.mark.parametrize(
    ("payload", "rows"),
    [
        (b'{"event_id": "a"}', [b'{"event_id": "a"}']),
        (f'{{"vcpu_count": {NUMBER}}}\n'.encode(), [f'{{"vcpu_count": {NUMBER}}}'.encode()]),
        (b'\xef\xbb\xbf{"a": 1}', [b'{"a": 1}']),
        (b'{\r\n  "a": 1,\n  "b": "x\\ny"\n}', [b'{    "a": 1,   "b": "x\\ny" }']),
        (b'{"a": 1}\n\n{"a": 2}\r\n', [b'{"a": 1}', b'{"a": 2}']),
        (f'[{{"a": {NUMBER}}},\n {{"a": "]}}"}} , 7]'.encode(), [f'{{"a": {NUMBER}}}'.encode(), b'{"a": "]}"}', b"7"]),
        (b"[" + b"1" * 5000 + b"]", [b"1" * 5000]),
        ('[{"a": "é"}]'.encode(), ['{"a": "é"}'.encode()]),
        # Not JSON: passed on, so that landing quarantines it.
        (b"[{]", [b"[{]"]),
        (b"[1] [2]", [b"[1] [2]"]),
        (b"[1", [b"[1"]),
        (b"[", [b"["]),
        (b"[" * 100_000, [b"[" * 100_000]),
        (b"[]", [b"[]"]),
        (b"\x00\xff\xfe", [b"\x00\xff\xfe"]),
        (b"no\nJSON", [b"no", b"JSON"]),
        # Nothing in it.
        (None, []),
        (b"", []),
        (b" \r\n", []),
    ],
)
def test_the_rows_of_a_payload_are_as_they_were_written(payload: bytes | None, rows: list[bytes]) -> None:
    assert rows_of(payload) == rows
