"""Queries and charts over the lake, as marimo notebooks."""
