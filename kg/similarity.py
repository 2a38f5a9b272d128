"""How alike two values are, as Spark expressions: prepared once a record, compared once a pair.

A similarity is a double from 0 to 1, null where a side is null or blank.
"""

import unicodedata

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.resolution import Comparison, Measure

# Latin letters with marks, and what is left of each without them.
_BARE = {chr(code): unicodedata.normalize("NFKD", chr(code))[0] for code in range(0xC0, 0x250)}
_MARKED = {letter: bare for letter, bare in _BARE.items() if bare != letter and bare.isascii() and bare.isalpha()}
ACCENTED, PLAIN = "".join(_MARKED), "".join(_MARKED.values())
# Added before numbers are sorted as texts, so that a negative one sorts before a positive one.
OFFSET = 10**15
# Two names of persons who are not the same agree in some third of their letters by chance.
EDITS = 0.5


def normalised(text: Column) -> Column:
    """A text without case, accents, punctuation and repeated blanks; null where nothing is left."""
    bare = F.translate(F.lower(text), ACCENTED, PLAIN)
    words = F.trim(F.regexp_replace(bare, r"[^\p{L}\p{N}]+", " "))
    return F.when(words != "", words)


def prepared(value: Column, type_: T.DataType, by: Measure) -> Column:
    """What a comparison needs of one record; `sort_text` and `similarity` read it."""
    if by == "number":
        return value.cast("double")
    text = F.concat_ws(" ", value) if isinstance(type_, T.ArrayType) else value.cast("string")
    plain = normalised(text)
    if by == "cosine":
        return F.when(F.trim(text) != "", F.trim(text))
    if by == "tokens":
        return F.array_distinct(F.split(plain, " "))
    if by == "edit":
        ordered = F.array_join(F.array_sort(F.split(plain, " ")), " ")
        return F.when(plain.isNotNull(), F.struct(plain.alias("plain"), ordered.alias("ordered")))
    return plain


def sort_text(value: Column, by: Measure) -> Column:
    """What brings alike records next to each other, of a prepared value."""
    if by == "number":
        return F.lpad((value + OFFSET).cast("decimal(38,6)").cast("string"), 40, "0")
    if by == "tokens":
        return F.array_join(F.array_sort(value), " ")
    return value["ordered"] if by == "edit" else value


def similarity(comparison: Comparison, left: Column, right: Column) -> Column:
    """The similarity of two prepared values; `cosine` compares vectors of length 1."""
    return F.when(left.isNotNull() & right.isNotNull(), _alike(comparison, left, right))


def _alike(comparison: Comparison, left: Column, right: Column) -> Column:
    if comparison.by == "number":
        return _within(F.abs(left - right), comparison.tolerance or 0)
    if comparison.by == "tokens":
        return F.size(F.array_intersect(left, right)) / F.size(F.array_union(left, right))
    if comparison.by == "edit":
        least = EDITS if comparison.tolerance is None else comparison.tolerance
        plain = _edit(left["plain"], right["plain"], least)
        # Words in two orders differ in nothing else: of one word there is no other order.
        single = (left["plain"] == left["ordered"]) & (right["plain"] == right["ordered"])
        return F.when(single, plain).otherwise(F.greatest(plain, _edit(left["ordered"], right["ordered"], least)))
    if comparison.by == "cosine":
        product = F.aggregate(F.zip_with(left, right, lambda a, b: a * b), F.lit(0.0), lambda sum_, x: sum_ + x)
        return F.least(F.lit(1.0), F.greatest(F.lit(0.0), product))
    return (left == right).cast("double")


def _edit(left: Column, right: Column, tolerance: float) -> Column:
    share = F.levenshtein(left, right) / F.greatest(F.length(left), F.length(right))
    return _within(share, tolerance)


def _within(apart: Column, tolerance: float) -> Column:
    """1 where nothing is apart, 0 from the tolerance on."""
    return F.greatest(F.lit(0.0), 1 - apart / F.lit(tolerance)) if tolerance else (apart == 0).cast("double")
