"""`python -m tests.crash.chaos`: one run with a report; ends 0 when good, 1 when not."""

import argparse
import json
import secrets
import shutil
import sys
from pathlib import Path

from mailworkers.embedded.binaries import Source
from tests.crash.chaos.report import tell
from tests.crash.chaos.run import Run, chaos, natural_seconds, new_directory


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=1500, help="commands to send")
    parser.add_argument(
        "--kills", type=int, default=15, help="SIGKILLs of roles; 0: no fault at all"
    )
    parser.add_argument("--seed", type=int, help="repeats the plan and the commands of a run")
    parser.add_argument("--seconds", type=float, help="length of the load")
    parser.add_argument("--senders", type=int, default=3)
    parser.add_argument("--servers", choices=[s.value for s in Source], default="auto")
    parser.add_argument("--report", type=Path, help="file for the report, as JSON")
    parser.add_argument("--keep", action="store_true", help="keep ledgers, logs and data")
    asked = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    seconds = asked.seconds or natural_seconds(asked.messages, asked.kills)
    run = Run(asked.messages, asked.kills, seed, seconds, asked.senders, asked.servers)
    directory = new_directory()
    print(f"{run} in {directory}", flush=True)
    verdict, report = chaos(run, directory)
    print(tell(report))
    if asked.report:
        asked.report.write_text(json.dumps(report, indent=1) + "\n")
    if not asked.keep and verdict.is_good:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
