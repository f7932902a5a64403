"""``python -m amif_lightning``."""

import sys

from amif_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
