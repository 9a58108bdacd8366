"""`sextant key`: a key is shown once, listed without its secret, and ended at once; no public address without one."""

from typing import Any


def test_a_key_is_made_listed_and_revoked(sextant: Any) -> None:
    empty = sextant.run("key", "list")
    assert "no keys" in empty.stdout
    refused = sextant.run("up", "--host", "0.0.0.0", "--no-browser")
    assert refused.returncode == 1
    assert "sextant key add" in refused.stderr and "Traceback" not in refused.stderr

    made = sextant.run("key", "add", "ann", "--label", "laptop")
    key = made.stdout.strip()
    assert made.returncode == 0 and key.startswith("sx_") and key not in made.stderr
    listed = sextant.run("key", "list")
    assert "ann" in listed.stdout and "laptop" in listed.stdout and "never" in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout

    id_ = key.split("_")[1]
    assert "No key is left" in sextant.run("key", "revoke", id_).stdout
    assert "revoked" in sextant.run("key", "list").stdout
    for wrong in ("revoke", "nobody"), ("add", "a.b"), ("add", "batch"), ("add", ""), ("add", "x" * 65):
        done = sextant.run("key", *wrong)
        assert done.returncode == 1 and done.stderr and "Traceback" not in done.stderr
