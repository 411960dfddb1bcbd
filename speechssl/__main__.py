"""`python -m speechssl`, as `torchrun -m speechssl pretrain ...` needs it."""

import sys

from speechssl.cli.app import main

sys.exit(main())
