"""Kinds of data sets, one in each file; `sagan.data` describes what such a file defines."""
