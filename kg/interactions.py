"""Users, items and their events as arrays: what the learner and the recommender work on."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
from scipy import sparse

from kg.ids import IdMap


@dataclass(frozen=True)
class Catalogue:
    """The users and the items of all domains as contiguous indices; items of one label are contiguous."""

    users: IdMap
    items: dict[str, IdMap]
    """By item label, in the order in which they are laid out."""
    domains: dict[str, str]
    """Domain by item label."""
    user_label: str = "User"

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """How many items there are, all domains together."""
        return sum(len(ids) for ids in self.items.values())

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first index of each item label."""
        starts = np.cumsum([0, *(len(ids) for ids in self.items.values())])
        return {label: int(start) for label, start in zip(self.items, starts, strict=False)}

    def span(self, label: str) -> slice:
        """The indices of a label's items."""
        return slice(self.offsets[label], self.offsets[label] + len(self.items[label]))

    def domain_mask(self, domain: str) -> np.ndarray:
        """Bool[items]: which items belong to a domain."""
        mask = np.zeros(self.n_items, bool)
        for label, of in self.domains.items():
            if of == domain:
                mask[self.span(label)] = True
        return mask

    @cached_property
    def item_keys(self) -> pa.Array:
        """External ids of all items by index (unique within a label only)."""
        return pa.concat_arrays([ids.keys for ids in self.items.values()])

    @cached_property
    def item_labels(self) -> np.ndarray:
        """The label of each item by index."""
        return np.repeat(np.array(list(self.items), object), [len(ids) for ids in self.items.values()])


@dataclass(frozen=True)
class Interactions:
    """Events as arrays of one length: user and item indices of a `Catalogue`, weight, time and sign."""

    user: np.ndarray
    """int64"""
    item: np.ndarray
    """int64, over all domains"""
    weight: np.ndarray
    """float32, 1 where the project file gives none"""
    time: np.ndarray
    """int64 microseconds since 1970, 0 where the project file gives none"""
    positive: np.ndarray
    """bool"""
    n_users: int
    n_items: int

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.user)

    def take(self, rows: np.ndarray) -> Self:
        """The events of a mask or of row numbers."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            weight=self.weight[rows],
            time=self.time[rows],
            positive=self.positive[rows],
        )

    def positives(self) -> Self:
        """The positive events alone."""
        return self.take(self.positive)

    def matrix(self) -> sparse.csr_matrix:
        """CSR[users, items] float32 of ones where a user has a positive event with an item."""
        rows = self.positives()
        found = sparse.csr_matrix(
            (np.ones(len(rows), np.float32), (rows.user, rows.item)), shape=(self.n_users, self.n_items)
        )
        found.data[:] = 1.0
        return found

    def seen(self) -> sparse.csr_matrix:
        """CSR[users, items] float32 of ones where a user has any event with an item, positive or not."""
        found = sparse.csr_matrix(
            (np.ones(len(self), np.float32), (self.user, self.item)), shape=(self.n_users, self.n_items)
        )
        found.data[:] = 1.0
        return found

    @classmethod
    def concat(cls, parts: "list[Interactions]") -> "Interactions":
        """Several sets of events of one catalogue as one."""
        return replace(
            parts[0],
            user=np.concatenate([part.user for part in parts]),
            item=np.concatenate([part.item for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
            time=np.concatenate([part.time for part in parts]),
            positive=np.concatenate([part.positive for part in parts]),
        )
