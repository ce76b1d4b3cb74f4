"""The shortest handler that speaks the contract, for `benchmarks.queue`: `python -P worker.py ATTEMPT_DIR`.

It notes when its code runs, on the monotonic clock that all processes of a machine share.
"""

import sys
import time
from pathlib import Path

from handlers.contract import OUTCOME, REQUEST, Completed, Request, outcome_to_json, write_durably

if __name__ == "__main__":
    began_ns = time.monotonic_ns()
    attempt_dir = Path(sys.argv[1])
    request = Request.from_json((attempt_dir / REQUEST).read_text())
    request.data_dir.mkdir(parents=True, exist_ok=True)
    (request.data_dir / "began").write_text(str(began_ns))
    write_durably(attempt_dir / OUTCOME, outcome_to_json(Completed()))
