"""The command line with the handler of tests/actor.py in place of the real ones: `python tests/serve.py up -w DIR`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon.cli import main
from tests.actor import KINDS

ACTOR = (sys.executable, str(Path(__file__).with_name("actor.py")))

if __name__ == "__main__":
    sys.exit(main(kinds=KINDS, handlers=ACTOR))
