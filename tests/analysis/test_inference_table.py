"""The benchmark of inference, quick: the crossed test and its twin hold where the usual tests do not, one by one and in a family."""

from scipy import stats

from tests.benchmarks.bench_inference import Design, count_design, count_family


def test_usual_tests_claim_too_often_where_the_crossed_one_does_not() -> None:
    counts = count_design(Design(8, 5, 20), range(120), powered=20)
    limit = stats.binom.ppf(0.999, 120, 0.06)
    assert counts["null crossed"] <= limit
    assert counts["null permutation"] <= limit
    assert counts["covered"] == 120 - counts["null crossed"]
    assert counts["null nilearn"] == counts["null subjects t"] > limit
    assert counts["null trials + binomial"] > 2 * limit
    assert counts["power crossed"] > counts["null crossed"]


def test_uneven_designs_are_counted_too() -> None:
    counts = count_design(Design(4, 6, 4, uneven=True, missed=0.1), range(40), powered=5)
    assert counts["null crossed"] <= stats.binom.ppf(0.999, 40, 0.06)
    assert counts["powered"] == 5
    assert counts["null permutation"] == 0  # 4 people cannot show an effect at .05


def test_family_wise_error_is_held_by_both_corrections() -> None:
    counts = count_family(range(100), 8, 8, 0.7)
    limit = stats.binom.ppf(0.999, 100, 0.05)
    assert counts["any p"] > limit
    assert counts["Holm"] <= limit
    assert counts["twin"] <= limit
    assert counts["gate and Holm"] <= counts["Holm"]
