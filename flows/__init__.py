"""Prefect flows, settings and the command line over the other three packages."""

import os

# Before torch loads OpenMP: threads that wait for each other by spinning made an epoch nine times slower whenever
# something else (Neo4j, Spark, a second run) wanted one of the two cores; by sleeping they lose nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
