"""Speed beside named peers, in one run: ``python -m bench`` (or ``make bench``).

CPU time and resident memory are the figures; wall time depends on what else the machine does. Every measurement is
a process of its own, peers take turns, and the median of the rounds counts. So ratios of one run can be
compared, figures of two machines cannot.
"""
