"""A digest of all that we loaded, to tell two graphs apart whatever the order in which they were made."""

import hashlib
import json

from kg import cypher
from kg.store import Store


def digest(store: Store) -> str:
    """Of labels, keys, types and properties (features too; vectors, adoption and the ledger not), in any order."""
    total = 0
    for query in (cypher.OUR_NODES, cypher.OUR_RELATIONSHIPS):
        for batch in store.stream_rows(query, {"without": [*cypher.VECTORS, "_adopted"]}):
            for row in batch:
                values = [sorted(value) if isinstance(value, list) else value for value in row]
                found = hashlib.blake2b(json.dumps(values, default=str).encode(), digest_size=16)
                total += int.from_bytes(found.digest())
    return f"{total % (1 << 128):032x}"
