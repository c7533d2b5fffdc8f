"""Collecting from an events API and from a queue's export: nothing is missed, and landing keeps nothing twice."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.feeds import api as connection
from pipeline.feeds import position
from pipeline.landing.record_kinds import Kind
from tests.feeds.fake_api import Answer, Asked, FakeApi, serving
from tests.http_servers import HEAD, dripping, raw_server
from tests.landing.raw import event_line, events
from tests.support import Outcome, billhouse

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as serving_api:
        yield serving_api


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTS_API_KEY", KEY)


def row(number: int) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(event_line(f"e{number}", vcpu_count=number))
    return parsed


def by_cursor(pages: list[list[Any]]) -> Callable[[Asked], Answer]:
    """Page `n` is asked for as cursor=n; the last has no next one."""

    def answer(asked: Asked) -> Answer:
        number = int(asked.query.get("cursor", 0))
        following = str(number + 1) if number + 1 < len(pages) else None
        return Answer({"data": pages[number], "next_cursor": following})

    return answer


def collect(home: Home, api: FakeApi, *words: object) -> Outcome:
    speed = ("--requests-per-second", 1000)
    return billhouse(
        home.path, "collect", "--url", f"{api.url}/v1/events?limit=2", "--api-key-env", "EVENTS_API_KEY", *speed, *words, "--json"
    )


def inbox(home: Home) -> list[Path]:
    return sorted((home.inbox / "usage").iterdir())


def land(home: Home) -> dict[str, Any]:
    """Land all of the inbox."""
    return billhouse(home.path, "land", *inbox(home), "--json").json


def landed(home: Home) -> list[str]:
    return sorted(str(row["event_id"]) for row in events(home))


def test_pages_come_into_the_inbox_and_the_next_run_goes_on_where_the_last_ended(home: Home, api: FakeApi) -> None:
    api.answers = by_cursor([[row(1), row(2)], [row(3)]])
    first = collect(home, api)
    assert (first.code, first.json["rows"]) == (0, 3)
    assert api.asked[0].headers["X-API-Key"] == KEY
    assert api.queries() == [{"limit": "2"}, {"limit": "2", "cursor": "1"}]

    api.answers = by_cursor([[row(1), row(2)], [row(3), row(4)], [row(5)]])
    assert collect(home, api).json["rows"] == 3, "the last page had grown"
    assert [query["cursor"] for query in api.queries()] == ["1", "2"]
    assert [path.name.rpartition("-")[2] for path in inbox(home)] == ["00000001.jsonl", "00000002.jsonl"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in [*inbox(home), *home.collecting.iterdir()])

    result = land(home)
    assert (result["accepted"], result["duplicates"], result["quarantined"]) == (5, 1, 0)
    assert landed(home) == ["e1", "e2", "e3", "e4", "e5"]


def test_an_api_whose_cursor_never_ends_is_asked_until_it_has_nothing_new(home: Home, api: FakeApi) -> None:
    pages = [[row(1)], [row(2)], []]
    api.answers = lambda asked: Answer(
        {"data": pages[int(asked.query.get("cursor", 0))], "next_cursor": min(int(asked.query.get("cursor", 0)) + 1, 2)}
    )
    assert collect(home, api).json["rows"] == 2
    assert len(api.queries()) == 3
    pages[2] = [row(3)]
    assert collect(home, api).json["rows"] == 1
    assert [query["cursor"] for query in api.queries()] == ["2"]


def test_pages_without_a_row_are_no_end(home: Home, api: FakeApi) -> None:
    pages: list[list[Any]] = [[], [row(1)], [], [], [row(2)], []]
    api.answers = by_cursor(pages)
    with patch("pipeline.feeds.events._EMPTY_PAGES", 2):
        assert collect(home, api).json["rows"] == 1
        assert collect(home, api).json["rows"] == 1
    assert [query.get("cursor") for query in api.queries()] == [None, "1", "2", "3", "4", "5"]


def test_a_name_keeps_the_position_of_one_source_alone(home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "another")
    api.answers = by_cursor([[row(1)]])
    assert collect(home, api).code == 0
    for words in (["--url", f"{api.url}/v1/events?tenant=2"], ["--api-key-env", "OTHER_KEY"]):
        refused = collect(home, api, *words)
        assert refused.code == 2
        assert "--name" in refused.stderr
        assert collect(home, api, *words, "--name", f"other-{len(words[1])}").json["rows"] == 1


def test_pages_that_name_the_next_by_a_link_are_followed(home: Home, api: FakeApi) -> None:
    def answer(asked: Asked) -> Answer:
        page = int(asked.query.get("page", 1))
        headers = {"Link": f'<{api.url}/v1/events?page={page + 1}>; rel="next"'} if page < 3 else {}
        return Answer([row(page)], headers=headers)

    api.answers = answer
    words = ("--paging", "link", "--rows-at", "$", "--api-key-header", "Authorization", "--name", "linked")
    assert collect(home, api, *words).json["rows"] == 3
    assert api.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    api.queries()
    assert collect(home, api, *words).json["rows"] == 1
    assert api.queries() == [{"page": "3"}]


def test_numbers_come_as_they_were_written(home: Home, api: FakeApi) -> None:
    """Also those that a float cannot hold, and rows that are no events: what is wrong with them landing says."""
    number = "3.00000000000000000001"
    written = f'{{"vcpu_count": {number}, "n": 12345678901234567890}}'
    api.answers = lambda _: Answer(f'{{"data": [{written}, "no event"], "next_cursor": null}}')
    assert collect(home, api).code == 0
    (path,) = inbox(home)
    assert path.read_text() == f'{written}\n"no event"\n'


def test_a_kill_between_the_rows_and_the_position_loses_nothing(home: Home, api: FakeApi) -> None:
    api.answers = by_cursor([[row(1), row(2)], [row(3)]])

    def die_before_the_position(target: Path, **options: Any) -> Any:
        if target.parent == home.collecting:
            raise KeyboardInterrupt
        return replace_atomically(target, **options)

    with patch.object(position, "replace_atomically", die_before_the_position):
        assert collect(home, api).code == 130
    (path,) = inbox(home)
    assert land(home)["accepted"] == 3
    abandoned = home.scratch / f"file-{0:032x}"
    abandoned.mkdir()
    (abandoned / path.name).write_text('{"event_id": ')
    api.answers = by_cursor([[row(1), row(2)], [row(3), row(4)]])
    assert collect(home, api).json["rows"] == 4
    assert inbox(home) == [path], "the same file, written again"
    assert list(home.scratch.iterdir()) == [], "and nothing half written"
    assert (land(home)["duplicates"], landed(home)) == (3, ["e1", "e2", "e3", "e4"])


def test_too_many_requests_are_waited_for_as_long_as_the_api_says(home: Home, api: FakeApi) -> None:
    refusals = [Answer({}, 429, {"Retry-After": "1"}), Answer("", 503)]
    pages = by_cursor([[row(1)], [row(2)]])
    api.answers = lambda asked: refusals.pop(0) if refusals else pages(asked)
    started = time.monotonic()
    assert collect(home, api).json["rows"] == 2
    assert time.monotonic() - started >= 1
    assert len(api.asked) == 4


def test_a_used_up_limit_is_waited_for_before_the_api_has_to_refuse(home: Home, api: FakeApi) -> None:
    pages = by_cursor([[row(1)], [row(2)]])

    def answer(asked: Asked) -> Answer:
        return Answer(pages(asked).body, headers={"RateLimit-Remaining": str(2 - len(api.asked)), "RateLimit-Reset": "1"})

    api.answers = answer
    started = time.monotonic()
    assert collect(home, api).json["rows"] == 2
    assert time.monotonic() - started < 1
    api.asked.clear()
    api.answers = lambda asked: Answer(pages(asked).body, headers={"RateLimit-Remaining": "0", "RateLimit-Reset": "1"})
    assert collect(home, api, "--name", "another").json["rows"] == 2
    assert time.monotonic() - started >= 1


def test_what_came_before_an_api_gave_up_is_kept_and_not_asked_for_again(home: Home, api: FakeApi) -> None:
    pages = by_cursor([[row(1)], [row(2)], [row(3)]])
    api.answers = lambda asked: pages(asked) if asked.query.get("cursor") != "2" else Answer({}, 429)
    with patch.object(connection, "ATTEMPTS", 1):
        failed = collect(home, api)
    assert failed.code == 1
    assert "429" in failed.json["error"]
    assert land(home)["accepted"] == 2
    api.queries()
    api.answers = pages
    assert collect(home, api).json["rows"] == 1
    assert [query["cursor"] for query in api.queries()] == ["2"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_told_by_its_variable_alone(status: int, home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer({"message": f"no such key: {KEY}"}, status)
    refused = collect(home, api)
    assert refused.code == 1
    assert "EVENTS_API_KEY" in refused.json["error"]
    assert len(api.asked) == 1, "a wrong key does not become right by asking again"
    assert KEY not in refused.stdout + refused.stderr
    assert KEY not in "".join(path.read_text() for path in home.collecting.iterdir())
    assert inbox(home) == []


def test_no_key_goes_where_others_could_read_it(home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    unencrypted = billhouse(home.path, "collect", "--url", "http://events.invalid/v1", "--api-key-env", "EVENTS_API_KEY")
    in_address = billhouse(home.path, "collect", "--url", f"https://{KEY}:@events.invalid/v1")
    assert (unencrypted.code, in_address.code) == (2, 2)
    assert KEY not in unencrypted.stderr + in_address.stderr
    for address in ("events.invalid/v1", "ftp://events.invalid", "https://[::1", "https://events.invalid:port", "https://"):
        assert billhouse(home.path, "collect", "--url", address).code == 2, address

    with serving() as elsewhere:
        link = {"Link": f'<{elsewhere.url}/steal>; rel="next"'}
        api.answers = lambda _: Answer([row(1)], headers=link)
        assert "is at another host" in collect(home, api, "--paging", "link", "--rows-at", "$").json["error"]
        api.answers = lambda _: Answer("", 302, {"Location": f"{elsewhere.url}/steal"})
        assert "redirects to another address" in collect(home, api, "--name", "moved").json["error"]
        assert elsewhere.asked == []

    monkeypatch.delenv("EVENTS_API_KEY")
    assert collect(home, api).code == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>Welcome!</html>", "did not answer with JSON"),
        (b"\xff\xfe", "did not answer with JSON"),
        ('{"data": [', "did not answer with JSON"),
        ({"rows": []}, "without a list"),
        ({"data": {"e1": {}}}, "without a list"),
        ([], "without a list"),
    ],
)
def test_an_invalid_answer_is_an_error_and_not_an_empty_list(body: Any, message: str, home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer(body)
    failed = collect(home, api)
    assert failed.code == 1
    assert message in failed.json["error"]
    assert inbox(home) == []


def test_an_api_that_cannot_be_reached_or_found_is_told(home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer({}, 404)
    assert "404" in collect(home, api).json["error"]
    with serving() as gone:
        pass
    with patch.object(connection, "ATTEMPTS", 1):
        assert "cannot be reached" in collect(home, gone).json["error"]


def test_rows_of_another_system_wait_in_the_folder_of_the_source_that_reads_them(home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer({"data": [row(1)], "next_cursor": None})
    collected = billhouse(home.path, "collect", "--url", api.url, "--source", "cloudevents", "--name", "mine")
    assert "billhouse land --source cloudevents" in collected.stdout
    assert [path.parent.name for path in home.inbox.rglob("*.jsonl")] == ["cloudevents"]
    for options in (("--source", "nowhere"), ("--source", "cloudevents", "--kind", "usage")):
        assert collect(home, api, *options).code == 2


def test_one_run_collects_a_source_at_a_time(home: Home, api: FakeApi) -> None:
    with position.open_source(home, "mine", Kind.USAGE):
        assert "Another command" in collect(home, api, "--name", "mine").json["error"]
    assert collect(home, api, "--name", "../mine").code == 2
    (home.collecting / "mine.json").write_text("{")
    assert "position" in collect(home, api, "--name", "mine").json["error"]


def export(home: Home, address: Path, *words: object) -> Outcome:
    return billhouse(home.path, "collect", "--export", address, *words, "--json")


def test_of_an_export_only_new_whole_lines_are_read(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "09").mkdir(parents=True)
    (folder / "00.jsonl").write_text(event_line("a") + "\n" + event_line("b")[:30])
    (folder / "09" / "01.ndjson").write_text(event_line("c") + "\n\n")
    (folder / "note.txt").write_text("no events")
    first = export(home, folder).json
    assert (first["rows"], [Path(path).name for path in first["skipped"]]) == (2, ["note.txt"])
    assert export(home, folder).json["rows"] == 0

    (folder / "00.jsonl").write_text(event_line("a") + "\n" + event_line("b") + "\n")
    (folder / "02.jsonl").write_bytes(b'{"event_id": "\xff"}\n')
    assert export(home, folder).json["rows"] == 2
    assert land(home)["by_reason"] == {"unreadable": 1}
    assert landed(home) == ["a", "b", "c"]


def test_another_file_under_an_old_name_is_read_from_its_start(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text("".join(event_line(name) + "\n" for name in "ab"))
    assert export(home, path, "--name", "queue").json["rows"] == 2
    path.write_text("".join(event_line(name) + "\n" for name in "cde"))
    assert export(home, path, "--name", "queue").json["rows"] == 3
    path.write_text(event_line("c") + "\n")
    assert export(home, path, "--name", "queue").json["rows"] == 1, "shorter than it was"
    land(home)
    assert landed(home) == ["a", "b", "c", "d", "e"]


def test_an_export_that_is_not_there_is_not_an_empty_one(home: Home, tmp_path: Path) -> None:
    for address in (tmp_path / "missing", tmp_path / "missing.jsonl"):
        assert export(home, address).code == 1
    assert billhouse(home.path, "collect").code == 2


def test_many_rows_come_in_several_files_each_with_its_position(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text("".join(event_line(f"e{number}") + "\n" for number in range(9)))
    blocks = patch("pipeline.feeds.export_files._BLOCK_BYTES", len(event_line("e0")) * 2)
    with patch.object(position, "ROWS_PER_FILE", 2), blocks:
        result = export(home, path).json
    assert result["rows"] == 9
    assert len(result["files"]) > 2
    assert land(home)["accepted"] == 9


LINKED = ("--paging", "link", "--rows-at", "$", "--name", "linked")
BAD_LINKS = [
    "http://[::1/events",
    "http://127.0.0.1:port/events",
    "https://",
    "http://user name@[/",
    "x" * 5000,
    "/v1/events?page=\x7f",
]


@pytest.mark.parametrize("link", BAD_LINKS)
def test_a_link_that_cannot_be_followed_does_not_become_the_position(link: str, home: Home, api: FakeApi) -> None:
    def answer(asked: Asked) -> Answer:
        page = int(asked.query.get("page", 1))
        named = {1: f"{api.url}/v1/events?page=2", 2: link}.get(page)
        return Answer([row(page)], headers={"Link": f'<{named}>; rel="next"'} if named else {})

    api.answers = answer
    failed = collect(home, api, *LINKED)
    assert (failed.code, len(inbox(home))) == (1, 1), "the first page was good"
    assert "next page" in failed.json["error"]
    assert "Traceback" not in failed.stderr
    api.queries()
    api.answers = lambda asked: Answer([row(int(asked.query["page"]))])
    assert collect(home, api, *LINKED).json["rows"] == 1
    assert api.queries() == [{"page": "2"}]


@pytest.mark.parametrize("cursor", [{"a": 1}, ["x"], True, "x" * 5000, "\ud800", "a\nb", 10**4299])
def test_a_cursor_that_cannot_be_sent_again_does_not_become_the_position(cursor: Any, home: Home, api: FakeApi) -> None:
    api.answers = lambda asked: Answer({"data": [row(1)], "next_cursor": cursor})
    failed = collect(home, api)
    assert failed.code == 1
    assert "names a next page that cannot be requested" in failed.json["error"]
    assert inbox(home) == []
    api.answers = by_cursor([[row(1)]])
    api.queries()
    assert collect(home, api).json["rows"] == 1
    assert api.queries() == [{"limit": "2"}]


def test_pages_that_go_in_a_circle_end_the_run(home: Home, api: FakeApi) -> None:
    following = {None: "a", "a": "b", "b": "a"}
    api.answers = lambda asked: Answer({"data": [row(1)], "next_cursor": following[asked.query.get("cursor")]})
    failed = collect(home, api)
    assert (failed.code, len(api.asked)) == (1, 3)
    assert "form a cycle" in failed.json["error"]


def test_a_position_that_an_earlier_run_kept_and_that_is_no_address_is_told(home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer([row(1)])
    assert collect(home, api, *LINKED).code == 0
    record = home.collecting / "linked.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"position": "http://[::1"}))
    failed = collect(home, api, *LINKED)
    assert failed.code == 1
    assert "is not an address" in failed.json["error"]
    assert "collecting/" in f"{failed.json}"


@pytest.mark.parametrize("seconds", ["9" * 5000, "1" * 400])
def test_a_pause_of_thousands_of_digits_is_the_longest_pause(seconds: str, home: Home, api: FakeApi) -> None:
    pages = by_cursor([[row(1)], [row(2)]])
    limit = {"RateLimit-Remaining": "0", "RateLimit-Reset": seconds}
    refusals = [Answer({}, 429, {"Retry-After": seconds}), Answer({}, 503, {"Retry-After": "Mon, 99 Foo 99999 00:00:00 GMT"})]
    api.answers = lambda asked: refusals.pop() if refusals else Answer(pages(asked).body, headers=limit)
    with patch.object(connection, "LONGEST_PAUSE_SECONDS", 0.01):
        assert collect(home, api).json["rows"] == 2


def test_rows_nested_deep_and_numbers_of_thousands_of_digits_come_as_they_are_and_land_in_quarantine(
    home: Home, api: FakeApi
) -> None:
    digits = "7" * 4301
    deep = "[" * 200 + "]" * 200
    rows = [
        event_line("a")[:-1] + f', "vcpu_count": {digits}}}',
        event_line("b")[:-1] + f', "metadata": {deep}}}',
        event_line("c", user_id=...)[:-1] + f', "user_id": {digits}}}',
        event_line("good"),
    ]
    api.answers = lambda _: Answer('{"next_cursor": null, "data": [' + ",".join(rows) + "]}")
    assert collect(home, api).json["rows"] == 4
    result = land(home)
    assert (result["accepted"], result["by_reason"]) == (1, {"bad_id": 1, "bad_number": 1, "over_limit": 1})


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_page_that_is_nested_too_deep_is_refused_and_the_position_stays(depth: int, home: Home, api: FakeApi) -> None:
    pages = by_cursor([[row(1)], [row(2)], [row(3)]])
    deep = '{"data": [' + "[" * depth + "]" * depth + '], "next_cursor": 2}'
    api.answers = lambda asked: Answer(deep) if asked.query.get("cursor") == "1" else pages(asked)
    failed = collect(home, api)
    assert (failed.code, len(inbox(home))) == (1, 1)
    assert "nested too deep" in failed.json["error"]
    api.answers = pages
    api.queries()
    assert collect(home, api).json["rows"] == 2
    assert [query["cursor"] for query in api.queries()] == ["1", "2"]


def test_an_answer_that_is_too_large_is_refused_whatever_it_is_compressed_to(home: Home, api: FakeApi) -> None:
    page = b'{"data": [' + b" " * (64 << 20) + b"]}"
    for body, headers in ((gzip.compress(page, 1), {"Content-Encoding": "gzip"}), (page, {})):
        api.answers = lambda _, body=body, headers=headers: Answer(body, headers=headers)  # type: ignore[misc]
        failed = collect(home, api)
        assert failed.code == 1
        assert "more than 16 MB" in failed.json["error"]
        assert len(api.queries()) == 1, "it would be as large again"
    assert inbox(home) == []


def test_an_answer_that_drips_is_given_up(home: Home) -> None:
    """Each byte comes well within the timeout of a read: without a bound on it all, the answer would come and be taken."""
    body = b'{"data": [] }'
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    attempts, seconds = patch.object(connection, "ATTEMPTS", 1), patch.object(connection, "ANSWER_SECONDS", 0.3)
    with raw_server(lambda: dripping(whole)) as address, attempts, seconds:
        failed = billhouse(home.path, "collect", "--url", f"http://{address}/v1/events", "--json")
    assert failed.code == 1
    assert "cannot be reached" in failed.json["error"]


def test_rows_wait_in_memory_up_to_a_number_of_bytes(home: Home, api: FakeApi) -> None:
    api.answers = by_cursor([[row(number)] for number in range(6)])
    with patch.object(position, "BYTES_PER_FILE", 250):
        assert len(collect(home, api).json["files"]) == 3


def test_of_an_export_pipes_and_links_are_refused_one_by_one_and_the_others_are_read(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret.jsonl").write_text(event_line("secret") + "\n")
    os.mkfifo(folder / "a.jsonl")
    (folder / "b.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "c.jsonl").write_text(event_line("c") + "\n")
    result = export(home, folder)
    assert (result.code, result.json["rows"]) == (1, 1)
    pipe, link = result.json["refused"]
    assert "a.jsonl is a pipe" in pipe
    assert "b.jsonl is a symbolic link" in link
    shown = billhouse(home.path, "collect", "--export", folder)
    assert "is a symbolic link" in shown.stdout
    land(home)
    assert landed(home) == ["c"]


def test_a_line_of_an_export_that_is_too_long_comes_cut_off_and_lands_in_quarantine(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text(event_line("a") + "\n" + event_line("long", note="x" * (3 << 20)) + "\n" + event_line("b") + "\n")
    with patch("pipeline.feeds.export_files._BLOCK_BYTES", 1 << 16):
        result = export(home, path, "--name", "queue").json
    assert result["rows"] == 3
    assert Path(result["files"][0]).stat().st_size < 2 << 20
    assert export(home, path, "--name", "queue").json["rows"] == 0
    assert land(home)["by_reason"] == {"over_limit": 1}
    assert landed(home) == ["a", "b"]


def test_lists_at_several_places_of_an_answer_are_read_one_after_the_other(home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer({"days": [{"rows": [row(1)]}, {"rows": []}, {"rows": [row(2)]}], "next_cursor": ""})
    assert collect(home, api, "--rows-at", "$.days[*].rows").json["rows"] == 2
    land(home)
    assert landed(home) == ["e1", "e2"]


def test_a_json_path_that_is_none_is_refused(home: Home, api: FakeApi) -> None:
    api.answers = by_cursor([[row(1)]])
    for words in (("--rows-at", "$.data[*"), ("--next-cursor-at", "a b")):
        refused = collect(home, api, *words)
        assert (refused.code, inbox(home) if (home.inbox / "usage").exists() else []) == (2, [])
        assert "is not a JSON path" in refused.stderr


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTS_API_KEY", f"{KEY}\u20ac")
    refused = collect(home, api)
    assert refused.code == 2
    assert "EVENTS_API_KEY" in refused.stderr
    assert KEY not in refused.stderr


def by_asking(body: Any) -> Callable[[Asked], Answer]:
    """Every request is answered alike."""
    return lambda _: Answer(body)


def by_offset(rows: list[Any], most: int = 3) -> Callable[[Asked], Answer]:
    """A list of rows; a page has at most so many, also where more are asked for."""

    def answer(asked: Asked) -> Answer:
        skipped = int(asked.query.get("offset", 0))
        return Answer(rows[skipped : skipped + min(most, int(asked.query.get("limit", most)))])

    return answer


def test_a_list_is_paged_by_offset_to_its_end_also_where_pages_are_smaller_than_asked_for(home: Home, api: FakeApi) -> None:
    api.answers = by_offset([row(number) for number in range(9)])
    outcome = collect(home, api, "--paging", "offset", "--rows-at", "$", "--page-size", 5)
    assert (outcome.code, outcome.json["rows"], outcome.json["warnings"]) == (0, 9, [])
    assert [query["offset"] for query in api.queries()] == ["0", "3", "6", "9"]
    assert land(home)["accepted"] == 9


def test_the_newest_rows_are_read_up_to_a_known_one_and_missing_ones_are_reported(home: Home, api: FakeApi) -> None:
    words = ("--paging", "offset", "--rows-at", "$", "--newest-first")
    rows = [row(number) for number in range(20)]
    api.answers = by_offset(rows[:9][::-1])
    assert collect(home, api, *words).json["rows"] == 9
    api.queries()
    api.answers = by_offset(rows[:13][::-1])
    assert collect(home, api, *words).json["rows"] == 6, "two pages of three, the second with a known row"
    assert [query["offset"] for query in api.queries()] == ["0", "3"]
    assert land(home)["accepted"] == 13
    # The list holds the last three rows alone: two were removed before they were read.
    api.answers = by_offset(rows[15:18][::-1])
    (warning,) = collect(home, api, *words).json["warnings"]
    assert "removed before they were read" in warning


def test_an_api_that_does_not_page_by_offset_is_an_error_and_no_endless_run(home: Home, api: FakeApi) -> None:
    api.answers = lambda _: Answer([row(1), row(2)])
    outcome = collect(home, api, "--paging", "offset", "--rows-at", "$")
    assert outcome.code == 1 and "the same page for another offset" in outcome.json["error"]
    assert len(api.asked) == 2


def test_a_full_page_that_does_not_say_whether_more_follow_is_an_error(home: Home, api: FakeApi) -> None:
    api.answers = by_offset([row(number) for number in range(9)], most=2)
    outcome = collect(home, api, "--rows-at", "$")
    assert outcome.code == 1 and "does not say whether more follow" in outcome.json["error"]
    assert land(home)["accepted"] == 2, "what came is stored"
    # A page that names no next one, or is not full, is the last.
    for body in ({"data": [row(1), row(2)], "next_cursor": None}, {"data": [row(1)]}):
        api.answers = by_asking(body)
        assert collect(home, api, "--name", f"other-{len(body)}").code == 0


def test_rows_that_waited_long_in_memory_are_written_before_the_run_ends(home: Home) -> None:
    """A slow feed is killed after some minutes, which must not lose all that it had read."""
    with position.open_source(home, "slow", "usage") as source:
        source.add([b"1", b"2"], "a")
        source.add([], "b")
        assert not source.collected.files
        with patch.object(position, "SECONDS_IN_MEMORY", 0):
            source.add([b"3"], "c")
        (path,) = source.collected.files
        assert path.read_bytes() == b"1\n2\n3\n"
        assert json.loads((home.collecting / "slow.json").read_text())["position"] == "c"
        source.add([b"4"], "d")
        assert source.collected.files == [path], "its own time has just begun"
