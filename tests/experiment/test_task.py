from statistics import NormalDist

import numpy as np
import pytest

from experiment.task import ResponseBook, ShownTrial, bound_d_prime, compute_d_prime
from protocols.probe import Probe

ONE_BACK = Probe(keys=("1", "2"), response_window_s=(0.2, 3.0))


def show(book, onset_s, probe=False, duration_s=2.0, name="a"):
    book.begin(ShownTrial("target", name, f"stim-{name}_image.png", probe), onset_s)
    book.end(onset_s + duration_s)


def test_d_prime_truth():
    # log-linear rates 9.5 / 11 and 2.5 / 41: z = 1.0968 and -1.5466
    assert compute_d_prime(9, 10, 2, 40) == pytest.approx(1.0968 + 1.5466, abs=1e-3)
    assert compute_d_prime(5, 10, 20, 40) == pytest.approx(0, abs=1e-12)
    assert compute_d_prime(10, 10, 0, 40) == pytest.approx(3.94, abs=0.01)  # finite at the ceiling


def test_hits_misses_false_alarms_and_reaction_times():
    book = ResponseBook(ONE_BACK)
    for number in range(6):
        show(book, number * 4.0, probe=number in (1, 3, 5))
        if number in (1, 3):
            book.press("1", number * 4.0 + 0.5 + number / 10)
        if number == 4:
            book.press("2", number * 4.0 + 0.7)
        book.close(number * 4.0 + 3.9)
    score = book.score()
    assert (score.probes, score.hits, score.misses, score.false_alarms, score.correct_rejections) == (3, 2, 1, 1, 2)
    assert score.median_reaction_s == pytest.approx(0.7)
    assert score.d_prime == pytest.approx(compute_d_prime(2, 3, 1, 3))


def test_rows_come_when_the_window_has_closed_and_carry_the_response():
    book = ResponseBook(ONE_BACK)
    show(book, 10.0, probe=True)
    assert book.close(12.9) == []
    book.press("2", 12.5)
    (event,) = book.close(13.2)
    assert (event.onset, event.duration, event.response) == (10.0, 2.0, "2")
    assert event.response_time == pytest.approx(2.5)


def test_late_answer_to_a_probe_is_not_taken_for_the_next_trial():
    book = ResponseBook(ONE_BACK)
    show(book, 0.0, probe=True, duration_s=0.5)
    show(book, 1.0, duration_s=0.5)
    show(book, 2.0, duration_s=0.5)
    book.press("1", 2.6)
    first, second, third = book.close_all(10.0)
    assert (first.response, second.response, third.response) == ("1", None, None)


def test_key_belongs_to_the_trial_on_screen_unless_it_is_too_early():
    book = ResponseBook(ONE_BACK)
    show(book, 0.0)
    show(book, 2.5)
    book.press("1", 2.6)  # 100 ms after the second onset: nobody answers that fast
    first, second = book.close_all(10.0)
    assert first.response_time == pytest.approx(2.6)
    assert second.response is None


def test_second_key_and_key_outside_every_window_are_stray():
    book = ResponseBook(ONE_BACK)
    book.press("1", 0.5)
    show(book, 4.0, probe=True)
    book.press("1", 4.5)
    book.press("1", 4.6)
    book.close_all(8.0)
    assert (book.score().stray_keys, book.score().hits) == (2, 1)


def test_trial_cut_short_by_the_end_of_the_run_has_its_true_duration():
    book = ResponseBook(ONE_BACK)
    book.begin(ShownTrial("target", "a", "stim-a_image.png", False), 3.0)
    (event,) = book.close_all(3.75)
    assert event.duration == pytest.approx(0.75)


@pytest.mark.parametrize(("probes", "others"), [(31, 31), (10, 83), (18, 342)])
def test_interval_of_d_prime_covers_the_truth(probes, others):
    rng, z = np.random.default_rng(7), NormalDist().inv_cdf
    hit, false_alarm = 0.9, 0.05
    true = z(hit) - z(false_alarm)
    counts = zip(rng.binomial(probes, hit, 4000), rng.binomial(others, false_alarm, 4000), strict=True)
    inside = [low <= true <= high for low, high in (bound_d_prime(int(hits), probes, int(alarms), others) for hits, alarms in counts)]
    assert 0.93 < np.mean(inside) <= 1


def test_old_new_counts_the_keys_that_say_old():
    book = ResponseBook(Probe(kind="old_new", keys=("1", "2"), old_keys=("2",), response_window_s=(0.2, 1.5)))
    for number, (old, key) in enumerate([(False, "1"), (True, "2"), (True, "1"), (False, "2"), (True, None), (False, None)]):
        book.begin(ShownTrial("natural", f"a{number}", None, old), 4.0 * number)
        if key:
            book.press(key, 4.0 * number + 0.5)
        book.end(4.0 * number + 1)
    book.close_all(30.0)
    score = book.score()
    assert (score.probes, score.hits, score.misses, score.false_alarms, score.correct_rejections) == (3, 1, 2, 1, 2)
