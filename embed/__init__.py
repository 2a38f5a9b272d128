"""Embeddings of a graph snapshot: graph, language and pictures, and their fusion."""
