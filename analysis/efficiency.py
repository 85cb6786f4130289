"""A design in; how well it tells its regressors apart, before any data, out.

With X the matrix without the constant, each column's mean removed (what the constant does), and c the weights of a contrast,

    efficiency = 1 / (c (X'X)^-1 c')                              (Dale 1999, Human Brain Mapping 8:109)
    VIF        = c (X'X)^-1 c' / (c (X'X o I)^-1 c')              (Mumford et al. 2025, Imaging Neuroscience 3, IMAG.a.958)

The VIF compares the contrast's variance with that in a design whose columns are the same but uncorrelated. For a single column it is the
usual variance inflation factor, 1 / (1 - R2). A regressor's high VIF (above 5, by custom) does no harm where every contrast's is low.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.design import Design


def describe_design(design: Design, contrasts: Mapping[str, Float[np.ndarray, " regressors"]]) -> pd.DataFrame:
    """Return `name kind vif efficiency` for each column but the constant (kind `regressor`) and each contrast (kind `contrast`).

    `contrasts` maps a label to its weights over all columns of the matrix. Efficiency is in units of the weights: with weights that give
    percent signal change, the residual variance divided by it is the contrast's variance.
    """
    values = design.values - design.values.mean(axis=0)
    varying = np.ptp(design.values, axis=0) > 0
    names = design.matrix.columns[varying]
    scale = np.linalg.norm(values[:, varying], axis=0)
    scaled = values[:, varying] / scale
    inverse = np.linalg.inv(scaled.T @ scaled)
    labels = [*names, *contrasts]
    weights = np.concatenate([np.eye(len(scale)), np.reshape([c[varying] for c in contrasts.values()], (-1, len(scale)))]) / scale
    variances, alone = np.einsum("ci,ij,cj->c", weights, inverse, weights), (weights**2).sum(axis=1)
    kinds = ["regressor"] * len(names) + ["contrast"] * len(contrasts)
    return pd.DataFrame({"name": labels, "kind": kinds, "vif": variances / alone, "efficiency": 1 / variances})
