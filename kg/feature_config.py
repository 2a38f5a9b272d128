"""The project file's sections on graph features and on the filter of interactions."""

from pydantic import Field

from kg.section import Section


class KCore(Section):
    """Interactions are kept while their user and item have at least so many of them, repeatedly."""

    user: int = Field(0, ge=0)
    item: int = Field(0, ge=0)


class Features(Section):
    """Graph features that become node properties (of all rows: never inputs of an evaluated model)."""

    degree: bool = True
    pagerank: bool = True
