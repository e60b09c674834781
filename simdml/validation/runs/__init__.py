"""Tables of measured runs replayed: a scenario a row, predicted, and how wrong the predictions are.

=====================================  ===============================================================
``validation.runs.reading``            a CSV file into rows, of one of three column families
``validation.runs.hardware``           what a row says of GPUs and links, as the cluster of a scenario
``validation.runs.frameworks``         what a framework does that a row does not say, with sources
``validation.runs.memory_readings``    what a published figure of peak memory counts
``validation.runs.llm``                rows of language models into scenarios
``validation.runs.classic``            rows of images, BERT and servers into scenarios
``validation.runs.collectives``        rows of collectives into communicators and sizes
``validation.runs.replay``             one row simulated; all rows in parallel, resumable
``validation.runs.scores``             errors by source, GPU, strategy and size; out-of-memory verdicts
``validation.runs.ranking``            runs that differ in layout alone: rank correlation and regret
``validation.runs.table``              all of it as text, CSV and JSON
``validation.runs.scaling``            runs that differ in the number of GPUs alone
``validation.runs.figures``            predicted against measured, and errors by source
``validation.runs.figures_of_groups``  errors by group, and scaling curves
=====================================  ===============================================================
"""
