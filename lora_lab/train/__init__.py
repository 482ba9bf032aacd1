"""Training: the only package that imports torch."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of 4-bit kernels, which training has no use for
