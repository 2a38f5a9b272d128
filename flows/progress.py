"""Progress bars on a terminal, for what takes more than a few seconds; nothing where stderr is a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def _bars() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


@contextmanager
def steps(title: str) -> Iterator[Callable[[str], None]]:
    """A function to call with the name of each step."""
    with _bars() as bars:
        task = bars.add_task(title, total=None)
        yield lambda step: bars.update(task, description=f"{title}: {step}", advance=1)


@contextmanager
def by_table(title: str, totals: dict[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A function to call with a table's name and how many more of its rows are done."""
    with _bars() as bars:
        task = bars.add_task(title, total=sum(totals.values()))
        yield lambda table, rows: bars.update(task, description=f"{title} {table}", advance=rows)


@contextmanager
def counted(title: str) -> Iterator[Callable[..., None]]:
    """A function to call with how many are done, of how many, and (or not) of what."""
    with _bars() as bars:
        task = bars.add_task(title, total=None)

        def update(done: int, total: int, what: str = "") -> None:
            bars.update(task, completed=done, total=total, description=f"{title} {what}".rstrip())

        yield update
