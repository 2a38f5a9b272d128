"""Candidates, ranker, evaluation and export of recommendations."""
