"""What code in a box can do: real Python, its packages, its figures, its errors; and what is in it when it comes."""

import asyncio
from collections.abc import Callable

from agents.sandbox.boxes import Bubblewrap

Make = Callable[..., Bubblewrap]


async def test_it_prints_as_a_notebook_does(boxes: Make) -> None:
    outcome = await boxes().run("print('one')\nx = 20\nx + 1")

    assert (outcome.end, outcome.printed, outcome.files) == ("done", "one\n21\n", ())


async def test_an_error_shows_the_line_and_nothing_of_the_keeper(boxes: Make) -> None:
    outcome = await boxes().run("print('before')\ndef f():\n    return 1 / 0\nf()")

    assert outcome.end == "failed"
    assert outcome.printed.startswith(
        'before\nTraceback (most recent call last):\n  File "<code>", line 4, in <module>'
    )
    assert "return 1 / 0" in outcome.printed and "inside" not in outcome.printed


async def test_what_is_no_python_is_an_error_too(boxes: Make) -> None:
    outcome = await boxes().run("this is no Python")

    assert outcome.end == "failed" and "SyntaxError" in outcome.printed


async def test_numpy_pandas_and_an_open_figure(boxes: Make) -> None:
    outcome = await boxes().run(
        "import numpy as np, pandas as pd, matplotlib.pyplot as plt\n"
        "frame = pd.DataFrame({'x': np.arange(4)})\nplt.plot(frame.x)\nplt.show()\nprint(frame.x.sum())"
    )

    assert (outcome.end, outcome.printed) == ("done", "6\n")
    [figure] = outcome.files
    assert figure.name == "figure-1.png" and figure.data.startswith(b"\x89PNG")


async def test_a_saved_figure_comes_once(boxes: Make) -> None:
    outcome = await boxes().run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('mine.png')")

    assert [it.name for it in outcome.files] == ["mine.png"]


async def test_a_warm_box_waits_after_the_first_and_each_is_used_once(boxes: Make) -> None:
    sandbox = boxes(warm=1)

    outcomes = [await sandbox.run("import os\nprint(os.path.exists('/scratch/seen'))\nopen('/scratch/seen', 'w')")
                for _ in range(3)]  # fmt: skip
    many = await asyncio.gather(*(sandbox.run(f"print({n})") for n in range(6)))

    assert [it.printed.split("\n")[0] for it in outcomes] == ["False"] * 3
    assert [it.printed for it in many] == [f"{n}\n" for n in range(6)]
