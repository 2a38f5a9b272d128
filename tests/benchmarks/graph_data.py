"""Interactions as shops have them, made by numpy from a seed: few items get most of them, users' counts vary too."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from kg.bulk_text import as_text
from kg.schema import INSTANT, node_schema, relationship_schema
from kg.tables import Output, Workspace

SEED = 7
SINCE, UNTIL = 1_577_836_800_000_000, 1_735_689_600_000_000
"""2020 to 2025, in microseconds."""
TYPE = "BOUGHT"
EDGE = f"User-{TYPE}-Product"
USER = node_schema([pa.field("age", pa.int64())])
PRODUCT = node_schema([pa.field("title", pa.string()), pa.field("price", pa.float64()), pa.field("brand", pa.string())])
BOUGHT = relationship_schema([], interaction=True)


def users(count: int) -> pa.Table:
    """``user_id`` and ``age``."""
    draw = np.random.default_rng([SEED, 1])
    return pa.table({"user_id": _ids("u", count), "age": draw.integers(18, 90, count)})


def products(count: int) -> pa.Table:
    """``product_id`` and what a catalogue says of it."""
    draw = np.random.default_rng([SEED, 2])
    brands = pa.array([f"Brand {n}" for n in range(100)])
    return pa.table(
        {
            "product_id": _ids("p", count),
            "title": pc.binary_join_element_wise("Product", _ids("no ", count), " "),
            "price": draw.gamma(2.0, 20.0, count).round(2),
            "brand": brands.take(pa.array(draw.integers(0, 100, count))),
        }
    )


def interactions(count: int, user_count: int, product_count: int) -> pa.Table:
    """``user_id``, ``product_id``, ``at`` and ``amount``; an item's share falls with its rank as in Zipf's law."""
    draw = np.random.default_rng([SEED, 3])
    share = 1 / np.arange(1, product_count + 1) ** 0.8
    item = np.searchsorted(np.cumsum(share) / share.sum(), draw.random(count)).clip(0, product_count - 1)
    user = (user_count * draw.random(count) ** 1.5).astype(np.int64)
    return pa.table(
        {
            "user_id": _ids("u", user_count).take(pa.array(user)),
            "product_id": _ids("p", product_count).take(pa.array(item)),
            "at": pa.array(draw.integers(SINCE, UNTIL, count)).cast(INSTANT),
            "amount": draw.integers(1, 6, count).astype(np.float64),
        }
    )


def _ids(prefix: str, count: int) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.utf8_lpad(pa.array(np.arange(count)).cast(pa.string()), 8, "0"), "")


def write_sources(folder: Path, count: int) -> Path:
    """Parquet sources of `count` interactions, with a user for each 50 and a product for each 250; the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    user_count, product_count = max(2, count // 50), max(2, count // 250)
    for name, table in (
        ("users", users(user_count)),
        ("products", products(product_count)),
        ("events", interactions(count, user_count, product_count)),
    ):
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "growth.yaml").write_text(PROJECT)
    return folder / "growth.yaml"


PROJECT = """
name: growth
sources:
  users: {format: parquet, path: users.parquet}
  products: {format: parquet, path: products.parquet}
  events: {format: parquet, path: events.parquet}
nodes:
  User: {source: users, key: user_id, properties: {age: age}}
  Product: {source: products, key: product_id, domain: shop, properties: {title: title, price: price, brand: brand}}
relationships:
  BOUGHT:
    {source: events, from: {User: user_id}, to: {Product: product_id}, interaction: true, weight: amount, time: at}
"""


def write_tables(folder: Path, relationships: int, nodes: int, *, shuffled: bool = False) -> Output:
    """An output of stage `tables`, a fifth of its nodes products; `shuffled` has the rows in another order."""
    product_count = nodes // 5
    user_count = nodes - product_count
    events = interactions(relationships, user_count, product_count)
    found = {"nodes/User": _node(users(user_count), USER), "nodes/Product": _node(products(product_count), PRODUCT)}
    found[f"relationships/{EDGE}"] = _relationships(events)
    stage = Workspace(folder).stage("tables")
    with stage.create(f"{relationships} {nodes} {shuffled}") as draft:
        for name, table in found.items():
            order = np.random.default_rng([SEED, 4]).permutation(len(table))
            schema = {"nodes/User": USER, "nodes/Product": PRODUCT}.get(name, BOUGHT)
            draft.write(name, table.take(pa.array(order)) if shuffled else table, schema)
        draft.meta["labels"] = {
            "User": {"side": "user", "domain": None},
            "Product": {"side": "item", "domain": "shop"},
        }
        draft.meta["edges"] = {EDGE: {"interaction": True, "target": True, "domain": "shop"}}
    output = stage.current()
    assert output
    return output


def _node(table: pa.Table, schema: pa.Schema) -> pa.Table:
    named = table.rename_columns(["key", *table.column_names[1:]])
    empty = pa.nulls(len(named), pa.string())
    return named.append_column("text", empty).append_column("image", empty).select(schema.names).cast(schema)


def _relationships(events: pa.Table) -> pa.Table:
    """One relationship an event; a row id is 32 hexadecimal digits, as the digests of real ones."""
    draw = np.random.default_rng([SEED, 5])
    digits = np.frombuffer(draw.bytes(16 * len(events)).hex().encode(), "S32")
    columns = {
        "row_id": pa.array(digits, pa.binary()).cast(pa.string()),
        "from_key": events["user_id"],
        "to_key": events["product_id"],
        "count": pa.array(np.ones(len(events), np.int64)),
        "first": events["at"],
        "last": events["at"],
        "weight": events["amount"],
        "positive": pc.greater(events["amount"], 2),
    }
    return pa.table(columns).cast(BOUGHT)


def write_csv(tables: Output, folder: Path) -> list[str]:
    """The files that somebody would prepare for a bare import, with the keys as they are; the importer's arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = []
    for name, ids, option in (
        ("nodes/User", ["key:ID(User)"], "--nodes=User"),
        ("nodes/Product", ["key:ID(Product)"], "--nodes=Product:Item"),
        (f"relationships/{EDGE}", [":START_ID(User)", ":END_ID(Product)"], f"--relationships={TYPE}"),
    ):
        table = tables.read(name).combine_chunks()
        identity = ["key"] if len(ids) == 1 else ["from_key", "to_key"]
        rest = [column for column in table.column_names if column not in identity]
        types = {"int64": "long", "double": "double", "bool": "boolean", "timestamp[us, tz=UTC]": "datetime"}
        header = [*ids, *(f"{c}:{types.get(str(table.schema.field(c).type), 'string')}" for c in rest)]
        stem = name.replace("/", "-")
        (folder / f"{stem}.header.csv").write_text(",".join(header) + "\n")
        texts = [as_text(name, c, table[c].combine_chunks()) for c in [*identity, *rest]]
        options = pa.csv.WriteOptions(include_header=False)
        pa.csv.write_csv(pa.table(texts, names=header), folder / f"{stem}.csv", options)
        arguments.append(f"{option}={folder / stem}.header.csv,{folder / stem}.csv")
    return arguments
