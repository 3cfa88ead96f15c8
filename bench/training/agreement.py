"""Agreement: how far a network says the same of a voxel from several views and in its surroundings.

A score for relabelling that takes no training. Probabilities of turned and zoomed views of a scan
are averaged, and smoothed over neighbouring voxels and slices: errors change with the view, and lie
at borders and in single slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.training.consensus import Views

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bench.data.window import Window
    from bench.nets.device import Precision
    from bench.nets.protocol import FeatureNet


class Agreement(Views):
    """The views that are averaged, and how far their mean is smoothed."""

    version: ClassVar[int] = 2

    sigma_slices: float = 2.0
    sigma_pixels: float = 1.0
    """Standard deviations of the Gaussian over the mean."""


def predict_with_agreement(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32],
    missing_K: NDArray[np.bool_],
    *,
    rule: Agreement,
    background: bool,
    device: torch.device,
    precision: Precision,
    window: Window | None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the predicted label map of a volume and the agreement in each label.

    Parameters
    ----------
    net, image_SCHW, missing_K, background, device, precision, window
        As in :func:`bench.nets.inference.predict_with_score`.
    rule
        The views, and how far their mean is smoothed.

    Returns
    -------
    pred_SHW, score_SHW
        uint8 labels of the untouched image. float32 scores in [0, 1]: at a voxel predicted as organ
        k the smoothed mean probability of k; at background, if ``background``, 1 minus the highest
        one of the organs that are not annotated, else 0.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    from bench.nets.inference import decide, evaluating, logits_of_slices, seen_in_plane
    from bench.nets.views import inverse, seen_through

    n_slices, _, *sides = image_SCHW.shape
    missing = np.flatnonzero(missing_K)
    pred_SHW = np.empty((n_slices, *sides), np.uint8)
    # Half precision is finer than any difference between views, and a scan of 512 x 512 is large.
    prob_MSHW = torch.zeros(len(missing), n_slices, *sides, dtype=torch.float16)
    seen_SHW = torch.zeros(n_slices, *sides, dtype=torch.float16)
    image = torch.as_tensor(image_SCHW)
    window_11HW = seen_in_plane(image, window)
    with evaluating(net, device=device), torch.inference_mode():
        for number, theta in enumerate(torch.from_numpy(rule.affines((sides[0], sides[1])))):
            view = image if number == 0 else seen_through(image, theta)
            for rows, logits_BKHW in logits_of_slices(net, view, window, device, precision):
                logits_BKHW = logits_BKHW[..., : sides[0], : sides[1]]
                if number == 0:
                    pred_SHW[rows] = decide(logits_BKHW).cpu().numpy()
                found_BMHW = logits_BKHW[:, missing].sigmoid()
                known_B1HW = window_11HW.to(found_BMHW.device).expand(len(found_BMHW), -1, -1, -1)
                found_BCHW = torch.cat([found_BMHW * known_B1HW, known_B1HW], dim=1)
                if number:
                    found_BCHW = seen_through(found_BCHW, inverse(theta))
                prob_MSHW[:, rows] += found_BCHW[:, :-1].transpose(0, 1).cpu()
                seen_SHW[rows] += found_BCHW[:, -1].cpu()
    score_SHW = np.zeros(pred_SHW.shape, np.float32)
    highest_SHW = np.zeros(pred_SHW.shape, np.float32)
    sigma = (rule.sigma_slices, rule.sigma_pixels, rule.sigma_pixels)
    for organ, prob_SHW in zip(missing, prob_MSHW, strict=True):
        # A voxel at the edge lies outside of some views.
        mean_SHW = prob_SHW.float() / seen_SHW.float().clamp(min=1)
        smooth_SHW = gaussian_filter(mean_SHW.numpy(), sigma)
        at_SHW = pred_SHW == organ + 1
        score_SHW[at_SHW] = smooth_SHW[at_SHW]
        np.maximum(highest_SHW, smooth_SHW, out=highest_SHW)
    if background:
        at_SHW = pred_SHW == 0
        score_SHW[at_SHW] = 1 - highest_SHW[at_SHW]
    return pred_SHW, score_SHW
