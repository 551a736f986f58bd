"""Say what a cross-fitted calibration promises, which is less than one of items that no part of the model was trained on.

K detectors were each trained without one of K folds of n items; item i of fold k was scored by detector k. The score of a new
item is the least of its K scores, over all its windows, so that p = (1 + #{i: s_k(i) >= least score}) / (n + 1). Two bounds of
P(p <= alpha) hold for a normal item that is distributed like the n; a is the largest whole number <= alpha (n + 1):

* 2 (a + K - 1) / (n + K). With c_k items of fold k, m_k in all, that score at least as high, p_k = (1 + c_k) / (m_k + 1) is an
  exact p-value by detector k alone. The mean of p-values is at most t with a probability of at most 2t (Vovk and Wang,
  "Combining p-values via averaging", 2020), also when they are weighted, here by m_k + 1. And p <= alpha means that all c_k
  together are at most a - 1.
* (a + m - 1) / (n + m), if all folds have m items. It is the proof of the jackknife-minmax (Barber, Candes, Ramdas and
  Tibshirani, "Predictive inference with the jackknife+", 2021) with folds: suppose m - 1 more items that make a fold of the new
  one, and let r_ij be the score of i by the detector without the folds of i and j. An item is strange if at least n + 1 - a
  others j have r_ji below the least of its own r_i. Then their own least is below its least, too, so at most
  (n + m) - (n + 1 - a) = a + m - 1 of the n + m items are strange, and each is as likely to be the new one.

With folds of one item the second is alpha itself. Measured rates are below alpha: docs/fit.md.
"""

from __future__ import annotations

from avizor_inference.anomaly.confidence import flagged_on_average


def promised_rate(items: int, folds: int, alpha: float) -> float:
    """Return the bound of the false-alarm rate at alpha, 0 to 1, of a calibration with so many items of a source.

    folds: 0 for a calibration of items that were not trained on, whose bound is alpha, or 1 / (n + 1) if that is more.
    """
    if not folds:
        return max(alpha, 1 / (items + 1))
    flagged = flagged_on_average(items, alpha) or 1
    bounds = [1.0, 2 * (flagged + folds - 1) / (items + folds)]
    if items % folds == 0 and items:
        each = items // folds
        bounds.append((flagged + each - 1) / (items + each))
    return min(bounds)
