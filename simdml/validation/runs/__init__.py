"""Tables of measured runs replayed: a scenario a row, predicted, and how wrong the predictions are.

=====================================  ===============================================================
``validation.runs.reading``            a CSV file into rows, of one of three column families
``validation.runs.omitted``            what a source says beside its table
``validation.runs.hardware``           what a row says of GPUs and links, as the cluster of a scenario
``validation.runs.frameworks``         what a framework does that a row does not say, with sources
``validation.runs.layouts``            how frameworks lay images out in memory, with sources
``validation.runs.memory_readings``    what a published figure of peak memory counts
``validation.runs.llm``                rows of language models into scenarios
``validation.runs.classic``            rows of images, BERT and servers into scenarios
``validation.runs.pipelines``          rows of torchgpipe's pipelines into scenarios
``validation.runs.collectives``        rows of collectives into communicators and sizes
``validation.runs.sites``              where collectives were measured, and how
``validation.runs.replay``             one row simulated; all rows in parallel, resumable
``validation.runs.study``              tables replayed, and all that is asked of them
``validation.runs.scores``             errors by source, GPU, strategy and size; out-of-memory verdicts
``validation.runs.coverage``           how many measured steps lie in the intervals of their predictions
``validation.runs.ranking``            runs that differ in layout alone: rank correlation and regret
``validation.runs.scaling``            runs that differ in the number of GPUs alone
``validation.runs.coefficients``       every fitted number, and what it was fitted on
``validation.runs.fitted_counts``      how many of them a GPU generation has of whole steps
``validation.runs.spread_fit``         spreads of whole steps, from which intervals are made
``validation.runs.spread_text``        those as the text of their file, and for people
``validation.runs.table``              all of it as text, CSV and JSON
``validation.runs.figures``            predicted against measured, and errors by source
``validation.runs.figures_of_groups``  errors by group, and scaling curves
``validation.runs.report``             all of it as a report
=====================================  ===============================================================
"""
