"""Learn embeddings of a graph snapshot, its texts and its pictures. Importing the package itself loads no torch."""

import os

# Else DGL 1.1.3 writes a configuration file into the user's home and says so on every first import.
os.environ.setdefault("DGLBACKEND", "pytorch")
# Else the tokenizers library warns whenever a process forks after tokenizing.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
