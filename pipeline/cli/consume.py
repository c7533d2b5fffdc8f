"""Commands that read queues into the inbox: consume kafka, redis-streams, sqs, nats. docs/operate/queues.md."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.collect import print_collected
from pipeline.cli.feed_options import KindOption, SourceOption, inbox_folder, refuse_kind_with_source
from pipeline.cli.queue_options import (
    FileRows,
    FileSeconds,
    Follow,
    Name,
    Pairs,
    PasswordVariable,
    RedeliverAfter,
    Seconds,
    SecretPairs,
    User,
)
from pipeline.cli.support import Json, out, show
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain
from pipeline.landing.record_kinds import Kind

if TYPE_CHECKING:
    from pipeline.feeds.queues import Consumed, Queue

app = typer.Typer(
    no_args_is_help=True,
    help="Read the new messages of a queue into the inbox. Safe to interrupt and to repeat.\n\n"
    "Each message is written at least once, and acknowledged after that; landing stores each row exactly once. Rows are the JSON"
    " objects in the messages. Next: billhouse land FILE...",
)


@app.command()
def kafka(
    context: typer.Context,
    servers: Annotated[str, typer.Option(metavar="HOST:PORT,...", help="Some of the brokers.", show_default=False)],
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The topic.", show_default=False)],
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The consumer group that offsets are committed for, for monitors of its lag. Default: billhouse-NAME.",
            show_default=False,
        ),
    ] = None,
    property: Pairs = None,
    secret: SecretPairs = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Where messages are gone that were not read, go on at the oldest one that is left."),
    ] = False,
    kind: KindOption = None,
    source: SourceOption = None,
    name: Name = None,
    follow: Follow = False,
    run_seconds: Seconds = None,
    file_seconds: FileSeconds = 10,
    file_rows: FileRows = 50_000,
    as_json: Json = False,
) -> None:
    """Read the new messages of a Kafka topic into the inbox, from stored offsets. Safe to interrupt and to repeat.

    A stored offset that is gone from the topic is an error that says how many messages were lost.
    """
    from pipeline.feeds.queues import KafkaTopic

    def queue(name: str) -> Queue:
        properties, secrets = _pairs(property, "--property"), _pairs(secret, "--secret")
        return KafkaTopic(servers, topic, group or f"billhouse-{name}", properties, secrets, accepts_loss=accept_loss)

    _consume(context, queue, topic, kind, source, name, follow, run_seconds, file_seconds, file_rows, as_json)


@app.command()
def redis_streams(
    context: typer.Context,
    url: Annotated[str, typer.Option(metavar="URL", help="redis://host:port/database, or rediss://.", show_default=False)],
    stream: Annotated[str, typer.Option(metavar="KEY", help="The stream.", show_default=False)],
    field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The field that holds the row as JSON. Default: fields are the row's keys.", show_default=False
        ),
    ] = None,
    group: Annotated[str, typer.Option(metavar="NAME", help="The consumer group, for Billhouse alone.")] = "billhouse",
    consumer: Annotated[str, typer.Option(metavar="NAME", help="The consumer's name in its group.")] = "billhouse",
    take_over_after: Annotated[
        float, typer.Option(min=0, help="Seconds after which entries of another consumer of the group are read again.")
    ] = 300,
    user: User = None,
    password_env: PasswordVariable = None,
    kind: KindOption = None,
    source: SourceOption = None,
    name: Name = None,
    follow: Follow = False,
    run_seconds: Seconds = None,
    file_seconds: FileSeconds = 10,
    file_rows: FileRows = 50_000,
    as_json: Json = False,
) -> None:
    """Read the new entries of a Redis stream into the inbox, in a consumer group. Safe to interrupt and to repeat.

    Entries that were trimmed before they were read are reported: the command ends with 1, after the others were read.
    """
    from pipeline.feeds.queues import RedisStream

    queue = RedisStream(url, stream, group, consumer, field, user, password_env, take_over_after)
    _consume(context, lambda _: queue, stream, kind, source, name, follow, run_seconds, file_seconds, file_rows, as_json)


@app.command()
def sqs(
    context: typer.Context,
    url: Annotated[str, typer.Option(metavar="URL", help="The queue's URL.", show_default=False)],
    redeliver_after: RedeliverAfter = 120,
    kind: KindOption = None,
    source: SourceOption = None,
    name: Name = None,
    follow: Follow = False,
    run_seconds: Seconds = None,
    file_seconds: FileSeconds = 10,
    file_rows: FileRows = 50_000,
    as_json: Json = False,
) -> None:
    """Read the messages of an SQS queue, standard or FIFO, into the inbox. Safe to interrupt and to repeat.

    Deletes them from the queue afterwards. Region and credentials are those of the AWS tools.
    """
    from pipeline.feeds.queues import SqsQueue

    queue = SqsQueue(url, redeliver_after)
    place = url.rstrip("/").rpartition("/")[2]
    _consume(context, lambda _: queue, place, kind, source, name, follow, run_seconds, file_seconds, file_rows, as_json)


@app.command()
def nats(
    context: typer.Context,
    servers: Annotated[str, typer.Option(metavar="URL,...", help="nats://host:port, or tls://.", show_default=False)],
    stream: Annotated[str, typer.Option(metavar="NAME", help="The JetStream stream.", show_default=False)],
    subject: Annotated[
        str | None, typer.Option(metavar="SUBJECT", help="Only messages of this subject.", show_default=False)
    ] = None,
    consumer: Annotated[str, typer.Option(metavar="NAME", help="The durable pull consumer; it is created.")] = "billhouse",
    redeliver_after: RedeliverAfter = 120,
    user: User = None,
    password_env: PasswordVariable = None,
    token_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="The environment variable that holds the token.", show_default=False)
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A credentials file, as nsc writes it.", show_default=False)
    ] = None,
    kind: KindOption = None,
    source: SourceOption = None,
    name: Name = None,
    follow: Follow = False,
    run_seconds: Seconds = None,
    file_seconds: FileSeconds = 10,
    file_rows: FileRows = 50_000,
    as_json: Json = False,
) -> None:
    """Read the new messages of a NATS JetStream stream into the inbox. Safe to interrupt and to repeat.

    Messages that the stream has removed unread are reported: the command ends with 1, after the others were read.
    """
    from pipeline.feeds.queues import NatsStream

    queue = NatsStream(servers, stream, consumer, subject, user, password_env, token_env, credentials, redeliver_after)
    _consume(context, lambda _: queue, stream, kind, source, name, follow, run_seconds, file_seconds, file_rows, as_json)


def _consume(
    context: typer.Context,
    queue: Any,
    place: str,
    kind: Kind | None,
    source: str | None,
    name: str | None,
    follow: bool,
    run_seconds: float | None,
    file_seconds: float,
    file_rows: int,
    as_json: bool,
) -> None:
    """Run one of the commands. `queue` makes the queue of a feed's name; `place` is what the name is made of."""
    from pipeline.feeds.queues import Limits, consume

    refuse_kind_with_source(kind, source)
    home = Home.open(context.obj)
    if source:
        _check_reads_rows(home, source)
    folder = inbox_folder(home, kind, source)
    name = name or f"{folder}-{re.sub(r'[^a-z0-9._]+', '-', place.lower())[-60:].strip('-._') or 'queue'}"

    def on_file(path: Path, rows: int) -> None:
        if follow and not as_json:
            out.print(f"{rows:,} rows in {plain(str(path))}", soft_wrap=True)

    def on_loss(loss: str) -> None:
        if follow:
            out.print(f"[red]lost[/] {plain(loss)}", soft_wrap=True)

    consumed = consume(
        home,
        queue(name),
        name=name,
        folder=folder,
        limits=Limits(file_rows, file_seconds, is_following=follow, run_seconds=run_seconds),
        stop=_stop_signal() if follow else None,
        on_file=on_file,
        on_loss=on_loss,
    )
    show(as_json, consumed.as_dict(), lambda: _print_consumed(consumed, is_following=follow))
    if consumed.lost:
        raise typer.Exit(1)


def _check_reads_rows(home: Home, name: str) -> None:
    """Raises WrongUsageError for a source that does not read a row from each line, but rows in documents."""
    from pipeline.landing.sources.source_files import find_source

    source = find_source(home, name)
    if source.rows_at != "$":
        raise WrongUsageError(
            f"The source '{name}' reads rows inside a document, at {source.rows_at}; a message of a queue is a row.",
            "Write a source without 'rows:' that selects from the messages.",
        )


def _stop_signal() -> Event:
    """An event that SIGTERM and SIGINT set: what was received is written and acknowledged before the process ends."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise WrongUsageError(f"{option} needs NAME=VALUE.", "Write it as security.protocol=SASL_SSL.")
        pairs[name.strip()] = value.strip()
    return pairs


def _print_consumed(result: Consumed, *, is_following: bool) -> None:
    if is_following:
        out.print(f"Wrote [bold]{result.collected.rows:,}[/] rows of {result.messages:,} messages.")
    else:
        print_collected(result.collected)
        for loss in result.lost:
            out.print(f"[red]lost[/] {plain(loss)}", soft_wrap=True)
    if result.empty_messages:
        out.print(f"{result.empty_messages:,} messages had no payload.")
