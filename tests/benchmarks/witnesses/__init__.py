"""What witnesses beside resident memory are worth: small real programs, judged with and without each.

Every program runs once, in a process of its own, and samples itself as a watched process does. The record is
then judged several times, each time by what another set of witnesses has said: so the columns of the table
are of the same run. Time is scaled: a sample every 250 ms, a baseline of 5 s, patience of 20 s.
"""
