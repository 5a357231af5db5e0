"""Records oracles: `python -m zigai_core.testing.oracles`."""

import sys

from zigai_core.testing.oracles.record import main

sys.exit(main())
