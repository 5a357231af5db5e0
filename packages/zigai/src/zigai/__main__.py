"""`python -m zigai` is `zig-ai`."""

import sys

try:
    from zigai_cli.main import run
except KeyboardInterrupt:  # before `zigai_cli.interrupts` is imported
    sys.exit(130)

if __name__ == "__main__":
    run()
