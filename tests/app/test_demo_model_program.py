"""Questions that ask for a program: the one that is written runs, and computes what was asked."""

import ast
import math
import random

import pytest

from agents.sandbox.monty import SmallPython
from app.demo_model.program import program_in, told_of


async def printed(question: str) -> str:
    """What the program for a question prints, in an interpreter that can only calculate."""
    outcome = await SmallPython().run(program_in(question))
    assert outcome.end == "done", outcome
    return outcome.printed.strip()


@pytest.mark.parametrize(
    ("question", "throws", "together", "low", "high"),
    [
        ("Simulate 1,000 rolls of a die", 1000, 1, 1, 6),
        ("Simulate 600 throws of two dice", 600, 2, 1, 6),
        ("What comes of 300 tosses of 3 fair coins?", 300, 3, 0, 1),
        ("flip 50 coins", 50, 1, 0, 1),
    ],
)
async def test_throws_are_thrown_together_and_counted(
    question: str, throws: int, together: int, low: int, high: int
) -> None:
    said, counts = (await printed(question)).splitlines()

    by_sum = dict(pair.split(": ") for pair in counts.removeprefix("counts: ").split(", "))
    assert [int(it) for it in by_sum] == list(range(low * together, high * together + 1))
    assert sum(map(int, by_sum.values())) == throws
    mean = sum(int(it) * int(times) for it, times in by_sum.items()) / throws
    assert math.isclose(float(said.rpartition(" ")[2]), mean, abs_tol=0.0001)
    # six standard deviations of a mean that was thrown fairly
    spread = math.sqrt(together * ((high - low + 1) ** 2 - 1) / 12 / throws)
    assert abs(mean - together * (low + high) / 2) < 6 * spread


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the median of 3, 1, 4, 1 and 5?", "median: 3"),
        ("standard deviation of 2, 4, 4, 4, 5, 5, 7, 9", "standard deviation of the sample: 2.13809"),
        ("the variance of 1, 2, 3, 4", "variance of the sample: 1.666667"),
    ],
)
async def test_statistics_are_those_of_the_numbers(question: str, said: str) -> None:
    assert await printed(question) == said


@pytest.mark.parametrize(
    ("question", "drawn"),
    [
        ("plot sin(x) from 0 to 6", "plt.plot(x, sin(x)"),
        ("Draw x^2 and 2x between -3 and 3", "plt.plot(x, 2 * x"),
        ("chart 3, 5 and 8 as bars", "plt.bar(range(1, len(numbers) + 1), numbers)"),
        ("a histogram of 1, 1, 2, 3", "plt.hist(numbers)"),
        ("Simulate 2000 throws of two dice and plot how often each sum comes", "plt.bar(sums,"),
    ],
)
def test_what_is_to_be_drawn_is_drawn_and_saved(question: str, drawn: str) -> None:
    program = program_in(question)

    ast.parse(program)
    assert drawn in program and "plt.savefig('plot.png'" in program


@pytest.mark.parametrize(
    "question",
    [
        "What is a straggler?",
        "Who throws the dice?",
        "simulate 10 throws of zero dice",
        "simulate 10 throws of 0 dice",
        "simulate 9,000,000 throws of a die",
        "simulate 20 rolls of 44 dice",
        "plot the downfall of Rome",
        "plot __import__('os').system('id') from 0 to 1",
        "plot (lambda: x)() from 0 to 1",
        "the mean of 1, 2 and 3",  # a sum: the calculator does that exactly
        "plot x " + "and x " * 1000,
    ],
)
def test_what_is_not_understood_gives_no_program(question: str) -> None:
    assert program_in(question) == ""


def test_no_text_at_all_breaks_it() -> None:
    pieces = ["plot ", "x", "**", "(", ")", "sin", " from ", " to ", "0", "1e9", ",", "^", "π", "throws of ", "dice"]
    dice = random.Random(7)
    for _ in range(2_000):
        ast.parse(program_in("".join(dice.choices(pieces, k=dice.randrange(12)))))


def test_what_came_of_a_program_is_told_with_what_it_made() -> None:
    result = "mean 3.5\ncounts: 1\n[made plot.png, 1,234 bytes, artefact ab12; it is shown already]"

    assert told_of(result) == "I ran a program for this: **mean 3.5**\n\ncounts: 1\n\nIt made `plot.png`."
