"""Arguments and options that commands share."""

from typing import Annotated

import typer

ProjectArgument = Annotated[str, typer.Argument(help="A project file, or the name of a shipped one.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a value of the project file (repeatable).")
]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Where outputs lie: a folder or URI.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces and debug messages.")]
