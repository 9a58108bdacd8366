"""Questions taken apart: arithmetic in words, things listed or compared, titles."""

import pytest

from app.demo_model.arithmetic import expression_in, shown, value_of
from app.demo_model.parts import take_apart
from app.demo_model.titles import title_of

# -- arithmetic


@pytest.mark.parametrize(
    ("text", "expression", "value"),
    [
        ("three items at 149.99 each plus 24.50 shipping", "3 * 149.99 + 24.50", "474.47"),
        ("what is 15% of 80", "80 * 15 / 100", "12"),
        ("80 plus 15%", "80 * (1 + 15 / 100)", "92"),
        ("15% off 80", "80 * (1 - 15 / 100)", "68"),
        ("144 divided by 12", "144 / 12", "12"),
        ("six times seven", "6 * 7", "42"),
        ("twenty-five times four", "25 * 4", "100"),
        ("two hundred and ten minus 5", "210 - 5", "205"),
        ("What is 1 / (0.15 + 0.85 / 4)?", "1 / (0.15 + 0.85 / 4)", "2.75862068966"),
        ("3 tickets at $12 and 2 drinks at $4.50, how much?", "3 * 12 + 2 * 4.50", "45"),
        ("the sum of 4, 5 and 6", "4 + 5 + 6", "15"),
        ("the average of 3, 4 and 8", "(3 + 4 + 8) / 3", "5"),
        ("two thirds of 90", "2 / 3 * 90", "60"),
        ("what is 12% of 340 plus 7?", "340 * 12 / 100 + 7", "47.8"),
        ("square root of 16", "16 ** 0.5", "4"),
        ("split 120 between 4 people", "120 / 4", "30"),
        ("How much is 1,250.50 + 99?", "1250.50 + 99", "1349.5"),
        ("5 requests per second for 60 seconds", "5 * 60", "300"),
    ],
)
def test_arithmetic_is_read_from_words(text: str, expression: str, value: str) -> None:
    assert expression_in(text) == expression
    worked_out = value_of(expression)
    assert worked_out is not None
    assert shown(worked_out) == value


@pytest.mark.parametrize(
    "text",
    [
        "What changed in version 15 and 16?",
        "How are steps 3-6 done?",
        "What happened on 2024-05-01?",
        "24/7 support",
        "What is the difference between RFC 7231 and RFC 9110?",
        "What is section 1.2.3 about?",
        "I have 3 apples and 5 pears",
        "a 3-node cluster with 2 replicas",
    ],
)
def test_numbers_alone_are_no_arithmetic(text: str) -> None:
    assert expression_in(text) is None


# -- questions taken apart


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("What is a lease?", ["What is a lease?"]),
        ("Can you please explain how leases work?", ["Explain how leases work."]),
        (
            "What is an idempotency key, and which tool calls need one?",
            ["What is an idempotency key?", "Which tool calls need an idempotency key?"],
        ),
        ("What is WAL and how does it work?", ["What is WAL?", "How does WAL work?"]),
        (
            "What is the maximum size of a table and how many columns can it have?",
            ["What is the maximum size of a table?", "How many columns can a table have?"],
        ),
        (
            "How do vacuum, analyze and reindex work on partitions?",
            ["How does vacuum work on partitions?", "How does analyze work on partitions?",
             "How does reindex work on partitions?"],
        ),
        (
            "What are the rights and duties of a tenant?",
            ["What are the rights of a tenant?", "What are the duties of a tenant?"],
        ),
        (
            "What are the duties of the tenant and the landlord?",
            ["What are the duties of the tenant?", "What are the duties of the landlord?"],
        ),
        ("What are the pros and cons of sourdough?", ["What are the pros and cons of sourdough?"]),
        ("I run a bakery. How do I price bread? When should I raise prices?",
         ["How do I price bread?", "When should I raise prices?"]),
        ("Look at these:\n- rye bread\n- How is dough stored?",
         ["What is known about rye bread?", "How is dough stored?"]),
    ],
)  # fmt: skip
def test_a_question_is_taken_apart(question: str, parts: list[str]) -> None:
    assert list(take_apart(question).questions) == parts


@pytest.mark.parametrize(
    ("question", "things", "tail"),
    [
        ("Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays",
         ("ReAct", "planning with parallel sub-agents", "debate"), ": latency, cost and when each pays"),
        ("Compare PostgreSQL and MySQL for analytics", ("PostgreSQL", "MySQL"), " for analytics"),
        ("PostgreSQL vs MySQL", ("PostgreSQL", "MySQL"), ""),
        ("What is the difference between a lease and a licence?", ("a lease", "a licence"), ""),
        ("Should I use butter or oil for roasting?", ("butter", "oil"), " for roasting"),
        ("Is HNSW better than IVF?", ("HNSW", "IVF"), ""),
        ("How do REST, GraphQL and gRPC differ?", ("REST", "GraphQL", "gRPC"), ""),
        ("compare chat with research", ("chat", "research"), ""),
    ],
)  # fmt: skip
def test_what_is_compared_is_named(question: str, things: tuple[str, ...], tail: str) -> None:
    parts = take_apart(question)
    assert (parts.compared, parts.things, parts.tail) == (True, things, tail)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("How do I reset a password?", "Reset a password"),
        ("What is VACUUM?", "VACUUM in brief"),
        ("How does a ready-set scheduler work?", "How a ready-set scheduler works"),
        ("What is 6 times 7?", "The calculation"),
        ("What is known about debate: limits, failures and costs?", "Limits of debate"),
        ("How many columns can a table have?", "Number of columns"),
    ],
)
def test_titles_are_short(question: str, title: str) -> None:
    assert title_of(question) == title
    assert 2 <= len(title.split()) <= 5
