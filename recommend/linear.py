"""Linear autoencoders: each item is predicted from a user's other items, in closed form.

Tried on the validation part of a published split of MovieLens-1M (6,039 users, 3,628 items; NDCG@10 of the model
alone): EASE .1909; users weighted .1933, penalties by popularity .1914, both .1949; both and dropout .1935, dropout
alone .1906. Six soft groups of users with weights of their own, after GLSLIM (Christakopoulou and Karypis, 2016), had
.1914.
"""

from typing import Self

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse

BLOCK = 2048
"""Users whose similar items are summed at once."""


def confidence(matrix: sparse.csr_matrix, activity: float) -> sparse.csr_matrix:
    r"""CSR[users, items]: each user's ones times :math:`(n_u / \bar n)^{-\gamma}`: a few must not decide all."""
    sizes = np.maximum(np.diff(matrix.indptr), 1)
    return sparse.csr_matrix(matrix.multiply(((sizes / sizes.mean()) ** -activity)[:, None]), dtype=np.float32)


class LinearAutoencoder:
    r"""EASE (Steck, 2019) with weights for users, penalties by popularity, and dropout (EDLAE; Steck, 2020, eq. 6).

    .. math:: \min_B \sum_u c_u^2 \|x_u - x_u B\|^2 + \sum_j \lambda_j \|B_j\|^2, \quad B_{jj} = 0, \qquad
        c_u = (n_u / \bar n)^{-\gamma}, \quad
        \lambda_j = \lambda \bar d \, (d_j / \bar d)^{\alpha} + \tfrac{p}{1 - p} G_{jj}

    with :math:`G = \sum_u c_u^2 x_u^\top x_u`, n and d the numbers of a user's items and of an item's users. The
    solution is that of EASE with :math:`\hat P = (G + \operatorname{diag} \lambda)^{-1}`.
    """

    def __init__(
        self,
        penalty: float = 3.0,
        popularity: float = 0.5,
        activity: float = 0.25,
        dropout: float = 0.0,
        max_items: int = 12_000,
    ) -> None:
        """Lambda (in mean users an item, so that it suits small data and large), alpha, gamma and p.

        Beyond `max_items` only the most popular take part; the others score 0.
        """
        self.penalty, self.popularity, self.activity, self.dropout = penalty, popularity, activity, dropout
        self.max_items = max_items

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Invert the items' weighted Gram matrix: time cubic, memory quadratic in the items that take part."""
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self.items = np.sort(np.argsort(-counts, kind="stable")[: self.max_items])
        self.matrix, self.n_items = sparse.csr_matrix(matrix[:, self.items]), matrix.shape[1]
        weighted = confidence(matrix, self.activity)[:, self.items]
        gram = (weighted.T @ weighted).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += penalties(
            counts[self.items], gram.diagonal(), self.penalty, self.popularity, self.dropout
        )
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        self.weights = (inverse / -np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(self.weights, 0)
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The reconstruction of the users' rows."""
        found = np.zeros((len(users), self.n_items), np.float32)
        found[:, self.items] = self.matrix[users] @ self.weights
        return found


def penalties(
    counts: Int[np.ndarray, " n"], diagonal: Float[np.ndarray, " n"], penalty: float, popularity: float, dropout: float
) -> Float[np.ndarray, " n"]:
    """Each item's lambda, as `LinearAutoencoder` has it."""
    mean = max(1.0, counts.mean())
    return (penalty * mean * (np.maximum(counts, 1) / mean) ** popularity + dropout / (1 - dropout) * diagonal).astype(
        np.float32
    )


class LocalAutoencoder:
    r"""`LinearAutoencoder` for large catalogues: each item is predicted from its k most similar items alone.

    .. math:: b_i = (G_{NN} + \operatorname{diag} \lambda_N)^{-1} G_{Ni}, \qquad N = N_k(i)

    with :math:`N_k(i)` the largest :math:`G_{ji} / \sqrt{G_{jj} G_{ii}}`: fsSLIM (Ning and Karypis, 2011) without its
    L1 term and bounds. Time is linear in the items, memory that of k weights an item.
    """

    def __init__(
        self, penalty: float = 3.0, popularity: float = 0.5, activity: float = 0.25, neighbours: int = 100
    ) -> None:
        """As for `LinearAutoencoder`; `neighbours` is k."""
        self.penalty, self.popularity, self.activity, self.neighbours = penalty, popularity, activity, neighbours

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Solve one small system an item."""
        self.matrix = matrix
        weighted = sparse.csc_matrix(confidence(matrix, self.activity))
        diagonal = np.asarray(weighted.multiply(weighted).sum(0)).ravel().astype(np.float32)
        counts = np.diff(weighted.indptr)
        ridge = penalties(counts, diagonal, self.penalty, self.popularity, 0.0)
        columns = []
        for start in range(0, matrix.shape[1], BLOCK):
            block = np.arange(start, min(start + BLOCK, matrix.shape[1]))
            similar = (weighted.T @ weighted[:, block]).tocsc()
            columns.append(self._solve(weighted, similar, block, diagonal, ridge))
        self.weights = sparse.csr_matrix(sparse.hstack(columns, format="csr"))
        return self

    def _solve(
        self,
        weighted: sparse.csc_matrix,
        similar: sparse.csc_matrix,
        block: np.ndarray,
        diagonal: np.ndarray,
        ridge: np.ndarray,
    ) -> sparse.csc_matrix:
        """CSC[items, block]: the weights of a block of items, whose columns of the Gram matrix are `similar`."""
        rows, values, sizes = [], [], []
        for place, item in enumerate(block):
            span = slice(similar.indptr[place], similar.indptr[place + 1])
            near, common = similar.indices[span], similar.data[span]
            near, common = near[near != item], common[near != item]
            if len(near) > self.neighbours:
                best = np.argpartition(-common / np.sqrt(diagonal[near]), self.neighbours)[: self.neighbours]
                near, common = near[best], common[best]
            if len(near):
                part = weighted[:, near]
                gram = (part.T @ part).toarray()
                gram[np.diag_indices_from(gram)] += ridge[near]
                common = linalg.solve(gram, common, assume_a="pos", overwrite_a=True, check_finite=False)
            rows.append(near)
            values.append(common)
            sizes.append(len(near))
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        shape = (len(diagonal), len(block))
        return sparse.csc_matrix((np.concatenate(values).astype(np.float32), np.concatenate(rows), indptr), shape)

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The reconstruction of the users' rows."""
        return (self.matrix[users] @ self.weights).toarray().astype(np.float32, copy=False)


class WideAutoencoder:
    r"""EASE (Steck, 2019) where items are more than users: the inverse is of the users' kernel, and exact.

    .. math:: K = (X X^\top + \lambda I)^{-1}, \qquad \hat X = X - \frac{K X}{\operatorname{diag}(\hat P)}, \qquad
        \hat P_{ii} = (1 - x_i^\top K x_i) / \lambda

    which follows from :math:`X \hat P = K X` (push-through identity) and Woodbury's for the diagonal. Time is cubic,
    memory quadratic in the users.
    """

    def __init__(self, penalty: float = 100.0) -> None:
        """Lambda."""
        self.penalty = penalty

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Invert the kernel and find the diagonal."""
        self.matrix = sparse.csr_matrix(matrix, dtype=np.float32)
        kernel = (self.matrix @ self.matrix.T).toarray()
        kernel[np.diag_indices_from(kernel)] += self.penalty
        self.kernel = linalg.inv(kernel, overwrite_a=True, check_finite=False)
        columns = sparse.csc_matrix(self.matrix)
        explained = np.empty(matrix.shape[1], np.float32)
        for item in range(matrix.shape[1]):
            users = columns.indices[columns.indptr[item] : columns.indptr[item + 1]]
            explained[item] = self.kernel[np.ix_(users, users)].sum()
        self.diagonal = np.maximum(1 - explained, 1e-6) / self.penalty
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The reconstruction of the users' rows."""
        found = self.matrix[users].toarray() - (self.matrix.T @ self.kernel[users].T).T / self.diagonal
        return np.asarray(found, np.float32)
