"""How good an encoding model is: noise ceilings from repeated trials, accuracy per ROI as a table and a picture."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from stimgen.encoding_model import EncodingModel


def estimate_noise_ceiling(
    betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"]
) -> Float[np.ndarray, " voxels"]:
    """Return the highest correlation with the mean over repetitions that a perfect model can reach, per voxel.

    With noise variance pooled within images and signal variance = variance over images of the mean minus its noise,
    ceiling = sqrt(signal / (signal + noise / n)), n the harmonic mean number of repetitions (Allen et al. 2022, NSD:
    noise ceiling signal-to-noise ratio). NaN where no image is repeated.
    """
    count = np.bincount(image_of_trial)
    shown = count > 0
    if not (count > 1).any():
        return np.full(betas.shape[1], np.nan, dtype=np.float32)
    mean = np.zeros((len(count), betas.shape[1]))
    np.add.at(mean, image_of_trial, betas)
    mean[shown] /= count[shown][:, None]
    noise = ((betas - mean[image_of_trial]) ** 2).sum(axis=0) / (count[shown] - 1).sum()
    noise_of_mean = noise * (1 / count[shown]).mean()
    signal = np.clip(mean[shown].var(axis=0, ddof=1) - noise_of_mean, 0, None)
    ceiling: npt.NDArray[np.float32] = np.sqrt(signal / (signal + noise_of_mean)).astype(np.float32)
    return ceiling


def summarize_accuracy(model: EncodingModel, test_responses: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject and ROI: voxels, their median cv_r, test_r and ceiling, and the ROI mean's test r.

    `test_responses` has one row per subject, ROI and test image: `subject roi measured predicted` (ROI means).
    """
    rows = []
    for (subject, roi), voxels in model.voxels.groupby(["subject", "roi"], sort=False):
        tested = test_responses[(test_responses["subject"] == subject) & (test_responses["roi"] == roi)]
        rows.append(
            {
                "subject": subject,
                "roi": roi,
                "voxels": len(voxels),
                "predictable_voxels": int((voxels["cv_r"] > 0).sum()),
                "cv_r": voxels["cv_r"].median(),
                "test_r": voxels["test_r"].median(),
                "noise_ceiling": voxels["noise_ceiling"].median(),
                "roi_test_r": np.corrcoef(tested["measured"], tested["predicted"])[0, 1] if tested["predicted"].std() > 0 else 0.0,
                "test_images": len(tested),
            }
        )
    return pd.DataFrame(rows)


def draw_accuracy(model: EncodingModel, path: Path) -> None:
    """Draw held-out r of every voxel by ROI and subject, with the median noise ceiling, as a PNG."""
    from matplotlib.figure import Figure

    groups = list(model.voxels.groupby(["roi", "subject"], sort=False))
    figure = Figure(figsize=(1.5 + 0.8 * len(groups), 4), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for position, (_, voxels) in enumerate(groups):
        spread = position + rng.uniform(-0.18, 0.18, len(voxels))
        axes.plot(
            spread,
            voxels["test_r"],
            "o",
            color="#0072B2",
            alpha=0.6,
            markersize=4,
            label="voxel, held-out images" if position == 0 else "",
        )
        axes.hlines(voxels["test_r"].median(), position - 0.3, position + 0.3, color="black", label="median" if position == 0 else "")
        ceiling = voxels["noise_ceiling"].median()
        if np.isfinite(ceiling):
            axes.hlines(
                ceiling,
                position - 0.3,
                position + 0.3,
                color="#D55E00",
                linestyles="dashed",
                label="median noise ceiling" if position == 0 else "",
            )
    axes.axhline(0, color="gray", linewidth=0.5)
    axes.set_xticks(range(len(groups)), [f"{roi}\nsub-{subject}" for (roi, subject), _ in groups])
    axes.set_ylabel("correlation, predicted with measured")
    axes.set_ylim(min(-0.2, float(model.voxels["test_r"].min()) - 0.05), 1.02)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
