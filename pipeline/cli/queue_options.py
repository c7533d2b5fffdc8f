"""Options that the commands of pipeline.cli.consume share."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The feed's name, for its position and its files. Default: made from the queue's.",
        show_default=False,
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow", help="Wait for more messages until the process is ended (SIGTERM), as a service.")
]
Seconds = Annotated[
    float | None,
    typer.Option("--run-seconds", min=0.1, help="End after so many seconds, also if messages are left.", show_default=False),
]
FileSeconds = Annotated[float, typer.Option(min=0.1, help="With --follow: a file gets the messages of so many seconds.")]
FileRows = Annotated[int, typer.Option(min=1, help="The most rows in a file of the inbox.")]
RedeliverAfter = Annotated[
    int, typer.Option(min=1, max=43_200, help="Seconds after which an unacknowledged message is delivered again.")
]
Pairs = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A property of librdkafka; repeatable.", show_default=False)
]
SecretPairs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VARIABLE",
        help="A property of librdkafka, such as sasl.password, and the environment variable that holds it; repeatable.",
        show_default=False,
    ),
]
PasswordVariable = Annotated[
    str | None,
    typer.Option(
        "--password-env", metavar="VARIABLE", help="The environment variable that holds the password.", show_default=False
    ),
]
User = Annotated[str | None, typer.Option(metavar="NAME", help="The user's name.", show_default=False)]
