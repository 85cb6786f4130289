"""Which volumes of a run were kept in; the precision matrix of its first-order autoregressive noise, as a sum of fixed matrices, out.

Noise of volumes at times t_i has correlation rho^|t_i - t_j|, whatever volumes were dropped between them. Its inverse, relative to the
variance of the innovations, is tridiagonal over the kept volumes:

    Omega(rho) = sum over k of c_k(rho) B_k,

where B_0 is the identity, one B_k joins the neighbors at each distance (1 where nothing was dropped), and one marks the volumes at an end
or beside a gap. With the products x'B_k y computed once, x'Omega(rho) y costs nothing for any rho.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Precision:
    """The matrices B_k of a run's kept volumes.

    Attributes
    ----------
    pairs
        For each distance: rows of the later and of the earlier volumes.
    ends
        For each (distance to the volume before, to the one after; 0: there is none): rows of those volumes. Rows in no entry have
        a neighbor at distance 1 on both sides.
    stationary
        Whether the first volume has the noise's stationary variance; if not, that of an innovation, as in nilearn.
    """

    pairs: dict[int, tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]
    ends: dict[tuple[int, int], Int[np.ndarray, " rows"]]
    stationary: bool

    def weigh(self, rho: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, "terms voxels"]:
        """Return the coefficients c_k(rho)."""
        inner = self._diagonal(rho, 1, 1)
        neighbors = [-_relate(rho, gap) * rho**gap for gap in self.pairs]
        return np.stack([inner, *neighbors, *(self._diagonal(rho, *gaps) - inner for gaps in self.ends)])

    def multiply(self, x: Float[np.ndarray, "rows a"], y: Float[np.ndarray, "rows b"]) -> Float[np.ndarray, "terms a b"]:
        """Return x'B_k y for every k."""
        joined = np.concatenate([x, *(self.sum_neighbors(x, gap) for gap in self.pairs)], axis=1)  # one product is quicker than several
        made = np.empty((1 + len(self.pairs) + len(self.ends), x.shape[1], y.shape[1]))
        np.matmul(joined.T, y, out=made[: 1 + len(self.pairs)].reshape(joined.shape[1], y.shape[1]))
        for place, rows in enumerate(self.ends.values(), start=1 + len(self.pairs)):
            np.matmul(x[rows].T, y[rows], out=made[place])
        return made

    def square(self, y: Float[np.ndarray, "rows voxels"]) -> Float[np.ndarray, "terms voxels"]:
        """Return the diagonal of y'B_k y for every k."""
        neighbors = [2 * _sum_products(y[_cut(later)], y[_cut(earlier)]) for later, earlier in self.pairs.values()]
        return np.stack([_sum_products(y, y), *neighbors, *(_sum_products(y[rows], y[rows]) for rows in self.ends.values())])

    def sum_neighbors(self, values: Float[np.ndarray, "rows columns"], gap: int) -> Float[np.ndarray, "rows columns"]:
        """Return for each row the sum of its neighbors at distance `gap`."""
        summed = np.zeros_like(values)
        if gap in self.pairs:
            later, earlier = self.pairs[gap]
            summed[later] += values[earlier]
            summed[earlier] += values[later]
        return summed

    def _diagonal(self, rho: Float[np.ndarray, " voxels"], before: int, after: int) -> Float[np.ndarray, " voxels"]:
        first = 1 - rho**2 if self.stationary else np.ones_like(rho)
        own: Float[np.ndarray, " voxels"] = _relate(rho, before) if before else first
        return own + _relate(rho, after) * rho ** (2 * after) if after else own


def describe_precision(volumes: Int[np.ndarray, " rows"], stationary: bool = True) -> Precision:
    """Return the matrices for kept volumes (increasing indices of a run's volumes)."""
    gaps = np.diff(volumes)
    before, after = np.concatenate([[0], gaps]), np.concatenate([gaps, [0]])
    pairs = {int(gap): (np.flatnonzero(gaps == gap) + 1, np.flatnonzero(gaps == gap)) for gap in np.unique(gaps)}
    kinds = sorted({(int(one), int(two)) for one, two in zip(before, after, strict=True)} - {(1, 1)})
    return Precision(pairs, {kind: np.flatnonzero((before == kind[0]) & (after == kind[1])) for kind in kinds}, stationary)


def _relate(rho: Float[np.ndarray, " voxels"], gap: int) -> Float[np.ndarray, " voxels"]:
    """Return the precision of a volume given the one `gap` before it, relative to that of an innovation."""
    return np.ones_like(rho) if gap == 1 else (1 - rho**2) / (1 - rho ** (2 * gap))


def _sum_products(one: Float[np.ndarray, "rows voxels"], two: Float[np.ndarray, "rows voxels"]) -> Float[np.ndarray, " voxels"]:
    summed: Float[np.ndarray, " voxels"] = np.einsum("rv,rv->v", one, two)
    return summed


def _cut(rows: Int[np.ndarray, " pairs"]) -> slice | Int[np.ndarray, " pairs"]:
    """Return successive rows as a slice, which copies nothing."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows
