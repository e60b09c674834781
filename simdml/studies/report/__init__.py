"""Reports people act on: any result or study as one page, with the job it rests on explained.

=============  ======================================================================================
``findings``   what a study contributes: answer, sections, and the job that its answer stands for
``kinds``      the table of kinds of record; each kind's sections are in a file of its own
``records``    a record read back from a file or a folder
``job``        the sections on a job, whatever study it comes from
``assembling`` from what a user names to a report
``writing``    the report as files
=============  ======================================================================================
"""
