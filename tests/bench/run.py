"""All figures in one go: `make bench`. Each bench is a file that also runs alone and explains itself."""

import subprocess
import sys
from pathlib import Path

BENCHES = (
    ("fan_out.py", "--postgres"),
    ("makespan.py",),
    ("react_turns.py", "--repeats", "9"),
    ("policy.py",),
    ("sandbox.py",),
    ("waist.py",),
    ("visible.py",),
    ("readers.py",),
    ("cold_start.py",),
    ("ingest.py",),
)


def main() -> int:
    """Run each, leave out its JSON line, and report whether all ran."""
    failed = []
    for name, *options in BENCHES:
        command = [sys.executable, str(Path(__file__).with_name(name)), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print("\n".join(line for line in done.stdout.splitlines() if not line.startswith("{")), end="\n\n", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"did not finish: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
