"""Breakers that processes share, over a real Postgres: each has a pool of its own, and one is another process."""

import asyncio
import sys
from pathlib import Path

import pytest

from agents.breaker import MIN_FAILURES, Breakers, Open, Pass
from app.breakers import PostgresSwitch
from app.postgres import Pool, migrate, open_pool

pytestmark = pytest.mark.timeout(120)

OTHER = """
import asyncio, sys
from agents.breaker import MIN_FAILURES, Breakers
from app.breakers import PostgresSwitch
from app.postgres import open_pool

async def main():
    pool = await open_pool(sys.argv[1])
    breakers = Breakers(PostgresSwitch(pool))
    for _ in range(MIN_FAILURES):
        await breakers.leave(await breakers.enter("shop"), False, "HTTP 503")
    await pool.close()

asyncio.run(main())
"""


@pytest.fixture
async def switch(pool: Pool) -> PostgresSwitch:
    await migrate(pool)
    return PostgresSwitch(pool)


async def test_what_another_process_opened_is_open_here(database_url: str, switch: PostgresSwitch) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER, database_url, cwd=Path(__file__).parents[2]
    )
    assert await other.wait() == 0
    here = Breakers(switch)
    assert here.standing("shop").state == "closed"

    await here.look()

    assert (here.standing("shop").state, here.standing("shop").why) == ("open", "HTTP 503")
    with pytest.raises(Open):
        await here.enter("shop")


async def test_of_all_who_ask_at_once_one_may_try(database_url: str, switch: PostgresSwitch) -> None:
    elsewhere = await open_pool(database_url)
    switches = [switch, PostgresSwitch(elsewhere)]
    await switch.trip("shop", "HTTP 503", wait_s=0)

    asked = await asyncio.gather(*(switches[at % 2].probe("shop", 30) for at in range(10)))
    assert sum(asked) == 1

    await switch.trip("shop", "still", wait_s=0)  # the probe failed
    assert await switches[1].probe("shop", 0)
    assert await switches[0].probe("shop", 30)  # its lease of no time is over
    assert not await switches[1].probe("shop", 30)
    await switches[0].release("shop")
    assert await switches[1].probe("shop", 30)  # the first one was called off
    await switches[0].close("shop")
    assert await switches[1].standings() == {}
    await elsewhere.close()


async def test_an_open_one_may_not_be_tried_before_its_time(switch: PostgresSwitch) -> None:
    await switch.trip("shop", "nul \x00 and \ud800", wait_s=600)

    assert not await switch.probe("shop", 30)
    standings = await switch.standings()
    assert standings is not None
    assert standings["shop"].state == "open"
    assert 590 < standings["shop"].retry_in_s <= 600


async def test_without_a_database_each_process_decides_alone(database_url: str, switch: PostgresSwitch) -> None:
    gone = await open_pool(database_url)
    await gone.close()
    alone = Breakers(PostgresSwitch(gone))

    for _ in range(MIN_FAILURES):
        await alone.leave(await alone.enter("shop"), False, "503")
    await alone.look()
    await alone.give_back(Pass("shop", probe=True))

    assert alone.standing("shop").state == "open"
