"""Whole published sets of runs against their targets: replayed once where the tables are, and kept as numbers.

The tables stay outside; what is kept is a row's id, its measured figure, what was predicted, and what the row says
of its own certainty (``reports/accuracy/rows.csv``). The accuracy report is made from that and from
``reports/accuracy/sets.yaml``, which has the sets, their targets, and the reasons found for what misses them.

==================================  ==========================================================================
``validation.sets.definitions``     sets, targets and reasons
``validation.sets.definitions_file``  those in their file
``validation.sets.evidence``        what a table says of itself: repeats, lines, what is not stated
``validation.sets.rows``            what is kept of a row, and the file of all of them
``validation.sets.replaying``       a folder of tables into kept rows
``validation.sets.verdicts``        sets and groups of rows scored
``validation.sets.certainty``       what kept rows say of their own certainty, in sentences
``validation.sets.tables``          tables of targets, sets, groups, layouts, memory and intervals
``validation.sets.section``         all of it as sections of the accuracy report
==================================  ==========================================================================
"""
