"""How many subjects show an effect, out of how many, in; in what share of people it is to be expected, out.

Each of n subjects is tested alone at alpha. With prevalence g (the share of people in whom the effect is there and large enough for such a
test) and b the test's power in them, a subject's test is positive with probability t = alpha (1 - g) + b g, and k of n are positive.

- Bayesian prevalence (Ince et al. 2021, eLife 10:e62461): a uniform prior on g makes t a beta variable of k + 1 and n - k + 1,
  truncated to [alpha, b]. Told are the mode of g and its interval of highest density. It holds 95 % of the belief; of studies in people of
  one given prevalence it need not hold 95 %.
- An exact interval, which does, whatever the prevalence: all t whose two binomial tails both reach (1 - confidence) / 2 (Clopper and
  Pearson 1934), as g.
- The ratio of binomial probabilities of Schwarzkopf and Huang 2024, Psychological Methods, 10.1037/met0000710: k of n if everybody shows
  the effect (t is the sensitivity) against k of n if nobody does (t is alpha). A design says beforehand what ratio it asks for.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import Field

from protocols.config import config
from protocols.errors import InputError

_BISECTIONS = 40


@config
class PrevalenceSettings:
    """The subjects' tests: alpha, power in those who have the effect (1: what they can detect); the intervals' confidence."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    power: float = Field(default=1.0, gt=0, le=1)
    sensitivity: float = Field(default=0.8, gt=0, lt=1)
    """Of the ratio: with which probability a subject's test is positive if everybody has the effect."""
    confidence: float = Field(default=0.95, gt=0, lt=1)


@dataclass(frozen=True)
class Prevalence:
    """k of n subjects: the mode of the prevalence, its interval of highest density, the exact interval, and the ratio."""

    positive: int
    subjects: int
    mode: float
    hpd_low: float
    hpd_high: float
    exact_low: float
    exact_high: float
    ratio: float


def estimate_prevalence(positive: int, subjects: int, settings: PrevalenceSettings) -> Prevalence:
    """Estimate the prevalence of an effect that `positive` of `subjects` tests found.

    Raises
    ------
    InputError
        When there is no subject, or more are positive than there are, or the power is not above alpha.
    """
    if subjects < 1 or not 0 <= positive <= subjects:
        raise InputError(
            f"prevalence: {positive} of {subjects} subjects is no count; give the subjects that were tested and those positive"
        )
    if settings.power <= settings.alpha:
        raise InputError(f"prevalence: power {settings.power:g} is not above alpha {settings.alpha:g}; such a test tells nothing")
    mode = float(_to_prevalence(np.array([positive / subjects]), settings)[0])
    hpd_low, hpd_high = _find_densest(positive, subjects, settings).tolist()
    exact_low, exact_high = _to_prevalence(find_exact(positive, subjects, settings.confidence), settings).tolist()
    ratio = _compare(positive, subjects, settings)
    return Prevalence(positive, subjects, mode, hpd_low, hpd_high, exact_low, exact_high, ratio)


def compute_coverage(
    prevalence: Float[np.ndarray, " levels"], subjects: int, settings: PrevalenceSettings
) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " levels"]]:
    """Return how often, of studies with that many subjects, the exact and the highest density interval hold a given prevalence.

    No simulation: all subjects + 1 outcomes with their probabilities.
    """
    from scipy.special import comb

    rate = settings.alpha * (1 - prevalence) + settings.power * prevalence
    held = np.zeros((2, len(prevalence)))
    for k in range(subjects + 1):
        found = estimate_prevalence(k, subjects, settings)
        weight = comb(subjects, k) * rate**k * (1 - rate) ** (subjects - k)
        for row, (low, high) in enumerate(((found.exact_low, found.exact_high), (found.hpd_low, found.hpd_high))):
            held[row] += weight * ((low <= prevalence + 1e-12) & (prevalence <= high + 1e-12))
    return held[0], held[1]


def _to_prevalence(rate: Float[np.ndarray, " ends"], settings: PrevalenceSettings) -> Float[np.ndarray, " ends"]:
    """Return the prevalence at which a test is positive at a rate, between 0 and 1."""
    inside: Float[np.ndarray, " ends"] = np.clip((rate - settings.alpha) / (settings.power - settings.alpha), 0.0, 1.0)
    return inside


def _find_densest(positive: int, subjects: int, settings: PrevalenceSettings) -> Float[np.ndarray, " 2"]:
    """Return the shortest interval of g that holds `confidence` of the posterior: its ends are as dense, but at a border."""
    from scipy.stats import beta

    posterior = beta(positive + 1, subjects - positive + 1)
    bottom, top = posterior.cdf([settings.alpha, settings.power])
    mass = settings.confidence * (top - bottom)
    low, high = bottom, top - mass  # between which the lower tail lies
    for _ in range(_BISECTIONS):
        tail = (low + high) / 2
        ends = posterior.pdf(posterior.ppf([tail, tail + mass]))
        low, high = (tail, high) if ends[0] < ends[1] else (low, tail)
    tail = high if high == top - mass else low  # where the density rises to the border, the interval ends there
    ends_of_rate: Float[np.ndarray, " 2"] = posterior.ppf([tail, tail + mass])
    return _to_prevalence(ends_of_rate, settings)


def find_exact(positive: int, subjects: int, confidence: float) -> Float[np.ndarray, " 2"]:
    """Return Clopper and Pearson's (1934) interval of a share."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, positive, subjects - positive + 1) if positive else 0.0
    high = beta.ppf(1 - tail, positive + 1, subjects - positive) if positive < subjects else 1.0
    return np.array([low, high])


def _compare(positive: int, subjects: int, settings: PrevalenceSettings) -> float:
    """Return the ratio of the two binomial probabilities; their coefficient cancels."""
    everybody, nobody = settings.sensitivity, settings.alpha
    negative = subjects - positive
    return float((everybody / nobody) ** positive * ((1 - everybody) / (1 - nobody)) ** negative)
