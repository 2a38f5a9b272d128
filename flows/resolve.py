"""Why records became one node, for people."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.project import load_project
from flows.settings import load_settings
from flows.tasks import Run
from kg.resolve_explain import Explanation, Pair, explain


def explain_entity(
    project: str, entity: str, overrides: list[str] | None = None, workspace: str | None = None
) -> Explanation:
    """Explain an entity (``Label:key`` or key) from the workspace's newest tables; nothing is run or written."""
    run = Run(load_project(project, overrides), load_settings(), "resolve", workspace)
    return explain(run.output("tables"), run.graph, entity)


def show_explanation(found: Explanation) -> None:
    """Print the node that is kept, and each record that became it with its chain of pairs."""
    console = Console()
    console.width = max(console.width, 140)
    console.print(
        f"[bold]{escape(found.label)} {escape(found.kept)}[/]", f"  kept, for {escape(found.reason)}", sep="\n"
    )
    for key, chain in found.merged.items():
        console.print("", f"[bold]{escape(key)}[/] became {escape(found.kept)}, by {len(chain)} pair(s):", sep="\n")
        for pair in chain:
            _show_pair(console, pair)
    for label, pair in found.same:
        console.print("", f"is the same as one of [bold]{escape(label)}[/]:", sep="\n")
        _show_pair(console, pair)


def _show_pair(console: Console, pair: Pair) -> None:
    console.print(f"  {escape(pair.left)} = {escape(pair.right)}, score {pair.score:.3f}, found by {escape(pair.rule)}")
    table = Table("field", escape(pair.left), escape(pair.right), "similarity", box=None, padding=(0, 2, 0, 4))
    for name, left, right, alike in pair.fields:
        table.add_row(escape(name), escape(left or ""), escape(right or ""), "" if alike is None else f"{alike:.3f}")
    console.print(table)
