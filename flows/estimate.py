"""What a stage will take: a rate measured once, corrected by what it last took in this workspace."""

import json
from dataclasses import dataclass, field
from typing import Any

from pyarrow import fs

from flows.settings import Memory
from kg.tables import Workspace

Figures = dict[str, Any]
Work = dict[str, float]


@dataclass(frozen=True)
class Cost:
    """Seconds that a stage takes: some to start, and more by what it works on."""

    start: float
    rates: dict[str, float] = field(default_factory=dict)
    """By kind of work, how much of it a second."""

    def seconds(self, work: Work) -> float:
        """For an amount of work of each kind."""
        return self.start + sum(work.get(kind, 0) / rate for kind, rate in self.rates.items())


# Two cores, no GPU. Nodes and relationships by `MERGE` in one session of the Python driver, texts in bfloat16 and
# vectors by `db.create.setNodeVectorProperty` as each was measured alone; the others so that the stages of one run of
# MovieLens-100K with triples, plots and posters come out (203,073 rows of sources, 100,000 events, 35,674 nodes,
# 194,524 relationships, 1,664 texts, 1,644 pictures), on a machine that had other work besides.
COSTS = {
    "tables": Cost(15, {"rows": 5_500}),
    "cuts": Cost(0.1, {"events": 900_000}),
    "loaded": Cost(2, {"nodes_written": 10_600, "relationships_written": 21_000}),
    "graph": Cost(1, {"nodes": 14_500, "relationships": 14_500}),
    "encoded": Cost(5, {"texts": 520, "images": 60}),
    "trained/user_time": Cost(8, {"events": 2_400}),
    "trained/global_time": Cost(8, {"events": 5_100}),
    "evaluation": Cost(3, {"events": 12_000}),
    "embeddings": Cost(8, {"events": 2_300}),
    "published": Cost(10, {"vectors": 7_600}),
    "recommendations": Cost(3, {"events": 16_700}),
}
# MiB of a stage's share that it takes with no data at all, and bytes by byte of the tables that it reads: rough.
BASE = {"spark": 900, "neo4j": 500, "torch": 900, "arrow": 250}
BY_BYTE = {"spark": 6, "neo4j": 0.2, "torch": 4, "arrow": 3}
WHO = {
    "tables": "spark",
    "cuts": "arrow",
    "loaded": "neo4j",
    "graph": "neo4j",
    "published": "neo4j",
}


def memory(stage: str, size: int, shares: Memory) -> tuple[int, int]:
    """MiB that a stage takes of what it may take, for tables of `size` bytes; no more than that ever."""
    who = WHO.get(stage, "torch")
    share = {
        "spark": shares.spark,
        "neo4j": shares.neo4j_heap + shares.neo4j_pages,
        "torch": shares.torch,
        "arrow": shares.torch,
    }[who]
    return min(share, BASE[who] + int(BY_BYTE[who] * size / (1 << 20))), share


def history(workspace: Workspace) -> list[Figures]:
    """The completed runs of a workspace, newest first."""
    selector = fs.FileSelector(f"{workspace.root}/history", allow_not_found=True)
    found = []
    for info in workspace.filesystem.get_file_info(selector):
        if info.path.endswith(".json"):
            with workspace.filesystem.open_input_stream(info.path) as stream:
                found.append(json.loads(stream.read()))
    done = [run for run in found if run.get("status") == "completed"]
    return sorted(done, key=lambda run: str(run["started"]), reverse=True)


def work_of(run: Figures) -> Work:
    """What a run worked on, from its figures."""
    stages, did = run["stages"], run["did"]
    tables = stages.get("tables", {"rows": {}, "figures": {"sources": {}}})
    loaded = stages.get("loaded", {"skipped": True, "figures": {}})
    found = sizes(tables["rows"], tables["figures"]["sources"])
    for kind in ("nodes", "relationships"):
        accounts = [] if loaded["skipped"] else loaded["figures"][kind].values()
        found[f"{kind}_written"] = sum(a["created"] + a["updated"] + a["deleted"] for a in accounts)
    done = {"texts": "texts_encoded", "images": "images_encoded", "vectors": "vectors_written"}
    return found | {kind: did.get(count, 0) for kind, count in done.items()}


def sizes(tables: dict[str, int], sources: dict[str, Figures]) -> Work:
    """Rows of sources, events, nodes and relationships of some tables."""

    def of(prefix: str) -> int:
        return sum(rows for name, rows in tables.items() if name.startswith(prefix))

    rows = sum(account["rows"] for account in sources.values())
    return {
        "rows": rows,
        "events": of("events/"),
        "nodes": of("nodes/"),
        "relationships": of("relationships/"),
    }


def seconds(stage: str, work: Work, runs: list[Figures]) -> tuple[float, str]:
    """How long a stage takes for some work, and by whose measure: that of the last run that made it, or ours."""
    cost = COSTS[stage]
    for run in runs:
        made = run["stages"].get(stage)
        if made and not made["skipped"] and (took := run["seconds"].get(stage)):
            return cost.seconds(work) * took / cost.seconds(work_of(run)), run["run_id"]
    return cost.seconds(work), "measured defaults"
