"""`python -m zigai` is `zig-ai`."""

from zigai_cli.main import run

if __name__ == "__main__":
    run()
