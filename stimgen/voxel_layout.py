"""Voxels on a plane and in clusters: profiles whose products are correlations in, coordinates, cluster numbers and silhouettes out.

All is scikit-learn's. Profiles have norm 1, so that squared Euclidean distances are 2 (1 - r): what lies near correlates.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

Method = Literal["pca", "tsne"]
METHODS = ("pca", "tsne")
MOST_CLUSTERS = 12  # that are tried where their number is found
_COMPONENTS = 50  # that t-SNE sees, as its authors advise (van der Maaten & Hinton 2008, section 4.2, who take 30)
_PERPLEXITY = 30.0  # van der Maaten & Hinton 2008, section 4.2: results hardly depend on it between 5 and 50
_MOST_COMPARED = 3000  # voxels whose silhouettes choose the number of clusters
_BEGINNINGS = 4


@dataclass(frozen=True)
class Clusters:
    """Cluster numbers from 1, the largest cluster first, and what speaks for them.

    Attributes
    ----------
    tried
        Mean silhouette of every number of clusters that was tried.
    silhouette
        Every voxel's silhouette in the chosen clusters (Rousseeuw 1987), of correlation distances 1 - r.
    """

    numbers: Int[np.ndarray, " voxels"]
    tried: dict[int, float]
    silhouette: Float[np.ndarray, " voxels"]


def lay_out(profiles: Float[np.ndarray, "voxels columns"], method: Method, seed: int) -> Float[np.ndarray, "voxels 2"]:
    """Return coordinates: the first two principal components, or t-SNE of the first 50, begun at the first two.

    Far distances in t-SNE mean little; near ones in two principal components may hide what the others tell apart.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = min(_COMPONENTS, *profiles.shape)
    scores = PCA(count, random_state=seed).fit_transform(profiles)
    scores = np.pad(scores, ((0, 0), (0, max(0, 2 - count))))
    if method == "pca":
        return scores[:, :2]
    perplexity = min(_PERPLEXITY, (len(profiles) - 1) / 3)
    placed: npt.NDArray[np.float64] = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(scores).astype(np.float64)
    return placed


def find_clusters(profiles: Float[np.ndarray, "voxels columns"], count: int | None, seed: int) -> Clusters:
    """Cluster voxels by k-means; with `count` None, into as many clusters as have the highest mean silhouette, from 2 on.

    Where voxels are too much alike to be told apart, they are one cluster.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_samples

    counts = [count] if count is not None else range(2, min(MOST_CLUSTERS, len(profiles) - 1) + 1)
    found: dict[int, npt.NDArray[np.int64]] = {}
    tried: dict[int, float] = {}
    for one in counts:
        numbers = KMeans(one, n_init=_BEGINNINGS, random_state=seed).fit_predict(profiles).astype(np.int64)
        score = _score(profiles, numbers, seed)
        if score is not None:
            found[one], tried[one] = numbers, score
    if not tried:
        return Clusters(np.ones(len(profiles), dtype=np.int64), {}, np.full(len(profiles), np.nan))
    best = max(tried, key=lambda one: tried[one])
    return Clusters(_rank(found[best]), tried, silhouette_samples(profiles, found[best], metric="cosine"))


def _score(profiles: Float[np.ndarray, "voxels columns"], numbers: npt.NDArray[np.int64], seed: int) -> float | None:
    """Return the mean silhouette, of some voxels where there are many; None where it is not defined: one cluster, or one per voxel."""
    from sklearn.metrics import silhouette_score

    drawn = np.random.default_rng(seed).permutation(len(profiles))[:_MOST_COMPARED]
    if not 1 < len(np.unique(numbers[drawn])) < len(drawn):
        return None
    return float(silhouette_score(profiles[drawn], numbers[drawn], metric="cosine"))


def _rank(numbers: npt.NDArray[np.int64]) -> Int[np.ndarray, " voxels"]:
    """Number clusters from 1 by size."""
    sizes = np.bincount(numbers)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[order] = np.arange(1, len(sizes) + 1)
    return rank[numbers]
