"""Answering a person's own question about a picture, with what a checkpoint holds and no data set.

It stands above tasks, callbacks and data modules: the picture is read and the question written as
ids by the same functions that a test split goes through.
"""
