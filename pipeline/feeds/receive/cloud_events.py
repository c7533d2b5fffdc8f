"""CloudEvents in binary mode: attributes in ce- headers, data in the body. They become one event in structured mode.

The HTTP protocol binding of CloudEvents 1.0, sections 3.1 and 3.2: header values are percent-encoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from pipeline.feeds.receive.bodies import check_json
from pipeline.feeds.receive.refusal import RefusalError

_PREFIX = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether a request is an event in binary mode; header names in lower case."""
    return f"{_PREFIX}specversion" in headers


def structured(headers: Mapping[str, str], body: bytes) -> bytes:
    """The event as one JSON object; its data are the body's own text. Raises RefusalError 400 if an attribute is missing."""
    attributes: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith(_PREFIX):
            attribute = name.removeprefix(_PREFIX)
            if not _ATTRIBUTE.fullmatch(attribute) or attribute in ("data", "datacontenttype"):
                raise RefusalError(400, "A ce- header has the name of no attribute: lower-case letters and digits.")
            try:
                attributes[attribute] = unquote(value, errors="strict")
            except UnicodeDecodeError:
                raise RefusalError(400, f"The header ce-{attribute} is not percent-encoded UTF-8.") from None
    missing = [f"ce-{name}" for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise RefusalError(400, f"A CloudEvent in binary mode needs the header {missing[0]}.")
    attributes["datacontenttype"] = headers.get("content-type", "")
    event = json.dumps(attributes).encode()
    if not body.strip():
        return event
    check_json(body)
    return event[:-1] + b', "data": ' + body + b"}"
