"""hubbub side by side with its peers: what each costs, in turn, in one process. `python -m benchmarks NAME`."""

import pipelines as pipelines  # first: it gives every numerical library one thread
