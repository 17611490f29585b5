"""The jobs: the only package that knows Ray, paths, progress and the command line."""

from __future__ import annotations

import os

# Parallelism is Ray's: inside a worker every numerical library runs one thread, which is also what makes the bytes
# independent of the
# machine's core count. Set before numpy is imported; child processes inherit it.
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "PRA_NUM_THREADS")
ONE_THREAD = dict.fromkeys(_LIBRARIES, "1")
os.environ.update(ONE_THREAD)
