"""The numeric core: a network as scalar code for one run, and the machines that run it.

May import NumPy, Numba, llvmlite and the standard library alone.
"""
