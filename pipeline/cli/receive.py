"""Commands of the HTTP endpoint: receive, and receive-key add, list, revoke. docs/operate/receiving.md."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from pipeline.cli.support import Json, out, show, stderr, table
from pipeline.core.home import Home
from pipeline.core.loopback import is_loopback
from pipeline.core.settings import Settings
from pipeline.core.terminal import plain

receive_key = typer.Typer(
    help="Make, list and revoke the keys with which senders post rows to billhouse receive. Each command is safe to repeat.",
    no_args_is_help=True,
)
_Webhooks = list[str]


def receive(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Keys are not encrypted: put a TLS proxy in front.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0: any free port.", min=0, max=65535)] = 8780,
    standard_webhook: Annotated[
        _Webhooks,
        typer.Option(
            metavar="NAME=VARIABLE",
            help="Accept webhooks signed as Standard Webhooks for a kind or source; the variable has the secret. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer's way to write an option that can be repeated
    e2b_webhook: Annotated[
        _Webhooks,
        typer.Option(
            metavar="NAME=VARIABLE",
            help="The same for webhooks signed by E2B, as e2b-events=E2B_WEBHOOK_SECRET. Repeatable.",
        ),
    ] = [],  # noqa: B006
) -> None:
    """Receive rows over HTTP into the inbox: POST /v1/NAME, where NAME is a kind or a source. Serves until interrupted.

    A request is answered 202 when its rows are in the inbox for good, so a kill at any time loses none of them, and it is safe to
    repeat a request or this command. A sender needs a key (billhouse receive-key add) or a signature. Landing stores the rows:
    billhouse land, or Dagster's sensor.
    """
    from pipeline.feeds.receive.server import open_server
    from pipeline.feeds.receive.signatures import signers_of

    home = Home.open(context.obj)
    signers = signers_of(standard_webhook, e2b_webhook)

    if not is_loopback(host):
        stderr.print(
            "[yellow]warning[/] Requests are not encrypted: let only a proxy with TLS reach this address.", soft_wrap=True
        )
    with open_server(home, host, port, Settings.load(), signers) as server:
        print(f"Receiving at {server.address}/v1/NAME (Ctrl-C stops it); home {home.path}", flush=True)
        server.answer_requests()
    print("stopped", flush=True)


@receive_key.command("add")
def add(
    context: typer.Context,
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="Who posts, as gateway-eu.", show_default=False)],
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="The kinds and sources that it may post to.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Make a key for a sender, and print it once: only its hash is stored.

    It is safe to repeat: a sender may have several keys, as while one is exchanged for another.
    """
    from pipeline.feeds.receive.keys import add_key

    added, key = add_key(Home.open(context.obj), sender, names)

    # As rich's Text, because everything else that is printed has its keys redacted.
    if as_json:
        data = {"id": added.id, "sender": sender, "names": list(added.names), "key": key}
        out.print(Text(json.dumps(data)), soft_wrap=True)
    else:
        out.print(Text(key), soft_wrap=True)  # alone on stdout
        names_shown = plain(", ".join(added.names))
        stderr.print(f"Key {added.id} of {plain(sender)}, for {names_shown}. It is not shown again.", soft_wrap=True)


@receive_key.command("list")
def list_keys(context: typer.Context, as_json: Json = False) -> None:
    """List the senders' keys by their ids. The keys themselves are not stored. Changes nothing."""
    from pipeline.feeds.receive.keys import read_keys

    keys = read_keys(Home.open(context.obj))
    rows: list[dict[str, Any]] = [
        {"id": key.id, "sender": key.sender, "names": list(key.names), "created_at": key.created_at} for key in keys
    ]

    def human() -> None:
        if not rows:
            out.print("There are no keys. Make one: billhouse receive-key add SENDER NAME...")
            return
        shown = table("id", "sender", "may post to", "created at")
        for row in rows:
            shown.add_row(row["id"], plain(row["sender"]), plain(", ".join(row["names"])), row["created_at"])
        out.print(shown)

    show(as_json, {"keys": rows}, human)


@receive_key.command("revoke")
def revoke(
    context: typer.Context,
    sender_or_id: Annotated[
        str, typer.Argument(metavar="SENDER|ID", help="A sender, for all of its keys, or the id of one key.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Revoke keys: a running billhouse receive refuses them from the next request on. It is safe to repeat."""
    from pipeline.feeds.receive.keys import revoke_keys

    revoked = revoke_keys(Home.open(context.obj), sender_or_id)
    ids = [key.id for key in revoked]
    show(as_json, {"revoked": ids}, lambda: out.print(f"Revoked {', '.join(ids)}."))
