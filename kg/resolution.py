"""The project file's `resolution`: when nodes are the same."""

from pydantic import Field

from kg.section import Expression, Section


class Resolution(Section):
    """When two nodes of a label are the same: they agree on any of the keys (null never matches)."""

    match: list[Expression] = Field(min_length=1)
    """Normalised keys over the label's properties, each strong enough by itself."""
    prefer: Expression | None = None
    """The node with the highest value is kept; then the one with most values, then the smallest key."""
