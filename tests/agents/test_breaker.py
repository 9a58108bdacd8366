"""Breakers and retry budgets, on a clock of the test's own."""

from dataclasses import dataclass

import pytest
from flaky import succeeds

from agents.breaker import MIN_FAILURES, OPEN_S, PROBE_S, RETRIES_KEPT, WINDOW_S, Breakers, LocalSwitch, Open, Pass


@dataclass
class Clock:
    """Time that passes when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def end(breakers: Breakers, ok: bool, times: int = 1) -> None:
    for _ in range(times):
        await breakers.leave(await breakers.enter("shop"), ok, "503")


async def test_it_opens_after_failures_and_refuses_at_once(clock: Clock) -> None:
    breakers = Breakers(clock=clock)

    await end(breakers, False, MIN_FAILURES)

    assert breakers.standing("shop").state == "open"
    with pytest.raises(Open, match="not called, its breaker is open \\(503\\); it may be tried in 5 s"):
        await breakers.enter("shop")
    assert not breakers.may_retry("shop")
    await breakers.enter("another")


async def test_failures_among_successes_or_long_ago_do_not_open_it(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    await end(breakers, True, 20)
    await end(breakers, False, 15)
    clock.now = WINDOW_S + 1
    await end(breakers, False, MIN_FAILURES - 1)

    assert breakers.standing("shop").state == "closed"


async def test_one_probe_at_a_time_and_its_end_decides(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    await end(breakers, False, MIN_FAILURES)
    clock.now = OPEN_S
    assert breakers.standing("shop").state == "half-open"

    probe = await breakers.enter("shop")
    with pytest.raises(Open, match="it is being tried"):
        await breakers.enter("shop")
    await breakers.leave(probe, False, "still 503")
    assert breakers.standing("shop").state == "open"

    clock.now = 2 * OPEN_S
    await end(breakers, True)
    assert breakers.standing("shop").state == "closed"
    await end(breakers, True, 3)


async def test_a_probe_that_nobody_ends_is_given_to_another(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    await end(breakers, False, MIN_FAILURES)
    clock.now = OPEN_S
    await breakers.enter("shop")
    clock.now += PROBE_S

    assert (await breakers.enter("shop")).probe


async def test_a_probe_that_was_called_off_is_given_to_another_at_once(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    await end(breakers, False, MIN_FAILURES)
    clock.now = OPEN_S
    probe = await breakers.enter("shop")

    await breakers.give_back(probe)

    assert breakers.standing("shop").state == "half-open"  # it says nothing of the service
    assert (await breakers.enter("shop")).probe
    await breakers.give_back(Pass("another"))  # who was no probe held nothing


async def test_what_one_process_found_the_others_take_over(clock: Clock) -> None:
    switch = LocalSwitch(clock)
    one, other = Breakers(switch, clock), Breakers(switch, clock)
    await end(one, False, MIN_FAILURES)

    await other.look()
    assert other.standing("shop").why == "503"

    clock.now = OPEN_S
    await end(other, True)
    await one.look()
    assert one.standing("shop").state == "closed"


async def test_in_a_full_outage_retries_stay_far_below_a_tenth_of_the_calls(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    calls = retries = 0
    for clock.now in range(300):  # one call a second, each of which would be tried three times
        calls += 1
        for attempt in range(3):
            if attempt and not breakers.may_retry("shop"):
                break
            retries += attempt > 0
            try:
                await end(breakers, False)
            except Open:
                break

    assert 0 < retries < 0.1 * calls


def test_a_budget_ends_and_is_earned_again() -> None:
    breakers = Breakers()

    assert sum(breakers.may_retry("shop") for _ in range(100)) == RETRIES_KEPT


async def test_successes_earn_retries(clock: Clock) -> None:
    breakers = Breakers(clock=clock)
    while breakers.may_retry("shop"):
        pass
    await end(breakers, True, 4)

    assert [breakers.may_retry("shop") for _ in range(3)] == [True, True, False]


def test_the_books_arithmetic() -> None:
    assert round(1 - succeeds(0.95, steps=12), 3) == 0.460
    assert round(succeeds(0.95, steps=12, tries=2), 3) == 0.970
    assert succeeds(0.8, tries=3) > 0.99
